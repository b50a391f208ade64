"""Verbs: German principal parts and the frames in which they mean one thing and not another."""

from __future__ import annotations

from functools import cache
from typing import Literal

from raysq.tasks.demo_grammar.meaning import Case, Modal, Style, Verb

# infinitive: third person singular, preterite, participle. Verbs not named here are weak.
_STRONG = """
lesen liest las gelesen
schreiben schreibt schrieb geschrieben
essen isst aß gegessen
trinken trinkt trank getrunken
sehen sieht sah gesehen
finden findet fand gefunden
geben gibt gab gegeben
nehmen nimmt nahm genommen
helfen hilft half geholfen
sprechen spricht sprach gesprochen
verstehen versteht verstand verstanden
bestehen besteht bestand bestanden
gehen geht ging gegangen
fahren fährt fuhr gefahren
kommen kommt kam gekommen
bekommen bekommt bekam bekommen
laufen läuft lief gelaufen
gefallen gefällt gefiel gefallen
bringen bringt brachte gebracht
denken denkt dachte gedacht
kennen kennt kannte gekannt
wissen weiß wusste gewusst
fangen fängt fing gefangen
rufen ruft rief gerufen
laden lädt lud geladen
tragen trägt trug getragen
ziehen zieht zog gezogen
werfen wirft warf geworfen
schlafen schläft schlief geschlafen
sitzen sitzt saß gesessen
liegen liegt lag gelegen
verlieren verliert verlor verloren
vergessen vergisst vergaß vergessen
leihen leiht lieh geliehen
treffen trifft traf getroffen
schließen schließt schloss geschlossen
beginnen beginnt begann begonnen
versprechen verspricht versprach versprochen
beschließen beschließt beschloss beschlossen
verlassen verlässt verließ verlassen
heben hebt hob gehoben
erhalten erhält erhielt erhalten
sein ist war gewesen
haben hat hatte gehabt
werden wird wurde geworden
können kann konnte gekonnt
müssen muss musste gemusst
wollen will wollte gewollt
dürfen darf durfte gedurft
sollen soll sollte gesollt
"""

