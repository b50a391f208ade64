"""Nouns, adjectives and names. Within a class the earlier noun is the commoner one."""

from __future__ import annotations

from functools import cache

from raysq.tasks.demo_grammar.meaning import Adjective, Gender, Name, Noun

# german, plural (- for mass nouns), gender (w: n-declension), english, classes, location and destination as
# german:english prepositions. A word with two lines has two meanings; no verb's frame admits both.
_NOUNS = """
mann männer m man person,adult
frau frauen f woman person,adult
kind kinder n child person,young
junge jungen mw boy person,young
mädchen mädchen n girl person,young
lehrer lehrer m teacher person,job
freund freunde m friend person,adult
mutter mütter f mother person
vater väter m father person
lehrerin lehrerinnen f teacher person,job
student studenten mw student person
arzt ärzte m doctor person,job
freundin freundinnen f friend person,adult
nachbar nachbarn mw neighbour person,adult
bruder brüder m brother person
schwester schwestern f sister person
ärztin ärztinnen f doctor person,job
studentin studentinnen f student person
nachbarin nachbarinnen f neighbour person,adult
polizist polizisten mw policeman person,job
großmutter großmütter f grandmother person,adult
bauer bauern mw farmer person,job
schüler schüler m pupil person,young
sohn söhne m son person,young
tochter töchter f daughter person,young
könig könige m king person,job
leiter leiter m manager person,job
hund hunde m dog animal,pet
katze katzen f cat animal,pet
pferd pferde n horse animal,pet
vogel vögel m bird animal
maus mäuse f mouse animal
brot - n bread food
apfel äpfel m apple food,fruit
kuchen kuchen m cake food
suppe suppen f soup food,dish
käse - m cheese food
kartoffel kartoffeln f potato food,fruit
birne birnen f pear food
fleisch - n meat food
apfelkuchen apfelkuchen m apple_cake food,dish
kaffee - m coffee drink
tee - m tea drink
wasser - n water drink
milch - f milk drink
wein - m wine drink
buch bücher n book text,thing,gift,book
brief briefe m letter text,mail,written
zeitung zeitungen f newspaper text,thing
geschichte geschichten f story text,told,written
bericht berichte m report text,mail,written
roman romane m novel text,book,gift,written
gedicht gedichte n poem text,told,written
wörterbuch wörterbücher n dictionary text,thing,gift,book
mantel mäntel m coat garment
hut hüte m hat garment,gift
kleid kleider n dress garment,gift
jacke jacken f jacket garment
hemd hemden n shirt garment
auto autos n car vehicle,drive
bus busse m bus ride,awaited,vehicle
zug züge m train ride,awaited,vehicle
wagen wagen m car vehicle,drive
fahrrad fahrräder n bicycle vehicle,bike,gift
schiff schiffe n ship ride,awaited
flugzeug flugzeuge n plane ride,awaited
licht lichter n light device
radio radios n radio device,machine,gift
fernseher fernseher m television device,machine
lampe lampen f lamp device,thing,machine
heizung heizungen f heating device
birne birnen f light_bulb spare
tür türen f door opening
fenster fenster n window opening
koffer koffer m suitcase opening,carried,thing
flasche flaschen f bottle opening,thing
haustür haustüren f front_door opening
gartentor gartentore n garden_gate opening
schloss schlösser n lock locked
hahn hähne m tap locked
schlüssel schlüssel m key thing,lost
tasche taschen f bag thing,carried,lost
uhr uhren f watch thing,gift,lost,machine
bild bilder n picture thing,gift,shown
ball bälle m ball thing,gift
blume blumen f flower thing,gift
tasse tassen f cup thing
leiter leitern f ladder carried
tisch tische m table surface auf:on auf:on
stuhl stühle m chair surface auf:on auf:on
bett betten n bed surface auf:on auf:on
regal regale n shelf surface auf:on auf:on
schrank schränke m cupboard surface in:in in:in
schreibtisch schreibtische m desk surface auf:on auf:on
boden böden m floor surface auf:on auf:on
bank bänke f bench seat auf:on auf:on
park parks m park place,outside in:in in:to
garten gärten m garden place,outside in:in in:into
küche küchen f kitchen place,room in:in in:into
haus häuser n house place,building in:in in:into
schule schulen f school place,building,work in:at in:to
stadt städte f city place,sight in:in in:to
bahnhof bahnhöfe m station place,building an:at zu:to
büro büros n office place,room,work in:in in:to
markt märkte m market place an:at zu:to
kirche kirchen f church place,building,sight in:in in:to
dorf dörfer n village place,sight in:in in:to
wald wälder m forest place,outside in:in in:into
museum museen n museum place,building,sight in:in in:to
restaurant restaurants n restaurant place,building,work in:in in:to
krankenhaus krankenhäuser n hospital place,building,work in:in in:to
bank banken f bank office,building bei:at zu:to
schloss schlösser n castle castle,sight in:in zu:to
see seen m lake water an:by an:to
see - f sea water an:by an:to
strand strände m beach place,outside an:on an:to
theater theater n theatre place,building in:at in:to
straße straßen f street place,outside auf:in auf:into
wohnzimmer wohnzimmer n living_room place,room in:in in:into
problem probleme n problem topic
plan pläne m plan topic,idea
reise reisen f journey topic,event
frage fragen f question topic,asked
film filme m film topic,shown
arbeit - f work topic
fest feste n party event,topic
prüfung prüfungen f exam exam,event
konzert konzerte n concert event,topic
klavier klaviere n piano instrument
flügel flügel m grand_piano instrument
"""

