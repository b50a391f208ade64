"""What a sentence of the demo corpus means, before either language has said it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Case = Literal["nom", "acc", "dat", "gen"]
Gender = Literal["m", "f", "n", "p"]
"""``p`` stands for the plural of any gender."""
Person = Literal["1s", "2s", "3s", "1p", "3p"]
"""The polite ``sie`` is 3p in German and "you" in English."""
Tense = Literal["present", "preterite", "perfect", "pluperfect"]
Aspect = Literal["simple", "progressive", "perfect", "future"]
"""What the English verb adds to the German tense; decided by the adverbial."""
Style = Literal["colloquial", "neutral", "formal"]


@dataclass(frozen=True, slots=True)
class Noun:
    """One sense of a noun: "bank" the bench and "bank" the institution are two."""

    german: str
    plural: str
    """``-`` for a mass noun, which has neither plural nor indefinite article."""
    gender: Gender
    weak: bool
    """True for the n-declension (den studenten)."""
    english: str
    """Alternatives parted by ``/``, the commonest first."""
    classes: frozenset[str]
    location: tuple[str, str] | None
    """German and English preposition of being there."""
    destination: tuple[str, str] | None
    """German and English preposition of going there."""

    @property
    def sex(self) -> Gender:
        """The English pronoun's gender: he, she or it."""
        if "person" not in self.classes:
            return "n"
        return "f" if self.german == "mädchen" else self.gender


@dataclass(frozen=True, slots=True)
class Adjective:
    """An adjective and the classes of nouns it can be said of."""

    german: str
    comparative: str
    english: str
    classes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Verb:
    """One sense of a verb with its frame."""

    prefix: str
    """Separable prefix or the empty string."""
    base: str
    """Infinitive without the separable prefix."""
    auxiliary: Literal["haben", "sein"]
    reflexive: Literal["", "acc", "dat"]
    preposition: str
    """German preposition of the object, empty for a bare case."""
    case: Case | None
    """Case of the object, None without one."""
    recipient: bool
    """True where a dative person precedes an accusative object."""
    goes: Literal["", "location", "destination", "put"]
    """The place the verb calls for; ``put`` is a two-way preposition with the accusative."""
    objects: frozenset[str]
    subjects: frozenset[str]
    english: str
    elaborate: str
    stative: bool
    """True where English has no progressive."""
    style: Style | None
    """The style a verb belongs to, None for all."""


@dataclass(frozen=True, slots=True)
class Pronoun:
    """A personal pronoun; German agrees with the grammatical gender, English with the sex."""

    person: Person
    gender: Gender = "m"
    sex: Gender = "m"
    polite: bool = False


@dataclass(frozen=True, slots=True)
class Name:
    """A first name, or a title with a surname."""

    german: str
    english: str
    sex: Gender


@dataclass(frozen=True, slots=True)
class Phrase:
    """A noun phrase."""

    noun: Noun
    number: Literal["s", "p"]
    determiner: str
    """der, ein, kein, dies, jed, all, viel, einig, zwei, drei, poss, or empty."""
    possessor: Pronoun | None = None
    adjective: Adjective | None = None
    owner: Phrase | Name | None = None
    relative: Relative | None = None

    @property
    def gender(self) -> Gender:
        """Grammatical gender, ``p`` in the plural."""
        return "p" if self.number == "p" else self.noun.gender


Nominal = Phrase | Pronoun | Name


@dataclass(frozen=True, slots=True)
class Adverbial:
    """An adverb or adverbial phrase of time, manner or opinion."""

    german: str
    kind: str
    english: str
    elaborate: str
    mid: bool
    """True where the plain English form stands before the verb."""


@dataclass(frozen=True, slots=True)
class Place:
    """A preposition and a noun phrase."""

    german: str
    case: Case
    english: str
    phrase: Phrase


@dataclass(frozen=True, slots=True)
class Modal:
    """A modal verb, with ``gern`` among them: both put another verb under themselves in English."""

    german: str
    present: str
    past: str
    """English auxiliaries, or empty where English has none."""
    english: str
    elaborate: str
    """Full-verb phrases; ``{v}`` is the infinitive after "to" or, written ``{ing}``, the gerund."""


@dataclass(frozen=True, slots=True)
class Predicate:
    """What follows the copula."""

    adjective: Adjective
    degree: Literal["", "sehr", "zu", "than"]
    standard: Phrase | None = None


@dataclass(frozen=True, slots=True)
class Clause:
    """A clause without its word order."""

    subject: Nominal
    verb: Verb
    tense: Tense = "present"
    aspect: Aspect = "simple"
    object: Nominal | None = None
    recipient: Nominal | None = None
    modal: Modal | None = None
    negated: bool = False
    passive: bool = False
    predicate: Predicate | None = None
    time: Adverbial | None = None
    manner: Adverbial | None = None
    place: Place | None = None
    opinion: Adverbial | None = None
    front: Literal["subject", "time", "place", "object", "opinion"] = "subject"


@dataclass(frozen=True, slots=True)
class Relative:
    """A relative clause: the role its head has in it."""

    role: Literal["subject", "object"]
    clause: Clause


@dataclass(frozen=True, slots=True)
class Link:
    """A conjunction with the tenses it asks for."""

    german: str
    kind: str
    """One of the kinds that ``draw.py`` knows: reason, concession, habit, condition, past, after, while."""
    style: Style | None
    english: str
    elaborate: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """A whole sentence."""

    kind: Literal["main", "linked", "that", "infinitive", "purpose", "joined", "question"]
    style: Style
    main: Clause
    second: Clause | None = None
    link: Link | None = None
    second_first: bool = False
    vocative: Name | None = None
    question: str = ""
    """Question word, empty for a yes-no question."""


def as_pronoun(item: Nominal) -> Pronoun:
    """The pronoun that would stand for a phrase or name."""
    if isinstance(item, Pronoun):
        return item
    if isinstance(item, Name):
        return Pronoun("3s", item.sex, item.sex)
    return Pronoun("3p" if item.number == "p" else "3s", item.noun.gender, item.noun.sex)
