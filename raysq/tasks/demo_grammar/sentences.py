"""Drawing a whole sentence: one clause, or two and what joins them."""

from __future__ import annotations

import random
from dataclasses import replace

from raysq.tasks.demo_grammar.draw import Drawer
from raysq.tasks.demo_grammar.meaning import (
    Adjective,
    Clause,
    Link,
    Nominal,
    Phrase,
    Predicate,
    Pronoun,
    Sentence,
    Style,
    Tense,
    Verb,
    as_pronoun,
)
from raysq.tasks.demo_grammar.nouns import adjectives_of
from raysq.tasks.demo_grammar.phrases import adverbials, links, matrix_verbs
from raysq.tasks.demo_grammar.verbs import COPULA

KINDS = {"main": 34, "linked": 25, "that": 9, "infinitive": 6, "purpose": 5, "joined": 11, "question": 10}
"""Weights of the kinds of sentence. More linked ones: longer and harder."""
STYLES: dict[Style, int] = {"colloquial": 2, "neutral": 5, "formal": 3}
_ALL_TIMES = ("past", "present", "now", "habit", "future", "perfect")
_DONE_SOMEHOW = frozenset(
    [
        "read",
        "eat",
        "open",
        "close",
        "speak",
        "talk",
        "go",
        "drive",
        "carry",
        "put",
        "work",
        "drink",
        "tell",
        "answer",
        "clean",
        "leave",
        "follow",
        "repair",
    ]
)
"""First words of the English verbs that take an adverb of manner."""
_COLOURS = ("rot", "blau", "schwarz", "weiß", "grün")
_PERSONS = frozenset({"person"})


def draw_sentence(draws: random.Random) -> Sentence:
    """A sentence's meaning."""
    style = draws.choices(list(STYLES), weights=list(STYLES.values()))[0]
    kind = draws.choices(list(KINDS), weights=list(KINDS.values()))[0]
    drawer = Drawer(draws, style)
    if kind == "linked":
        return _linked(drawer, style)
    if kind == "that":
        return _that(drawer, style)
    if kind in ("infinitive", "purpose"):
        return _with_infinitive(drawer, style, purpose=kind == "purpose")
    if kind == "joined":
        return _joined(drawer, style)
    if kind == "question":
        return _question(drawer, style)
    return _main(drawer, style)


def _clause(
    drawer: Drawer, times: tuple[str, ...] = _ALL_TIMES, subject: Nominal | None = None, rich: bool = True
) -> Clause:
    """A clause with a full verb; ``rich`` allows modal, negation, manner and opinion."""
    verb = drawer.verb(purpose=subject is not None)
    chosen = subject if subject is not None else drawer.subject(verb.subjects)
    clause = drawer.timed(drawer.content(verb, chosen), times)
    if not rich:
        return clause
    if drawer.chance(0.12) and _passive_fits(clause):
        return _passive(clause)
    clause = drawer.negated(drawer.modalised(clause))
    if not clause.negated and not verb.stative and drawer.chance(0.16) and _manner_fits(verb):
        clause = replace(clause, manner=drawer.zipf(adverbials("manner")))
    return clause


def _manner_fits(verb: Verb) -> bool:
    return verb.english.split()[0].split("/")[0].split("+")[0] in _DONE_SOMEHOW


def _passive_fits(clause: Clause) -> bool:
    verb, item = clause.verb, clause.object
    first = verb.english.split("/")[0].split()
    transitive = verb.case == "acc" and not (
        verb.preposition or verb.recipient or verb.reflexive or verb.stative
    )
    nouns = isinstance(item, Phrase) and isinstance(clause.subject, Phrase) and not item.possessor
    return transitive and nouns and len(first) == 2 and "+" not in first[0] and clause.aspect != "future"


def _passive(clause: Clause) -> Clause:
    """The passive: the old object is the subject, the agent is named or not."""
    assert clause.object is not None
    agent = clause.subject if isinstance(clause.subject, Phrase) and not clause.subject.relative else None
    aspect = "simple" if clause.aspect == "progressive" else clause.aspect
    tense: Tense = "preterite" if clause.tense == "perfect" and clause.aspect != "perfect" else clause.tense
    return replace(clause, subject=clause.object, object=agent, passive=True, aspect=aspect, tense=tense)


def _fronted(drawer: Drawer, clause: Clause) -> Clause:
    """The clause with another constituent than the subject in front, in a third to a half of the cases."""
    if clause.opinion and drawer.chance(0.6):
        return replace(clause, front="opinion")
    if clause.time and clause.time.kind not in ("perfect",) and drawer.chance(0.45):
        unfit = clause.time.german in ("nie", "immer", "gerade")
        return clause if unfit else replace(clause, front="time")
    item = clause.object
    definite = isinstance(item, Phrase) and item.determiner in ("der", "dies") and not item.relative
    if definite and not clause.passive and not clause.negated and drawer.chance(0.12):
        return replace(clause, front="object")
    if clause.place and clause.verb.goes in ("", "location") and not clause.negated and drawer.chance(0.12):
        return replace(clause, front="place")
    return clause