_ADJECTIVES = """
alt älter old job,adult,animal,thing,text,garment,vehicle,device,place,surface,opening
neu neuer new thing,text,garment,vehicle,device,place,surface,opening,topic
jung jünger young person,animal
groß größer big/large animal,thing,place,vehicle,surface,opening,topic
klein kleiner small/little person,animal,thing,place,surface,opening,topic
schön schöner beautiful thing,garment,place,vehicle,event
rot röter red thing,garment,vehicle,surface,opening
müde müder tired person,animal
freundlich freundlicher friendly person
krank kränker ill person,animal
teuer teurer expensive thing,garment,vehicle,device,surface
schwarz schwärzer black garment,animal,vehicle,thing
gut besser good food,drink,text,topic
interessant interessanter interesting text,topic,event
reich reicher rich person
blau blauer blue garment,thing,vehicle,opening
kalt kälter cold food,drink,place
traurig trauriger sad person
glücklich glücklicher happy person
schwer schwerer heavy carried,opening
schwer schwerer difficult asked,exam,told
lang länger long text,event,topic
dick dicker fat pet,job
dick dicker thick book
arm ärmer poor person
weiß weißer white garment,surface,animal,opening
frisch frischer fresh food
schnell schneller fast vehicle,pet
berühmt berühmter famous person,sight
schmutzig schmutziger dirty garment,surface,place
wichtig wichtiger important topic,mail
grün grüner green garment,thing,opening
"""

_NAMES = (
    Name("anna", "anna", "f"),
    Name("peter", "peter", "m"),
    Name("maria", "maria", "f"),
    Name("martin", "martin", "m"),
    Name("julia", "julia", "f"),
    Name("paul", "paul", "m"),
    Name("lena", "lena", "f"),
    Name("david", "david", "m"),
)
_TITLED = (
    Name("herr meier", "mr meier", "m"),
    Name("frau schmidt", "mrs schmidt", "f"),
    Name("herr weber", "mr weber", "m"),
    Name("frau koch", "mrs koch", "f"),
)


def _preposition(field: str) -> tuple[str, str] | None:
    if field == "-":
        return None
    german, english = field.split(":")
    return german, english


def _noun(line: str) -> Noun:
    german, plural, gender, english, classes, *place = line.split()
    location, destination = (_preposition(field) for field in place or ("-", "-"))
    grammatical: Gender = "m" if gender[0] == "m" else "f" if gender[0] == "f" else "n"
    return Noun(
        german=german,
        plural=plural,
        gender=grammatical,
        weak=gender.endswith("w"),
        english=english.replace("_", " "),
        classes=frozenset(classes.split(",")),
        location=location,
        destination=destination,
    )


@cache
def nouns() -> tuple[Noun, ...]:
    """Every sense of every noun."""
    return tuple(_noun(line) for line in _NOUNS.strip().splitlines())


@cache
def adjectives() -> tuple[Adjective, ...]:
    """Every adjective."""
    rows = (line.split() for line in _ADJECTIVES.strip().splitlines())
    return tuple(Adjective(de, more, en, frozenset(classes.split(","))) for de, more, en, classes in rows)


def names(titled: bool) -> tuple[Name, ...]:
    """First names, or titles with surnames."""
    return _TITLED if titled else _NAMES


@cache
def nouns_of(classes: frozenset[str]) -> tuple[Noun, ...]:
    """The nouns that belong to any of ``classes``."""
    return tuple(noun for noun in nouns() if noun.classes & classes)


@cache
def adjectives_of(classes: frozenset[str]) -> tuple[Adjective, ...]:
    """The adjectives that can be said of any of ``classes``."""
    return tuple(adjective for adjective in adjectives() if adjective.classes & classes)
