"""Drawing a meaning: which words, which tense, which kind of sentence."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import accumulate
from typing import TypeVar

from raysq.tasks.demo_grammar.meaning import (
    Adverbial,
    Aspect,
    Clause,
    Name,
    Nominal,
    Noun,
    Phrase,
    Place,
    Pronoun,
    Relative,
    Style,
    Tense,
    Verb,
    as_pronoun,
)
from raysq.tasks.demo_grammar.nouns import adjectives_of, names, nouns_of
from raysq.tasks.demo_grammar.phrases import adverbials
from raysq.tasks.demo_grammar.verbs import modals, verbs

ZIPF_EXPONENT = 1.4
"""Word number r of a list is drawn with probability proportional to (r + ZIPF_SHIFT)^-ZIPF_EXPONENT."""
ZIPF_SHIFT = 3.0

T = TypeVar("T")
_PERSONS = frozenset({"person"})
_PLACES = frozenset(
    {"room", "building", "sight", "surface", "castle", "topic", "event", "exam", "drive", "ride"}
)
_LASTING = frozenset({"warten", "suchen", "tragen"})
_UNINTENDED = frozenset({"verlieren", "vergessen", "bekommen", "kriegen", "erhalten", "freuen", "gefallen"})
_PUT_PREPOSITIONS = (
    ("auf", "on/onto"),
    ("neben", "next to/beside"),
    ("unter", "under"),
    ("hinter", "behind"),
)


@cache
def _zipf_weights(count: int) -> list[float]:
    return list(accumulate((rank + ZIPF_SHIFT) ** -ZIPF_EXPONENT for rank in range(count)))


class Drawer:
    """Draws meanings, one sentence at a time, in one style."""

    def __init__(self, draws: random.Random, style: Style) -> None:
        self._draws = draws
        self._style = style
        self._used: set[str] = set()

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self._draws.random() < probability

    def zipf(self, options: Sequence[T]) -> T:
        """An option, the earlier the likelier."""
        return self._draws.choices(options, cum_weights=_zipf_weights(len(options)))[0]

    def weighted(self, weights: dict[T, int]) -> T:
        """A key, by its weight."""
        return self._draws.choices(list(weights), weights=list(weights.values()))[0]

    # Noun phrases

    def name(self, titled: bool) -> Name:
        """A name not yet in this sentence."""
        name = self.zipf([name for name in names(titled) if name.german not in self._used])
        self._used.add(name.german)
        return name

    def noun(self, classes: frozenset[str]) -> Noun:
        """A noun of one of the classes, not yet in this sentence where that can be had."""
        options = nouns_of(classes)
        fresh = [noun for noun in options if noun.german not in self._used]
        noun = self.zipf(fresh or options)
        self._used.add(noun.german)
        return noun

    def phrase(self, classes: frozenset[str], owner: Nominal | None = None, rich: bool = True) -> Phrase:
        """A noun phrase; ``owner`` is who a possessive may refer to, ``rich`` allows what lengthens it."""
        noun = self.noun(classes)
        mass = noun.plural == "-"
        number: str = "p" if not mass and "instrument" not in noun.classes and self.chance(0.2) else "s"
        person = "person" in noun.classes
        if number == "p":
            weights = {"der": 9, "viel": 4, "einig": 2, "all": 3, "zwei": 2, "drei": 1, "dies": 1, "poss": 2}
        else:
            weights = {"der": 12, "ein": 0 if mass else 6, "": 0, "dies": 1, "poss": 3}
            weights["jed"] = 0 if mass else 1
            weights[""] = 6 if noun.classes & {"food", "drink"} and mass else 0
        if owner is None:
            weights["poss"] = 0
        word = self.weighted(weights)
        adjective = None
        if rich and word not in ("all", "jed") and self.chance(0.27 if not person else 0.13):
            options = adjectives_of(noun.classes)
            adjective = self.zipf(options) if options else None
        possessor = as_pronoun(owner) if word == "poss" and owner else None
        base = Phrase(noun, "p" if number == "p" else "s", word, possessor, adjective)
        return self._owned(base) if rich and word == "der" and adjective is None else base

    def _owned(self, phrase: Phrase) -> Phrase:
        """Perhaps with a genitive: "die tür des hauses", "annas hund"."""
        classes = phrase.noun.classes
        if classes & {"opening", "lost", "pet", "drive", "garment"} and self.chance(0.13):
            if self.chance(0.4):
                return replace(phrase, owner=self.name(titled=False))
            inanimate = frozenset({"building", "castle"})
            owners = inanimate if classes & {"opening"} and self.chance(0.6) else _PERSONS
            return replace(phrase, owner=Phrase(self.noun(owners), "s", "der"))
        return phrase

    def subject(self, classes: frozenset[str], pronouns: bool = True) -> Nominal:
        """A subject: mostly a noun phrase, of persons also a name or pronoun."""
        if "person" not in classes or self.chance(0.66):
            return self._with_relative(self.phrase(classes))
        if not pronouns or self.chance(0.35):
            return self.name(titled=self._style == "formal" and self.chance(0.6))
        return self.zipf(
            (
                Pronoun("1s"),
                Pronoun("3s", "m", "m"),
                Pronoun("3s", "f", "f"),
                Pronoun("1p"),
                Pronoun("3p"),
            )
        )

    def _with_relative(self, phrase: Phrase) -> Phrase:
        if phrase.adjective or phrase.owner or phrase.determiner in ("jed", "", "poss") or self.chance(0.9):
            return phrase
        role = "subject" if "person" in phrase.noun.classes or self.chance(0.3) else "object"
        options = [
            verb
            for verb in verbs()
            if not (verb.recipient or verb.reflexive or "{s}" in verb.english or verb.goes == "put")
            and self.fits(verb)
            and verb.base not in self._used
            and phrase.noun.classes & (verb.subjects if role == "subject" else verb.objects)
            and (role == "subject" or (verb.case and not verb.goes))
        ]
        if not options:
            return phrase
        verb = self.zipf(options)
        tense = self.past() if self.chance(0.4) else "present"
        who: Nominal = phrase if role == "subject" else self.subject_plain()
        clause = Clause(
            subject=replace(phrase, relative=None) if role == "subject" else who, verb=verb, tense=tense
        )
        if role == "subject" and verb.case:
            clause = replace(clause, object=self.phrase(verb.objects, rich=False))
        elif role == "object":
            clause = replace(clause, object=phrase)
        if verb.goes:
            clause = replace(clause, place=self.place(verb))
        return replace(phrase, relative=Relative("subject" if role == "subject" else "object", clause))

    def subject_plain(self) -> Nominal:
        """A short personal subject."""
        if self.chance(0.4):
            return self.zipf((Pronoun("1s"), Pronoun("3s"), Pronoun("1p"), Pronoun("3s", "f", "f")))
        return replace(self.phrase(_PERSONS, rich=False), adjective=None)

    # Clauses

    def fits(self, verb: Verb) -> bool:
        """Whether the verb belongs to the sentence's style."""
        return verb.style in (None, self._style)

    def past(self) -> Tense:
        """Perfect or preterite: the more formal, the more preterite."""
        share = {"colloquial": 0.9, "neutral": 0.5, "formal": 0.1}[self._style]
        return "perfect" if self.chance(share) else "preterite"

    def verb(self, purpose: bool = False) -> Verb:
        """A verb of the sentence's style; for a purpose one that people do."""
        options = [v for v in verbs() if self.fits(v) and not (purpose and not self._intended(v))]
        verb = self.zipf([v for v in options if v.base not in self._used])
        self._used.add(verb.base)
        return verb

    def _intended(self, verb: Verb) -> bool:
        return not verb.stative and "person" in verb.subjects and verb.base not in _UNINTENDED

    def going_verbs(self) -> list[Verb]:
        """Verbs of going somewhere."""
        return [verb for verb in verbs() if verb.goes == "destination" and "person" in verb.subjects]

    def question_verb(self, word: str) -> Verb:
        """A verb that can be asked about with a question word."""
        options = [v for v in verbs() if self.fits(v) and "person" in v.subjects and "{s}" not in v.english]
        if word == "was":
            options = [
                v for v in options if v.case == "acc" and not v.preposition and not v.objects & _PERSONS
            ]
        elif word == "wo":
            options = [v for v in options if v.goes in ("", "location") and not v.stative]
        return self.zipf(options)

    def place(self, verb: Verb) -> Place:
        """The place a verb asks for."""
        if verb.goes == "put":
            german, english = self.zipf(_PUT_PREPOSITIONS)
            return Place(german, "acc", english, Phrase(self.noun(frozenset({"surface"})), "s", "der"))
        options = [
            noun
            for noun in nouns_of(verb.objects)
            if (noun.location if verb.goes == "location" else noun.destination)
            and noun.german not in self._used
        ]
        noun = self.zipf(options or nouns_of(verb.objects))
        self._used.add(noun.german)
        return self._place_at(noun, verb.goes == "destination")

    def _place_at(self, noun: Noun, going: bool) -> Place:
        prepositions = noun.destination if going else noun.location
        assert prepositions is not None
        german, english = prepositions
        case = "acc" if going and german in ("in", "an", "auf", "vor") else "dat"
        adjective = None
        if self.chance(0.15) and noun.plural != "-" and adjectives_of(noun.classes):
            adjective = self.zipf(adjectives_of(noun.classes))
        word = "ein" if adjective and self.chance(0.4) else "der"
        return Place(
            german, "acc" if case == "acc" else "dat", english, Phrase(noun, "s", word, None, adjective)
        )

    def content(self, verb: Verb, subject: Nominal, pronouns: bool = True) -> Clause:
        """The verb with its subject, objects and place."""
        clause = Clause(subject=subject, verb=verb)
        if verb.case:
            item: Nominal = self.phrase(verb.objects, owner=subject)
            if verb.objects & _PERSONS and isinstance(item, Phrase) and "person" in item.noun.classes:
                item = self._person_object(item, subject, pronouns)
            elif isinstance(item, Phrase) and not verb.recipient:
                item = self._with_relative(item)
            clause = replace(clause, object=item)
        if verb.recipient:
            clause = replace(clause, recipient=self._recipient(subject))
        if verb.goes:
            clause = replace(clause, place=self.place(verb))
        elif not verb.stative and not verb.preposition and not verb.objects & _PLACES and self.chance(0.1):
            noun = self.noun(frozenset({"work", "outside", "room"}))
            clause = replace(clause, place=self._place_at(noun, going=False))
        return clause

    def _person_object(self, item: Phrase, subject: Nominal, pronouns: bool) -> Nominal:
        if pronouns and self.chance(0.15):
            options = [Pronoun("1s"), Pronoun("3s"), Pronoun("3s", "f", "f"), Pronoun("1p")]
            mine = subject.person if isinstance(subject, Pronoun) else "3s"
            return self.zipf([p for p in options if p.person[0] != mine[0]])
        return self.name(titled=False) if self.chance(0.1) else item

    def _recipient(self, subject: Nominal) -> Nominal:
        item = self.phrase(_PERSONS, owner=subject, rich=False)
        return self._person_object(item, subject, True)

    def timed(self, clause: Clause, allowed: Sequence[str]) -> Clause:
        """Tense, aspect and, mostly, an adverbial of time, in keeping with one another."""
        kinds = [k for k in ("past", "present", "now", "habit", "future", "perfect") if k in allowed]
        if clause.verb.stative:
            kinds = [k for k in kinds if k in ("past", "present")] or ["present"]
        kind = self.zipf(kinds)
        time: Adverbial | None = None
        tense: Tense = "present"
        aspect: Aspect = "simple"
        if kind in ("past", "perfect"):
            tense = "perfect" if kind == "perfect" else self.past()
        if kind == "perfect":
            aspect = "perfect"
        elif kind == "now":
            aspect = "progressive"
        elif kind == "future":
            aspect = "future"
        if kind in ("past", "future") and self.chance(0.25):
            time = self.zipf(adverbials("day"))
        elif kind in ("future", "now", "habit", "perfect") or (kind == "past" and self.chance(0.6)):
            time = self.zipf(adverbials(kind))
        elif kind == "present" and (clause.verb.goes == "location" or clause.verb.base in _LASTING):
            aspect = "progressive"
        return replace(clause, tense=tense, aspect=aspect, time=time)

    def modalised(self, clause: Clause) -> Clause:
        """Perhaps with a modal verb."""
        movable = "person" in clause.verb.subjects and "{s}" not in clause.verb.english
        if not movable or clause.aspect == "perfect" or not self.chance(0.24):
            return clause
        if isinstance(clause.subject, Phrase) and "person" not in clause.subject.noun.classes:
            return clause
        modal = self._draws.choice(modals())
        if clause.aspect == "progressive" or clause.verb.stative:
            return clause
        past = clause.tense != "present"
        tense: Tense = "preterite" if past else "present"
        if modal.german == "gern" and past:
            return clause
        if modal.german == "gern":
            time = (
                clause.time if clause.time and clause.time.kind == "habit" and not clause.time.mid else None
            )
            return replace(clause, modal=modal, tense="present", aspect="simple", time=time)
        return replace(clause, modal=modal, tense=tense, aspect="simple")

    def negated(self, clause: Clause) -> Clause:
        """Perhaps negated, with kein for an indefinite object and nicht otherwise."""
        habit = clause.time is not None and clause.time.kind in ("habit", "perfect")
        gern = clause.modal is not None and clause.modal.german == "gern"
        if habit or gern or clause.passive or clause.verb.goes == "put" or not self.chance(0.14):
            return clause
        item = clause.object
        if isinstance(item, Phrase) and item.determiner in ("ein", "") and not item.relative:
            if clause.verb.preposition:
                return clause
            return replace(clause, object=replace(item, determiner="kein"), negated=True)
        plain = isinstance(item, Phrase) and item.determiner in (
            "viel",
            "einig",
            "all",
            "jed",
            "zwei",
            "drei",
        )
        subject = clause.subject
        quantified = isinstance(subject, Phrase) and subject.determiner in ("viel", "einig", "all", "jed")
        return clause if plain or quantified else replace(clause, negated=True)
