"""News of politics, courts, accidents and disasters."""

from __future__ import annotations

from raysq.tasks.headlines.names import COUNTRIES, DEATHS, PEOPLE, PERCENTS, SUMS
from raysq.tasks.headlines.template import Kind, table

_OFFICES = table(
    "name short",
    """
    finance minister ; (finance minister|minister)
    interior minister ; (interior minister|minister)
    health minister ; (health minister|minister)
    transport minister ; (transport minister|minister)
    defence minister ; (defence minister|minister)
    """,
)
_SCANDALS = table(
    "name short",
    """
    a row over gifts from a businessman ; gifts row
    claims of unpaid taxes ; tax claims
    the handling of a deadly train crash ; train crash
    leaked letters to an arms dealer ; leaked letters
    a dispute about cuts in pensions ; pension dispute
    accusations of vote-buying ; vote-buying charges
    """,
)
RESIGNATION = Kind(
    {"country": COUNTRIES, "office": _OFFICES, "person": PEOPLE, "scandal": _SCANDALS, "head": PEOPLE},
    (
        """{country.adjective} {office} {person} (resigned|stepped down|quit) {day} (after weeks of criticism
        over|over) {scandal} , (and|while) prime minister {head} (named no successor|promised to name a
        successor soon|accepted the decision with regret) .""",
        """the prime minister of {country} , {head} , {day} (dismissed|sacked|fired) {office} {person}
        (over|because of) {scandal} , {official} said , (only # months before an election|in the # th change
        of the cabinet this year) .""",
    ),
    (
        "{country.adjective} {office.short} (resigns|quits|goes|out) [over {scandal.short}]",
        "{country.adjective} {office.short} {person.last} (goes|out) (over|after) {scandal.short}",
        "{country.adjective} {office.short} (felled by|falls over|forced out by) {scandal.short}",
    ),
)
_TOPICS = table(
    "name short",
    """
    a dispute over fishing rights ; (fishing|fishing rights)
    the return of refugees ; refugees
    the price of gas deliveries ; gas
    a plan for a joint railway ; railway
    tariffs on farm goods ; (farm tariffs|tariffs)
    the border between them ; border
    the fight against smuggling ; smuggling
    """,
)
TALKS = Kind(
    {"country": COUNTRIES, "other": COUNTRIES, "topic": _TOPICS, "person": PEOPLE, "place": COUNTRIES},
    (
        """the (foreign ministers|prime ministers|presidents) of {country} and {other} (will meet|are to meet)
        in {place.capital} (next week|next month|this week) (to discuss|for talks on) {topic} , {official} [in
        {country.capital}] (said|announced) {day} .""",
        """{country.adjective} president {person} (arrived|landed) in {other.capital} {day} for [two days
        of|three days of] talks (about|on) {topic} , (the first such visit in # years|a subject that has
        strained relations since a meeting in {place.capital}) .""",
    ),
    (
        "{country} , {other} (to discuss|to hold talks on|discuss) {topic.short}",
        "{country.adjective} , {other.adjective} leaders to (meet|talk) [on {topic.short}]",
        "{topic.short} (on agenda of|at heart of) {country.adjective} - {other.adjective} talks",
    ),
)
_ACCORDS = table(
    "name short",
    """
    an agreement to share water from rivers ; water
    a treaty on the extradition of criminals ; extradition
    a contract for the delivery of grain ; grain
    a pact on military training ; (military|defence)
    a convention to end double taxation ; tax
    an accord on air traffic ; (air|aviation)
    """,
)
ACCORD = Kind(
    {"country": COUNTRIES, "other": COUNTRIES, "accord": _ACCORDS, "person": PEOPLE},
    (
        """{country} and {other} {day} signed {accord} (after # years of negotiations|at a ceremony in
        {country.capital}|despite protests by opposition parties) , {official} said .""",
        """after (long|difficult|secret) negotiations , {country.adjective} foreign minister {person} and a
        delegation from {other} {day} (signed|concluded|put their names to) {accord} , {report} .""",
    ),
    (
        "{country} , {other} (sign|agree|conclude|seal) {accord.short} (deal|pact|accord)",
        "{country} (signs|seals) {accord.short} (deal|pact) with {other}",
        "{country.adjective} - {other.adjective} {accord.short} (deal|pact) signed",
    ),
)
_BILLS = table(
    "name short",
    """
    a bill that raises the retirement age to ## ; (higher retirement age|retirement bill)
    a law that bans smoking in restaurants ; (smoking ban|smoking law)
    a tax on plastic bags ; (plastic bag tax|bag tax)
    a law to protect forests from logging ; (forest law|logging law)
    a budget with deep cuts in spending ; (austerity budget|budget cuts|budget)
    a reform of the electoral law ; (electoral reform|election law)
    """,
)
_VOTES = table(
    "past present noun",
    """
    (approved|passed|adopted) ; (approves|passes|adopts|backs) ; approved
    (rejected|voted down|threw out) ; (rejects|votes down|throws out) ; rejected
    (delayed|put off) ; (delays|puts off|postpones) ; delayed
    """,
)
PARLIAMENT = Kind(
    {"country": COUNTRIES, "bill": _BILLS, "vote": _VOTES, "person": PEOPLE, "percent": PERCENTS},
    (
        """the {country.adjective} parliament {day} {vote.past} {bill} , (a blow to prime minister {person}|a
        test of the coalition of {person}|a plan that {percent} of voters oppose) , (after a debate of ##
        hours|by ### votes to ###) .""",
        """after a debate that (lasted until dawn|divided the governing party) , (lawmakers|deputies|members
        of parliament) in {country} {day} {vote.past} {bill} , (an idea of {person}|proposed by {person})
        .""",
    ),
    (
        "{country.adjective} (parliament|lower house) {vote.present} {bill.short}",
        "{country} {vote.present} {bill.short}",
        "{bill.short} {vote.noun} (in {country}|by {country.adjective} (parliament|lawmakers))",
    ),
)
_CROWDS = table(
    "name short",
    """
    thousands of people ; thousands
    tens of thousands of people ; (tens of thousands|thousands)
    several hundred students ; (students|hundreds)
    thousands of farmers ; farmers
    hundreds of nurses and doctors ; (nurses , doctors|medics)
    """,
)
_GRIEVANCES = table(
    "name short",
    """
    higher prices of bread and fuel ; (price rises|fuel prices)
    a plan to build a nuclear power plant ; nuclear plant
    cuts in public spending ; (spending cuts|cuts)
    the arrest of an opposition leader ; arrest
    new rules for universities ; university rules
    the closing of small hospitals ; hospital closures
    """,
)
PROTEST = Kind(
    {"country": COUNTRIES, "crowd": _CROWDS, "grievance": _GRIEVANCES, "person": PEOPLE},
    (
        """{crowd} (marched|demonstrated|took to the streets) in {country.capital} {day} (against|to protest
        against|in protest at) {grievance} , (in the largest protest since president {person} took office|and
        police made ## arrests|blocking traffic for hours) , {report} .""",
        """police in {country.capital} (fired tear gas|used water cannon) {day} (to disperse|at|against)
        {crowd} who were (protesting against|angry about) {grievance} [, and at least ## were hurt] , {report}
        .""",
    ),
    (
        "{crowd.short} (protest|march|rally) in {country} [(over|against) {grievance.short}]",
        "{crowd.short} (protest|march) against {grievance.short} [in {country.capital}|in {country}]",
        "{country.adjective} (protest|march|rally|protests) (over|against) {grievance.short}",
    ),
)
ELECTION = Kind(
    {"country": COUNTRIES, "winner": PEOPLE, "loser": PEOPLE, "percent": PERCENTS},
    (
        """{winner} (won|has won) the [presidential] election in {country} with {percent} of the vote , (ahead
        of|beating) {loser} , (the election commission said {day}|according to results published {day}) [,
        (ending|after) months of uncertainty] .""",
        """voters in {country} (elected|chose) {winner} as their [new] president {day} , (results showed|early
        counts showed) , (rejecting|turning away from) {loser} , who (had governed for # years|conceded
        defeat|demanded a new count) .""",
    ),
    (
        "{winner.last} wins {country.adjective} (election|presidency|vote)",
        "{winner.last} (beats|defeats) {loser.last} in {country.adjective} (election|vote)",
        "{country} (elects|chooses|picks) {winner.last} [as president]",
    ),
)
_CRIMES = table(
    "name short",
    """
    taking bribes from builders ; (bribery|bribes)
    selling secret documents ; (spying|secrets)
    stealing public money ; (theft|corruption)
    ordering an attack on a journalist ; (attack|attack on journalist)
    hiding income from the tax office ; tax (evasion|fraud)
    """,
)
_JOBS = table(
    "name short",
    """
    mayor ; (ex-mayor|former mayor)
    general ; (ex-general|former general)
    police chief ; (ex-police chief|former police chief)
    bank director ; (ex-banker|former banker)
    minister ; (ex-minister|former minister)
    """,
)
_VERDICTS = table(
    "past passive present",
    """
    jailed {person} , a former {job} , for ## years for ; (jailed|gets ## years|sentenced) for ; jails
    cleared {person} , a former {job} , of ; (cleared|acquitted) of ; (clears|acquits)
    """,
)
COURT = Kind(
    {
        "country": COUNTRIES,
        "person": PEOPLE,
        "crime": _CRIMES,
        "job": _JOBS,
        "verdict": _VERDICTS,
        "sum": SUMS,
    },
    (
        """a court in {country.capital} {day} {verdict.past} {crime} , (in a trial that lasted # months|in a
        case involving {sum}|# years after the arrest) [, and the (defence|prosecution) said it would appeal]
        .""",
        """after (a short|a long|a secret) trial , (judges in {country.capital}|{country.adjective} judges)
        {day} {verdict.past} {crime} , {report} , (a charge that the accused had always denied|in the first
        case of its kind in {country}) .""",
    ),
    (
        "{country.adjective} {job.short} {verdict.passive} {crime.short}",
        "{country.adjective} court {verdict.present} {job.short} [{person.last}] [in {crime.short} trial]",
        "{job.short} {person.last} {verdict.passive} {crime.short}",
    ),
)
_PLACES = table(
    "name",
    """
    northern
    southern
    eastern
    western
    central
    a remote part of
    the mountains of
    """,
)
_DISASTERS = table(
    "name struck short kills leaves",
    """
    an earthquake ; (struck|shook|hit) ; (quake|earthquake) ; kills ; leaves
    a powerful storm ; (struck|swept over|hit) ; storm ; kills ; leaves
    heavy floods ; (struck|swept through|hit) ; floods ; kill ; leave
    a landslide ; (struck|hit) ; landslide ; kills ; leaves
    a tornado ; (struck|tore through|hit) ; tornado ; kills ; leaves
    forest fires ; (swept through|hit) ; (fires|forest fires) ; kill ; leave
    """,
)
DISASTER = Kind(
    {"country": COUNTRIES, "disaster": _DISASTERS, "deaths": DEATHS, "place": _PLACES, "sum": SUMS},
    (
        """{deaths} were killed [and hundreds hurt] {day} when {disaster} {disaster.struck} {place} {country}
        , (destroying houses and roads|cutting off villages|leaving thousands homeless|causing damage of
        {sum}) , {official} said .""",
        """{disaster} {disaster.struck} {place} {country} {day} , killing {deaths} and (leaving thousands
        without power|driving thousands from their homes|destroying crops worth {sum}) , {report} .""",
    ),
    (
        "{disaster.short} {disaster.kills} {deaths.short} in {country}",
        "{disaster.short} {disaster.leaves} {deaths.short} dead in {country}",
        "{deaths.short} (killed|dead|die) in {country.adjective} {disaster.short}",
        "{disaster.short} in {country} , {deaths.short} (killed|dead)",
        "{country.adjective} {disaster.short} {disaster.kills} {deaths.short}",
    ),
)
_ACCIDENTS = table(
    "name short",
    """
    a bus ran off a mountain road ; bus crash
    two trains collided near a station ; train (crash|collision)
    a ferry sank in heavy seas ; ferry (sinking|disaster)
    a small plane crashed after take-off ; plane crash
    an explosion tore through a coal mine ; mine (blast|explosion)
    a fire swept through a crowded hotel ; hotel fire
    a bridge collapsed under a line of trucks ; bridge collapse
    """,
)
ACCIDENT = Kind(
    {"country": COUNTRIES, "accident": _ACCIDENTS, "deaths": DEATHS, "person": PEOPLE},
    (
        """{deaths} (died|were killed) [and ## injured] when {accident} in {country} {day} , {official} said ,
        (but the cause was not clear|and president {person} promised an inquiry|and rescuers searched for
        survivors) .""",
        """{accident} in {country} {day} , killing {deaths} (, many of them children|and injuring ##|on their
        way home from a festival) , {report} .""",
    ),
    (
        "{accident.short} (kills {deaths.short}|leaves {deaths.short} dead) in {country}",
        "{deaths.short} (killed|dead|die) in {country.adjective} {accident.short}",
        "{country.adjective} {accident.short} (kills|claims) {deaths.short}",
    ),
)
_NEEDS = table(
    "name short",
    """
    a long drought ; drought
    the worst floods in ## years ; flood
    an outbreak of cholera ; cholera
    an earthquake ; (quake|earthquake)
    a shortage of food ; (food crisis|hunger)
    """,
)
AID = Kind(
    {"country": COUNTRIES, "other": COUNTRIES, "need": _NEEDS, "sum": SUMS, "person": PEOPLE},
    (
        """{country} will (give|send|provide) {sum} (in aid|worth of food and medicine) to {other} , which (is
        suffering from|has been hit by) {need} , (foreign minister {person}|{official}) said {day} [in
        {country.capital}] .""",
        """(ships|planes|trucks) with (tents and blankets|food and medicine|doctors and nurses) from {country}
        {day} reached {other} , where {need} (has killed ### people|has driven thousands from their villages)
        , {report} .""",
    ),
    (
        "{country} (gives|sends|pledges) [{need.short}] aid to {other}",
        "{country} (helps|aids|comes to aid of) {other} (after|in) {need.short}",
        "{country.adjective} aid (for|reaches|to help) {other} [(after|in) {need.short}]",
    ),
)
WORLD = (RESIGNATION, TALKS, ACCORD, PARLIAMENT, PROTEST, ELECTION, COURT, DISASTER, ACCIDENT, AID)