def _main(drawer: Drawer, style: Style) -> Sentence:
    if drawer.chance(0.1):
        return Sentence("main", style, _copular(drawer, drawer.subject(_described(drawer))))
    clause = _clause(drawer)
    if drawer.chance(0.3):
        clause = replace(clause, opinion=drawer.zipf(adverbials("opinion")))
    return Sentence("main", style, _fronted(drawer, clause))


def _described(drawer: Drawer) -> frozenset[str]:
    return drawer.zipf(
        (
            _PERSONS,
            frozenset({"thing"}),
            frozenset({"vehicle"}),
            frozenset({"garment"}),
            frozenset({"animal"}),
        )
    )


def _copular(drawer: Drawer, subject: Nominal) -> Clause:
    """The subject is said to be old, too old, very old, or older than another."""
    classes = subject.noun.classes if isinstance(subject, Phrase) else _PERSONS
    if isinstance(subject, Pronoun) and subject.sex == "n":
        classes = frozenset({"thing"})
    adjective = drawer.zipf(adjectives_of(classes))
    said = _predicate(drawer, adjective)
    if said.degree and isinstance(subject, Phrase) and drawer.chance(0.4):
        others = drawer.phrase(subject.noun.classes & adjective.classes, rich=False)
        said = Predicate(adjective, "than", others)
    tenses: tuple[Tense, ...] = ("present", "preterite")
    return Clause(subject, COPULA, drawer.zipf(tenses), predicate=said)


def _predicate(drawer: Drawer, adjective: Adjective) -> Predicate:
    """The bare adjective or "very" or "too"; colours have no degree."""
    return Predicate(adjective, "" if adjective.german in _COLOURS else drawer.zipf(("sehr", "", "zu")))


def _same_tense(drawer: Drawer, main: Clause) -> Tense:
    if main.tense == "present":
        return "present"
    return drawer.past()


def _linked(drawer: Drawer, style: Style) -> Sentence:
    """A main clause and a subordinate one, in either order."""
    kinds = ("reason", "condition", "past", "concession", "habit", "after", "while")
    kind = drawer.zipf(kinds)
    link = drawer.zipf([x for x in links() if x.kind == kind and x.style in (None, style)])
    times = {
        "reason": _ALL_TIMES[:5],
        "concession": _ALL_TIMES[:5],
        "condition": ("future",),
        "past": ("past",),
        "habit": ("habit",),
        "after": ("past",),
        "while": ("now",),
    }[kind]
    main = _clause(drawer, times)
    main = replace(main, manner=None) if kind == "habit" else main
    main = replace(main, time=None) if kind in ("habit", "while", "past", "after") else main
    second = _subordinate(drawer, main, link)
    about_object = isinstance(main.object, Phrase) and second.subject == as_pronoun(main.object)
    second_first = not about_object and drawer.chance(0.4)
    if not second_first:
        main = _fronted(drawer, main)
    return Sentence("linked", style, main, second, link, second_first)


def _coreferent(drawer: Drawer, main: Clause) -> tuple[Nominal, bool]:
    """The subject of a second clause: a pronoun for the first's subject or object, or another person."""
    if isinstance(main.object, Phrase) and drawer.chance(0.3) and "person" not in main.object.noun.classes:
        return as_pronoun(main.object), True
    if drawer.chance(0.6):
        return as_pronoun(main.subject), False
    return drawer.subject_plain(), False


def _subordinate(drawer: Drawer, main: Clause, link: Link) -> Clause:
    subject, is_object = _coreferent(drawer, main)
    if link.kind in ("reason", "concession") and (is_object or drawer.chance(0.35)):
        clause = _copular_of(drawer, main, subject, is_object)
        return replace(clause, tense="present" if main.tense == "present" else "preterite")
    if isinstance(subject, Pronoun) and subject.sex == "n" and subject.person == "3s":
        subject = drawer.subject_plain()
    if isinstance(main.subject, Phrase) and "person" not in main.subject.noun.classes:
        subject = drawer.subject_plain()
    if is_object:
        subject = drawer.subject_plain()
    clause = _clause(drawer, ("present",), subject=subject, rich=link.kind in ("reason", "concession"))
    if link.kind == "after":
        return replace(clause, tense="pluperfect", modal=None, negated=False, aspect="simple")
    if link.kind == "while":
        return replace(clause, aspect="progressive")
    if main.tense != "present":
        tense = "preterite" if clause.modal else _same_tense(drawer, main)
        return replace(
            clause,
            tense=tense,
            aspect="simple",
            modal=None if clause.modal and clause.modal.german == "gern" else clause.modal,
        )
    return clause