# german (prefix|verb, +s: perfect with sein) ; frame ; subjects ; english ; elaborate english ; style
# Frames: case:classes, preposition+case:classes, dat>acc:classes, put:classes, loc, dest, or -.
# "! " before the English marks a verb without progressive; "turn+on" is a phrasal verb.
_VERBS = """
lesen ; acc:text ; person ; read {o} ; ;
essen ; acc:food ; person,pet ; eat {o} ; ;
sehen ; acc:person,animal,castle,vehicle ; person ; ! see {o} ; ;
kaufen ; acc:thing,garment,food,vehicle,machine ; person ; buy {o} ; ;
suchen ; acc:lost,person,pet ; person ; look for {o} ; ;
besuchen ; acc:person,sight ; person ; visit {o} ; pay a visit to {o}/make a visit to {o}/\
pay a short visit to {o} ;
helfen ; dat:person ; person ; help {o} ; give {o} a hand/give {o} a helping hand/lend {o} a hand/\
lend {o} a helping hand ;
warten ; auf+acc:person,awaited ; person ; wait for {o} ; ;
auf|machen ; acc:opening ; person ; open {o} ; ; colloquial
öffnen ; acc:opening,locked ; person ; open {o} ; ; formal
zu|machen ; acc:opening ; person ; close {o}/shut {o} ; ; colloquial
schließen ; acc:opening,locked ; person ; close {o}/shut {o} ; ; formal
an|machen ; acc:device ; person ; turn+on/switch+on ; ;
aus|machen ; acc:device ; person ; turn+off/switch+off ; ;
trinken ; acc:drink ; person ; drink {o} ; ;
schreiben ; acc:written ; person ; write {o} ; ;
geben ; dat>acc:thing,text,fruit ; person ; give {r} {o}/give {o} to {r} ; ;
zeigen ; dat>acc:shown,gift,castle,text ; person ; show {r} {o}/show {o} to {r} ; ;
arbeiten ; loc:work,outside ; person ; work ; ;
spielen ; acc:instrument ; person ; play {o} ; ;
spielen ; loc:outside,room ; young,pet ; play ; ;
tragen ; acc:garment ; person ; wear {o} ; ;
tragen ; acc:carried ; person ; carry {o} ; ;
gehen +s ; dest:place,office,castle,water ; person ; go ;  ;
fahren +s ; dest:place,castle,water ; person ; drive/go ; ;
fahren +s ; mit+dat:ride ; person ; take {o} ; ;
fahren +s ; acc:drive ; person ; drive {o} ; ;
fahren +s ; acc:bike ; person ; ride {o} ; ;
bringen ; dat>acc:thing,dish,text ; person ; bring {r} {o}/bring {o} to {r} ; ;
reparieren ; acc:machine,vehicle,locked,opening ; person ; repair {o} ; carry out repairs on {o}/\
do some repairs on {o} ;
verkaufen ; acc:thing,vehicle,garment,instrument ; person ; sell {o} ; ;
sprechen ; mit+dat:person ; person ; talk to {o}/speak to {o} ; have a talk with {o}/\
have a word with {o}/have a few words with {o} ;
sprechen ; über+acc:topic,person ; person ; talk about {o}/speak about {o} ; ;
denken ; an+acc:person,topic ; person ; think of {o}/think about {o} ; ;
an|rufen ; acc:person ; person ; call {o} ; give {o} a call/make a phone call to {o}/\
give {o} a phone call ;
finden ; acc:lost,thing,text ; person ; ! find {o} ; ;
schenken ; dat>acc:gift ; person ; give {r} {o}/give {o} to {r} ; give {r} {o} as a present/\
make {r} a present of {o} ;
sitzen ; loc:seat,surface,outside ; person,pet ; sit ; ;
schlafen ; loc:room,seat ; person,pet ; sleep ; ;
liegen ; loc:surface,seat ; thing,text,pet ; lie ; ;
legen ; put:thing,text ; person ; put {o} ; ;
stellen ; put:thing,carried ; person ; put {o} ; ;
putzen ; acc:opening,vehicle,room,surface ; person ; clean {o} ; ;
verlieren ; acc:lost ; person ; lose {o} ; ;
vergessen ; acc:lost,idea,event ; person ; ! forget {o} ; ;
kennen ; acc:person,sight ; person ; ! know {o} ; ! be familiar with {o}/be well acquainted with {o} ;
verstehen ; acc:text,idea,asked,told ; person ; ! understand {o} ; ;
lieben ; acc:person,pet,sight ; person ; ! love {o} ; be very fond of {o}/be fond of {o} ;
ein|laden ; acc:person ; person ; invite {o} ; ;
ab|holen ; acc:person,mail ; person ; pick+up ; ;
mit|nehmen ; acc:thing,carried,pet,garment ; person ; take {o} along/take {o} with {refl} ; ;
nehmen ; acc:ride ; person ; take {o} ; ;
treffen ; acc:person ; person ; meet {o} ; ;
erzählen ; dat>acc:told ; person ; tell {r} {o}/tell {o} to {r} ; ;
schicken ; dat>acc:mail,gift ; person ; send {r} {o}/send {o} to {r} ; ;
gehören ; dat:person ; thing,vehicle,instrument,garment ; ! belong to {o} ; ;
antworten ; dat:person ; person ; answer {o} ; give {o} an answer/give an answer to {o} ;
folgen +s ; dat:person,animal ; person,pet ; follow {o} ; ;
an|ziehen ; acc:garment ; person ; put+on ; ;
aus|ziehen ; acc:garment ; person ; take+off ; ;
an|sehen ; acc:shown,text,castle ; person ; look at {o} ; have a look at {o}/take a look at {o}/\
have a close look at {o} ;
besichtigen ; acc:castle,sight,building ; person ; visit {o}/see {o} ; ;
auf|räumen ; acc:room ; person ; tidy+up ; ;
weg|werfen ; acc:thing,text,spare ; person ; throw+away ; ;
leihen ; dat>acc:book,drive,thing ; person ; lend {r} {o}/lend {o} to {r} ; ;
sich3 leihen ; acc:book,drive,bike,thing ; person ; borrow {o} ; ;
sich freuen ; auf+acc:event ; person ; look forward to {o} ; ;
sich freuen ; über+acc:gift,mail ; person ; ! be pleased about {o}/be happy about {o} ; ;
sich erinnern ; an+acc:person,topic ; person ; ! remember {o} ; ;
sich interessieren ; für+acc:topic,sight,book ; person ; ! be interested in {o} ; \
take an interest in {o}/have an interest in {o}/take a great interest in {o} ;
bestehen ; acc:exam ; person ; pass {o} ; ;
verlassen ; acc:room,building,castle,person ; person ; leave {o} ; ;
sich verlassen ; auf+acc:person ; person ; ! rely on {o} ; place {own} trust in {o}/put {own} trust in {o} ;
auf|geben ; acc:idea ; person ; give+up ; ;
auf|heben ; acc:thing,lost ; person ; pick+up ; ;
kochen ; acc:dish,food ; person ; cook {o} ; ;
wechseln ; acc:spare ; person ; change {o} ; ;
bekommen ; acc:mail,gift ; person ; get {o}/receive {o} ; ; neutral
kriegen ; acc:mail,gift ; person ; get {o} ; ; colloquial
erhalten ; acc:mail,gift ; person ; receive {o} ; be in receipt of {o} ; formal
an|kommen +s ; loc:building,sight ; person,ride ; ! arrive ; ;
laufen +s ; dest:outside,place ; person,pet ; run ; ;
gefallen ; dat:person ; gift,castle,shown,told,garment ; ! like {s} ; ;
"""

