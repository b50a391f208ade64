"""News of companies and markets."""

from __future__ import annotations

from raysq.tasks.headlines.names import COMPANIES, COUNTRIES, PEOPLE, PERCENTS, SUMS
from raysq.tasks.headlines.template import Kind, table

_PERIODS = table("name", "first-quarter\nsecond-quarter\nthird-quarter\nfirst-half\nfull-year")
_RESULTS = table(
    "past present than cause short acts",
    """
    {rose} ; {rises} ; higher ; strong demand from asia ; asian demand ; {lifts}
    {rose} ; {rises} ; higher ; record sales before the holidays ; record holiday sales ; {lift}
    {rose} ; {rises} ; higher ; lower costs at its factories ; cost cuts ; {lift}
    {rose} ; {rises} ; higher ; a weaker currency , which made exports cheaper ; weak currency ; {lifts}
    {fell} ; {falls} ; lower ; rising prices of raw materials ; raw material costs ; {hit}
    {fell} ; {falls} ; lower ; weak spending by consumers ; weak consumer spending ; {hits}
    {fell} ; {falls} ; lower ; a long strike at its largest plant ; strike ; {hits}
    {fell} ; {falls} ; lower ; a charge for old lawsuits ; lawsuit charge ; {hits}
    """,
)
EARNINGS = Kind(
    {"company": COMPANIES, "period": _PERIODS, "result": _RESULTS, "percent": PERCENTS, "sum": SUMS},
    (
        """{company.adjective} {company.trade} {company} said {day} its {period} [net] profit {result.past}
        {percent} to {sum} because of {result.cause} [, (more|less) than {analyst} had expected] .""",
        """{company} , (one of the largest sellers of {company.goods} in the region|the {company.adjective}
        {company.trade}) , reported a {period} profit of {sum} {day} , {percent} {result.than} than a year
        (ago|earlier) , (citing|and pointed to) {result.cause} .""",
    ),
    (
        "{company.short} [{period}] profit {result.present} [{percent}|on {result.short}]",
        "{company.short} (posts|reports) {result.than} [{period}] profit [on {result.short}]",
        "{result.short} {result.acts} {company.short} [{period}] profit",
    ),
)
_AIMS = table(
    "name short",
    """
    to expand in latin america ; latin american expansion
    to win customers in asia ; asian push
    to become the second largest in europe ; european growth
    to cut costs ; savings
    to enter the american market ; us entry
    """,
)
TAKEOVER = Kind(
    {"company": COMPANIES, "target": COMPANIES, "aim": _AIMS, "sum": SUMS, "percent": PERCENTS},
    (
        """{company.adjective} {company.trade} {company} (has agreed|agreed {day}) to (buy|acquire|take over)
        {target} [, a {target.adjective} {target.trade} ,] for {sum} (in cash|in shares|in cash and shares)
        (in a move|as it seeks) {aim} , {company_source} said .""",
        """{company} said {day} it (would|plans to|wants to) (buy|acquire|take over) {target.adjective}
        {target.trade} {target} for (about|around|up to) {sum} {aim} , (sending its shares (up|down)
        {percent}|confirming reports in the press|after months of talks) .""",
    ),
    (
        "{company.short} (to buy|buys|to acquire|to take over) {target.short} [for {sum}]",
        "{company.short} (agrees|plans) [{sum}] (takeover of|deal for) {target.short}",
        "{company.short} (snaps up|bids for) [{target.adjective} {target.trade}] {target.short}",
        "{company.short} (buys|eyes) {target.short} (for|in) {aim.short} [move]",
    ),
)
_SLUMPS = table(
    "name short",
    """
    falling demand ; weak demand
    heavy losses in europe ; european losses
    competition from cheaper imports ; import competition
    the high price of energy ; energy costs
    a shift of production to new machines ; automation
    """,
)
_JOBS = table("name", "###\n#,###\n##,###")
LAYOFFS = Kind(
    {"company": COMPANIES, "slump": _SLUMPS, "jobs": _JOBS, "country": COUNTRIES, "percent": PERCENTS},
    (
        """{company.adjective} {company.trade} {company} (will|plans to|is to) (cut|shed|eliminate) {jobs}
        jobs , or {percent} of its staff , (mostly|most of them) in {country} , because of {slump} ,
        {company_source} said {day} .""",
        """(faced with|blaming) {slump} , {company} said {day} it (would|planned to) (close|shut) (a plant|two
        plants|an office) in {country} [next year] and (cut|lay off) (about|some|up to) {jobs}
        (workers|employees) .""",
    ),
    (
        "{company.short} to (cut|shed|slash|axe) {jobs} jobs [in {country}]",
        "{company.short} (cuts|sheds|axes) {jobs} jobs [(amid|on|after) {slump.short}]",
        "{jobs} {company.short} jobs to go (amid|on|over) {slump.short}",
        "{jobs} jobs (go|to go|lost) in {country} as {company.short} cuts back",
    ),
)
_POSTS = table(
    "name short",
    "chief executive ; (ceo|chief|boss)\nchairman ; chairman\nfinance director ; (finance chief|cfo)",
)
APPOINTMENT = Kind(
    {"company": COMPANIES, "new": PEOPLE, "old": PEOPLE, "post": _POSTS, "rival": COMPANIES},
    (
        """{company.adjective} {company.trade} {company} {day} (named|appointed) {new} , (a former manager
        of|who spent # years at) {rival} , as its [new] {post} to (replace|succeed) {old} , who (is
        retiring|resigned last month|is leaving after # years) .""",
        """{new} will (become|take over as) {post} of {company} (next month|at the end of the year) after
        {old} (stepped down|retires|leaves for {rival}) , the {company.adjective} {company.trade} said {day}
        .""",
    ),
    (
        "{company.short} (names|appoints|picks) [{new.last} as] new {post.short}",
        "{new.last} (to head|named {post.short} of|to be {post.short} of) {company.short}",
        "{new.last} (replaces|succeeds) {old.last} (at {company.short}|as {company.short} {post.short})",
    ),
)
STRIKE = Kind(
    {"company": COMPANIES, "place": COUNTRIES, "jobs": _JOBS, "percent": PERCENTS},
    (
        """(about|some|more than) {jobs} workers at the {place.adjective} (plants|offices|sites) of
        {company.trade} {company} (walked out|went on strike|stopped work) {day} (to demand|in support
        of|over) a (pay|wage) rise of {percent} , (the union said|union leaders said|the first stoppage in #
        years) .""",
        """{company} , the {company.adjective} {company.trade} , (was forced to|had to) stop (work|all work)
        in {place} {day} (after|when) {jobs} (employees|staff) (walked out|began a strike|laid down their
        tools) over pay .""",
    ),
    (
        "{company.short} workers (strike|walk out) [in {place}] [over pay]",
        "[pay] strike (halts|hits|stops) {company.short} [in {place}|{place.adjective} output]",
        "{jobs} (strike|walk out|down tools) at {company.short} [over pay]",
    ),
)
_MARKET_NEWS = table(
    "past present than ing acts cause short",
    """
    {rose} ; {rise} ; higher ; {gains} ; {lift} ; hopes of a cut in interest rates ; rate cut hopes
    {rose} ; {rise} ; higher ; {gains} ; {lift} ; strong jobs figures in the united states ; us jobs data
    {rose} ; {rise} ; higher ; {gains} ; {lift} ; strong results of technology companies ; tech results
    {rose} ; {rise} ; higher ; {gains} ; {lift} ; signs of progress in trade talks ; trade hopes
    {fell} ; {fall} ; lower ; {losses} ; {hit} ; fears of higher interest rates ; rate fears
    {fell} ; {fall} ; lower ; {losses} ; {hit} ; worries about the health of the banks ; bank worries
    {fell} ; {fall} ; lower ; {losses} ; {hits} ; weak factory figures from china ; weak china data
    {fell} ; {fall} ; lower ; {losses} ; {hits} ; profit-taking after a week of gains ; profit-taking
    """,
)
STOCKS = Kind(
    {
        "country": COUNTRIES,
        "news": _MARKET_NEWS,
        "percent": PERCENTS,
        "company": COMPANIES,
        "other": PERCENTS,
    },
    (
        """(shares|stocks|share prices) in {country.capital} {news.past} {percent} {day} (on|because of)
        {news.cause} , with {company} (up|down) {other} (in heavy trading|in thin trading|by midday) ,
        {analyst} said .""",
        """{country.adjective} (shares|stocks) (closed|ended|finished) {percent} {news.than} {day} (after a
        day of|in) (quiet|nervous|hectic) trading as {news.cause} (outweighed|eclipsed) (the results of|news
        from) {company} .""",
    ),
    (
        "{country.adjective} (stocks|shares) {news.present} [{percent}] [on {news.short}]",
        "{news.short} {news.acts} {country.adjective} (stocks|shares)",
        "{news.short} behind {country.adjective} market {news.ing}",
        "{country.capital} (stocks|shares) {news.present} [on {news.short}]",
    ),
)
_GOODS = table(
    "name short",
    """
    crude oil ; oil
    gold ; gold
    copper ; copper
    wheat ; wheat
    coffee ; coffee
    natural gas ; gas
    sugar ; sugar
    """,
)
_SUPPLY = table(
    "past present than cause short",
    """
    {rose} ; {rise} ; higher ; fears that a storm will cut supplies ; storm fears
    {rose} ; {rise} ; higher ; reports of low stocks ; low stocks
    {rose} ; {rise} ; higher ; a strike at a large port ; port strike
    {rose} ; {rise} ; higher ; heavy buying by china ; chinese buying
    {fell} ; {fall} ; lower ; forecasts of record output ; record output forecast
    {fell} ; {fall} ; lower ; a stronger dollar ; strong dollar
    {fell} ; {fall} ; lower ; signs of weaker demand ; demand worries
    """,
)
COMMODITY = Kind(
    {"good": _GOODS, "supply": _SUPPLY, "percent": PERCENTS, "country": COUNTRIES, "other": _GOODS},
    (
        """the price of {good} {supply.past} {percent} {day} , (its biggest move in # months|the third such
        day in a row) , on {supply.cause} , while {other} was (little changed|steady|unchanged) , {analyst}
        said .""",
        """{supply.cause} (pushed|drove|sent) {good} prices (sharply|slightly) {supply.than} in
        {country.capital} {day} [, and {analyst} said {other} could follow] .""",
    ),
    (
        "{good.short} prices {supply.present} [{percent}] on {supply.short}",
        "{good.short} prices {supply.present} [{percent}]",
        "{good.short} prices {supply.present} amid {supply.short}",
    ),
)
_RATES = table(
    "past to present at aim short",
    """
    (raised|lifted) ; to ; (raises|lifts|hikes) ; to ; to curb inflation ; to curb inflation
    (raised|lifted) ; to ; (raises|lifts|hikes) ; to ; to support the falling currency ; to support currency
    (cut|lowered) ; to ; (cuts|lowers|trims) ; to ; to revive the slowing economy ; to revive economy
    (cut|lowered) ; to ; (cuts|lowers|trims) ; to ; to help struggling exporters ; to help exporters
    (left|kept) ; unchanged at ; (holds|keeps) ; at ; to wait for new figures on inflation ; ahead of data
    """,
)
RATES = Kind(
    {"country": COUNTRIES, "rate": _RATES, "percent": PERCENTS, "head": PEOPLE},
    (
        """the central bank of {country} {day} {rate.past} its [main|key] interest rate {rate.to} {percent}
        (for the first time in # years|for the third month running|as expected) {rate.aim} , governor {head}
        (told reporters|said in a statement) .""",
        """{head} , the governor of the {country.adjective} central bank , said {day} the bank had {rate.past}
        the [main|key] interest rate {rate.to} {percent} {rate.aim} [, a step that surprised {analyst}] .""",
    ),
    (
        "{country} {rate.present} [key|interest] rates [{rate.short}]",
        "{country.adjective} central bank {rate.present} rates [{rate.at} {percent}]",
        "[{country.adjective}] central bank {rate.present} rates {rate.short}",
    ),
)
BUSINESS = (EARNINGS, TAKEOVER, LAYOFFS, APPOINTMENT, STRIKE, STOCKS, COMMODITY, RATES)