def _copular_of(drawer: Drawer, main: Clause, subject: Nominal, is_object: bool) -> Clause:
    """A copular clause whose adjective suits the thing the pronoun stands for."""
    stands_for = main.object if is_object else main.subject
    same = (
        isinstance(subject, Pronoun) and isinstance(stands_for, Phrase) and subject == as_pronoun(stands_for)
    )
    classes = stands_for.noun.classes if same and isinstance(stands_for, Phrase) else _PERSONS
    adjective = drawer.zipf(adjectives_of(classes) or adjectives_of(frozenset({"thing"})))
    return Clause(subject, COPULA, predicate=_predicate(drawer, adjective))


def _that(drawer: Drawer, style: Style) -> Sentence:
    """A matrix verb over a dass-clause."""
    matrix = _matrix_clause(drawer, "that")
    second = _clause(
        drawer, ("past", "present", "future", "habit") if matrix.tense == "present" else ("past",)
    )
    return Sentence("that", style, matrix, second)


def _matrix_clause(drawer: Drawer, takes: str) -> Clause:
    german, plain, elaborate = drawer.zipf(matrix_verbs(takes))
    prefix, _, base = german.rpartition("|")
    verb = replace(COPULA, prefix=prefix, base=base, auxiliary="haben", english=plain, elaborate=elaborate)
    tense = drawer.past() if drawer.chance(0.3 if takes == "that" else 0.5) else "present"
    return Clause(drawer.subject(_PERSONS), verb, tense)


def _with_infinitive(drawer: Drawer, style: Style, purpose: bool) -> Sentence:
    """A clause with a zu-infinitive, or with um zu."""
    if purpose:
        verb = drawer.zipf(drawer.going_verbs())
        subject = drawer.subject(_PERSONS)
        main = drawer.timed(drawer.content(verb, subject), ("past", "future", "now", "habit"))
    else:
        main = _matrix_clause(drawer, "to")
        subject = main.subject
    second = drawer.content(drawer.verb(purpose=True), as_pronoun(subject))
    main = _fronted(drawer, main) if purpose else main
    return Sentence("purpose" if purpose else "infinitive", style, main, second)


def _joined(drawer: Drawer, style: Style) -> Sentence:
    """Two main clauses; "deshalb" inverts the second."""
    link = drawer.zipf(
        [x for x in links() if x.kind in ("but", "and", "because", "result") and x.style in (None, style)]
    )
    main = _clause(drawer, ("past", "now", "present"), rich=False)
    subject, is_object = _coreferent(drawer, main)
    if link.kind == "because" or (is_object and link.kind == "but"):
        second = _copular_of(drawer, main, subject, is_object)
        second = replace(second, tense="present" if main.tense == "present" else "preterite")
    else:
        human = not is_object and not (isinstance(subject, Pronoun) and subject.sex == "n")
        second = _clause(drawer, ("present",), subject=subject if human else drawer.subject_plain())
        if main.tense != "present":
            second = replace(second, tense=_same_tense(drawer, main), aspect="simple", modal=None)
    return Sentence("joined", style, _fronted(drawer, main), second, link)


def _question(drawer: Drawer, style: Style) -> Sentence:
    """A question, to someone addressed by name or about a third person."""
    word = drawer.zipf(("", "warum", "wo", "wann", "was", "wer"))
    vocative = None
    subject: Nominal = drawer.subject_plain()
    if subject == Pronoun("1s"):
        subject = Pronoun("1p")
    if drawer.chance(0.55) and word != "wer":
        formal = style == "formal" or (style == "neutral" and drawer.chance(0.4))
        vocative = drawer.name(titled=formal)
        subject = Pronoun("3p", polite=True) if formal else Pronoun("2s")
    verb = drawer.question_verb(word)
    times = ("past", "future") if word == "wann" else ("past", "present", "habit", "future")
    clause = drawer.timed(drawer.content(verb, subject, pronouns=False), times)
    if word == "wann":
        clause = replace(clause, time=None)
    if word == "wo":
        clause = replace(clause, place=None)
    clause = drawer.modalised(clause)
    if word in ("", "warum"):
        clause = drawer.negated(clause)
    if word == "wer":
        clause = replace(clause, subject=Pronoun("3s"))
    if clause.modal and clause.modal.german == "gern" and word:
        clause = replace(clause, modal=None)
    return Sentence("question", style, clause, vocative=vocative, question=word)