# german ; English present auxiliaries ; past auxiliaries ; plain full verbs ; elaborate full verbs
_MODALS = """
können ; can ; could ; be able to {v} ; be in a position to {v}/have the ability to {v}
müssen ; must ; ; have to {v} ; be obliged to {v}/be required to {v}/find it necessary to {v}
wollen ; ; ; want to {v} ; be keen to {v}/have the intention to {v}/be determined to {v}
dürfen ; may/can ; ; be allowed to {v} ; be permitted to {v}/have permission to {v}/\
be given permission to {v}
sollen ; should ; ; be supposed to {v} ; be expected to {v}/be meant to {v}
gern ; ; ; like to {v} ; be fond of {ing}/take pleasure in {ing}/take great pleasure in {ing}
"""


@cache
def strong_forms() -> dict[str, tuple[str, str, str]]:
    """Infinitive to (third person singular, preterite, participle)."""
    rows = (line.split() for line in _STRONG.strip().splitlines())
    return {infinitive: (third, past, participle) for infinitive, third, past, participle in rows}


def _frame(
    text: str,
) -> tuple[str, Case | None, bool, Literal["", "location", "destination", "put"], frozenset[str]]:
    """Preposition, case, recipient, place and object classes of a written frame."""
    head, _, listed = text.partition(":")
    classes = frozenset(listed.split(",")) if listed else frozenset()
    match head:
        case "loc":
            return "", None, False, "location", classes
        case "dest":
            return "", None, False, "destination", classes
        case "put":
            return "", "acc", False, "put", classes
        case "dat>acc":
            return "", "acc", True, "", classes
    preposition, _, case = head.rpartition("+")
    return preposition, "dat" if case == "dat" else "acc", False, "", classes


def _style(text: str) -> Style | None:
    return {"": None, "colloquial": "colloquial", "neutral": "neutral", "formal": "formal"}[text]


def _verb(line: str) -> Verb:
    german, frame, subjects, english, elaborate, style = (field.strip() for field in line.split(";"))
    words = german.split()
    reflexive: Literal["", "acc", "dat"] = (
        "acc" if words[0] == "sich" else "dat" if words[0] == "sich3" else ""
    )
    prefix, _, base = next(word for word in words if word not in ("sich", "sich3")).rpartition("|")
    preposition, case, recipient, goes, objects = _frame(frame)
    return Verb(
        prefix=prefix,
        base=base,
        auxiliary="sein" if "+s" in words else "haben",
        reflexive=reflexive,
        preposition=preposition,
        case=case,
        recipient=recipient,
        goes=goes,
        objects=objects,
        subjects=frozenset(subjects.split(",")),
        english=english.removeprefix("! "),
        elaborate=elaborate.removeprefix("! "),
        stative=english.startswith("! "),
        style=_style(style),
    )


@cache
def verbs() -> tuple[Verb, ...]:
    """Every sense of every verb, commonest first."""
    return tuple(_verb(line) for line in _VERBS.strip().splitlines())


@cache
def modals() -> tuple[Modal, ...]:
    """Modal verbs, and ``gern``."""
    rows = ([field.strip() for field in line.split(";")] for line in _MODALS.strip().splitlines())
    return tuple(Modal(*row) for row in rows)


COPULA = Verb(
    prefix="",
    base="sein",
    auxiliary="sein",
    reflexive="",
    preposition="",
    case=None,
    recipient=False,
    goes="",
    objects=frozenset(),
    subjects=frozenset(),
    english="be",
    elaborate="",
    stative=True,
    style=None,
)
"""``sein`` with a predicate."""
