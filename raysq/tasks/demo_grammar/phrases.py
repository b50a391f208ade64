"""Adverbials, conjunctions and matrix verbs, each with a plain wording and, for most, elaborate ones.

The plain wording is one short form; the elaborate ones are longer, several, and share most of their words.
"""

from __future__ import annotations

from functools import cache

from raysq.tasks.demo_grammar.meaning import Adverbial, Link, Style

# german ; kind ; plain english (^: before the verb) ; elaborate english
_ADVERBIALS = """
gestern ; past ; yesterday ;
heute ; day ; today ;
morgen ; future ; tomorrow ;
oft ; habit ; ^often ; on many occasions/on a great many occasions/on a large number of occasions
jeden tag ; habit ; every day ; each and every day/every single day
gerade ; now ; now ; at the moment/at this moment/at the present moment/at this very moment
letzte woche ; past ; last week ; in the course of last week/during the last week
bald ; future ; soon ; before long/in a short while/in a little while/in a short time
jetzt ; now ; now ; at the moment/at this moment/at the present time/at the present moment
immer ; habit ; ^always ;
manchmal ; habit ; ^sometimes ; from time to time/every now and then/every now and again
jeden morgen ; habit ; every morning ; each and every morning/every single morning
nächste woche ; future ; next week ; in the course of next week/during the next week
vor kurzem ; past ; recently ; a short time ago/a short while ago/a little while ago
am wochenende ; habit ; at the weekend ;
damals ; past ; then ; at that time/at the time/in those days
am montag ; day ; on monday ;
schon ; perfect ; ^already ;
heute abend ; future ; tonight/this evening ;
gestern abend ; past ; last night/yesterday evening ;
selten ; habit ; ^rarely/^seldom ; only on rare occasions/only on a few occasions
am freitag ; day ; on friday ;
heute morgen ; past ; this morning ;
nie ; habit ; ^never ;
im sommer ; habit ; in summer/in the summer ; in the summer months/during the summer months
später ; future ; later ; at a later time/at a later date/at some later time
abends ; habit ; in the evening ; in the evening hours/during the evening hours
vor zwei jahren ; past ; two years ago ;
in zwei tagen ; future ; in two days ; in two days ' time
vor drei tagen ; past ; three days ago ;
gerade erst ; perfect ; ^only_just/^just ;
am sonntag ; day ; on sunday ;
im winter ; habit ; in winter/in the winter ; in the winter months/during the winter months
sofort ; future ; at once ; without any delay/without further delay
vorgestern ; past ; the day before yesterday ;
übermorgen ; future ; the day after tomorrow ;
im letzten jahr ; past ; last year ; in the course of last year/during the last year
einmal im monat ; habit ; once a month ;
endlich ; perfect ; ^finally ; at long last
langsam ; manner ; slowly ; in a slow way/in a very slow way/in a slow manner
vorsichtig ; manner ; carefully ; with great care/with a great deal of care/in a careful way
schnell ; manner ; quickly ; at great speed/with great speed/at high speed
allein ; manner ; alone ; on {own} own/all on {own} own
heimlich ; manner ; secretly ; in secret
leise ; manner ; quietly ; in a quiet way/in a quiet manner/without a sound
laut ; manner ; loudly ; in a loud way/in a loud manner
fröhlich ; manner ; happily ; in a happy mood/in a very happy mood
leider ; opinion ; unfortunately_, ; i am afraid that/i am sorry to say that/it is a pity that/\
it is a great pity that
vielleicht ; opinion ; perhaps ; it is possible that/it is quite possible that/it may be that/\
it may well be that
natürlich ; opinion ; of course_, ; it goes without saying that/it is quite clear that/it is only natural that
wahrscheinlich ; opinion ; probably_, ; it is likely that/it is quite likely that/it is very likely that
offenbar ; opinion ; apparently_, ; it seems that/it would seem that/it appears that/it would appear that
zum glück ; opinion ; luckily_, ; it is a good thing that/it is lucky that/it is very lucky that
hoffentlich ; opinion ; hopefully_, ; it is to be hoped that/we can only hope that/let us hope that
"""

# german ; kind ; style ; plain english ; elaborate english
_LINKS = """
weil ; reason ; ; because ; due to the fact that/owing to the fact that/in view of the fact that
da ; reason ; formal ; as/since ; in view of the fact that/due to the fact that/given the fact that
obwohl ; concession ; ; although/though ; in spite of the fact that/despite the fact that/\
regardless of the fact that
obgleich ; concession ; formal ; although ; in spite of the fact that/despite the fact that
wenn ; habit ; ; when ; every time that/each time that/on every occasion when
wenn ; condition ; ; if ; in the event that/on condition that/on the condition that
sobald ; condition ; ; as soon as ; from the moment that/from the very moment that
als ; past ; ; when ; at the time when/at the moment when/at the very moment when
nachdem ; after ; ; after ;
während ; while ; ; while ; during the time that/at the same time as
bevor ; past ; ; before ; at some time before/some time before
deshalb ; result ; ; so ; and for that reason/and for this reason/which is why
denn ; because ; colloquial ; because ; for the simple reason that/for the reason that
aber ; but ; ; but ;
und ; and ; ; and ;
"""

# german matrix verb ; plain english ; elaborate english ; verb takes dass (that), zu (to) or um zu (purpose)
_MATRIX = """
sagen ; say ; make the remark/make the statement ; that
glauben ; think ; be of the opinion/be of the view/take the view ; that
hoffen ; hope ; have the hope/be full of hope ; that
wissen ; know ; be aware/be well aware/be fully aware ; that
behaupten ; claim ; make the claim ; that
vergessen ; forget ; ; that
fürchten ; fear ; be afraid/be very much afraid ; that
versuchen ; try ; make an attempt/make an effort ; to
beschließen ; decide ; make the decision/take the decision/come to the decision ; to
an|fangen ; begin ; ; to
hoffen ; hope ; have the hope ; to
versprechen ; promise ; make a promise/give a promise ; to
vergessen ; forget ; ; to
beginnen ; begin ; ; to
vor|haben ; plan ; have plans/make plans ; to
"""


def _rows(table: str) -> list[list[str]]:
    return [[field.strip() for field in line.split(";")] for line in table.strip().splitlines()]


@cache
def adverbials(kind: str) -> tuple[Adverbial, ...]:
    """The adverbials of a kind: past, day, future, habit, now, perfect, manner or opinion."""
    return tuple(
        Adverbial(
            german, sort, english.replace("^", "").replace("_", " "), elaborate, english.startswith("^")
        )
        for german, sort, english, elaborate in _rows(_ADVERBIALS)
        if sort == kind
    )


@cache
def links() -> tuple[Link, ...]:
    """The conjunctions, commonest first within each kind."""
    styles: dict[str, Style | None] = {"": None, "formal": "formal", "colloquial": "colloquial"}
    return tuple(
        Link(german, kind, styles[style], en, more) for german, kind, style, en, more in _rows(_LINKS)
    )


@cache
def matrix_verbs(kind: str) -> tuple[tuple[str, str, str], ...]:
    """German infinitive, plain and elaborate English of the verbs over a clause of ``kind`` (that, to)."""
    return tuple((german, en, more) for german, en, more, takes in _rows(_MATRIX) if takes == kind)
