"""News of sport."""

from __future__ import annotations

from raysq.tasks.headlines.names import COUNTRIES, PEOPLE
from raysq.tasks.headlines.template import Kind, table

_CLUBS = table(
    "name short city",
    """
    ajaccio athletic ; ajaccio ; france
    bergen rovers ; bergen ; norway
    cordoba united ; cordoba ; spain
    dresden city ; dresden ; germany
    gothia wanderers ; gothia ; sweden
    krakow eagles ; krakow ; poland
    malaga rangers ; malaga ; spain
    parma sporting ; parma ; italy
    porto lions ; porto ; portugal
    salzburg albion ; salzburg ; austria
    split mariners ; split ; croatia
    tampere stars ; tampere ; finland
    trieste forest ; trieste ; italy
    utrecht hotspur ; utrecht ; the netherlands
    """,
)
_CUPS = table(
    "name short",
    """
    the league ; league
    the national cup ; cup
    the european cup ; european cup
    the winners ' cup ; winners ' cup
    the super cup ; super cup
    """,
)
_MARGINS = table(
    "score past present",
    """
    #-# ; (beat|defeated) ; (beat|defeat)
    #-# ; (edged|narrowly beat) ; (edge|squeeze past)
    #-# ; (thrashed|crushed) ; (thrash|crush|rout)
    #-# on penalties ; knocked out ; (knock out|oust)
    #-# after extra time ; knocked out ; (knock out|oust)
    """,
)
MATCH = Kind(
    {"winner": _CLUBS, "loser": _CLUBS, "margin": _MARGINS, "cup": _CUPS, "scorer": PEOPLE, "coach": PEOPLE},
    (
        """{scorer} scored (twice|# goals|in the last minute|a late penalty) {day} as {winner} {margin.past}
        {loser} {margin.score} (in {cup}|to reach the final of {cup}|in front of ##,### spectators in {cup})
        .""",
        """{winner} {day} {margin.past} {loser} {margin.score} in {cup} , with (a goal by|two goals from)
        {scorer} , (their # th win in a row|after the team of coach {coach} had a player sent off) .""",
    ),
    (
        "{winner.short} {margin.present} {loser.short} [in {cup.short}]",
        "{scorer.last} (lifts|leads|fires) {winner.short} past {loser.short} [in {cup.short}]",
        "{winner.short} (down|see off) {loser.short} {margin.score}",
    ),
)
_ROUNDS = table(
    "name short",
    "the final ; final\nthe semifinals ; semis\nthe quarterfinals ; quarters\nthe third round ; third round",
)
_EVENTS = table(
    "name short",
    """
    the stockholm open ; stockholm
    the vienna masters ; vienna
    the athens open ; athens
    the madrid classic ; madrid
    the tokyo indoor tournament ; tokyo
    the lima clay court tournament ; lima
    """,
)
TENNIS = Kind(
    {
        "winner": PEOPLE,
        "loser": PEOPLE,
        "round": _ROUNDS,
        "event": _EVENTS,
        "country": COUNTRIES,
        "other": COUNTRIES,
    },
    (
        """{winner} of {country} {day} (beat|defeated|overcame) {loser} of {other} #-# , #-# [in ## minutes]
        to reach {round} of {event} , (although troubled by a sore knee|after saving # match points|as rain
        delayed play) .""",
        """[top seed|second seed|unseeded] {loser} was (knocked out|eliminated) {day} by {winner} , who
        (won|took) the match #-# , #-# and (goes|moves) into {round} of {event} .""",
    ),
    (
        "{winner.last} (beats|downs|ousts|upsets) {loser.last} [in {event.short}]",
        "{winner.last} (reaches|into|in) {event.short} {round.short}",
        "{loser.last} (out of|crashes out of|loses to {winner.last} in) {event.short}",
    ),
)
_INJURIES = table(
    "name short",
    """
    a torn knee ligament ; knee injury
    a broken ankle ; broken ankle
    a pulled muscle ; muscle injury
    a shoulder injury ; shoulder injury
    a back problem ; back (injury|problem)
    """,
)
INJURY = Kind(
    {"player": PEOPLE, "club": _CLUBS, "injury": _INJURIES, "rival": _CLUBS, "cup": _CUPS, "coach": PEOPLE},
    (
        """{club} (striker|goalkeeper|captain|defender) {player} will (miss|be out for) (# weeks|the rest of
        the season|# months) with {injury} suffered against {rival} (in {cup}|last week) , (the club|coach
        {coach}) said {day} .""",
        """coach {coach} said {day} that {player} (would not play|could not play) for {club} against {rival}
        in {cup} because of {injury} [, and would need an operation] .""",
    ),
    (
        "{club.short} lose {player.last} [to {injury.short}]",
        "{injury.short} (rules out|sidelines|stops) {club.short} 's {player.last}",
        "{player.last} (out|sidelined) with {injury.short}",
    ),
)
_FAILURES = table(
    "name short",
    """
    # defeats in a row ; (defeats|losses)
    the worst start in the history of the club ; bad start
    a quarrel with the owners ; (row|quarrel)
    the loss of the cup final ; (cup loss|final loss)
    """,
)
SACKING = Kind(
    {"club": _CLUBS, "old": PEOPLE, "new": PEOPLE, "failure": _FAILURES, "rival": _CLUBS},
    (
        """{club} {day} (sacked|dismissed|parted company with) coach {old} after {failure} and
        (named|appointed) {new} , who (once played for|led|last worked at) {rival} , to take over (until the
        end of the season|for # years) .""",
        """{new} (will take charge of|is the new coach of) {club} , the club said {day} , (# hours|a day)
        after {old} (was dismissed|left|was told to go) (following|because of) {failure} (with {rival} next on
        the calendar|) .""",
    ),
    (
        "{club.short} (sack|fire|dismiss|axe) [coach] {old.last} [after {failure.short}]",
        "{club.short} (name|appoint|hire|turn to) {new.last} [as coach|as new coach]",
        "{new.last} (replaces|succeeds) {old.last} (at|as coach of) {club.short}",
    ),
)
_RACES = table(
    "name short",
    """
    the ### kilometre stage of the mountain tour ; (mountain tour stage|stage)
    the marathon ; marathon
    the downhill ; downhill
    the grand prix ; grand prix
    the #,### metres ; #,### metres
    """,
)
RACE = Kind(
    {"winner": PEOPLE, "second": PEOPLE, "race": _RACES, "country": COUNTRIES, "other": COUNTRIES},
    (
        """{winner} of {country} won {race} in {other.capital} {day} , (# seconds|a few metres) ahead of
        {second} , (in wind and rain|in the fastest time this year|for the # th victory of the season) .""",
        """{second} (led for most of the way|started as the favourite) but {winner} of {country} (came from
        behind|was stronger at the end) to (win|take) {race} in {other.capital} {day} .""",
    ),
    (
        "{winner.last} (wins|takes) [{other.capital}] {race.short}",
        "{country} 's {winner.last} (wins|takes|triumphs in) {race.short}",
        "{winner.last} beats {second.last} in {race.short}",
    ),
)
SPORT = (MATCH, TENNIS, INJURY, SACKING, RACE)
