"""Saying a meaning in German: word order. Nothing is drawn here; a meaning has one German sentence."""

from __future__ import annotations

from dataclasses import dataclass

from raysq.tasks.demo_grammar import german_forms as forms
from raysq.tasks.demo_grammar.meaning import (
    Case,
    Clause,
    Name,
    Nominal,
    Person,
    Phrase,
    Place,
    Pronoun,
    Relative,
    Sentence,
)


@dataclass(frozen=True, slots=True)
class _Complex:
    """The verbal bracket: finite verb, and what closes the clause."""

    finite: str
    prefix: str
    """Separable prefix of the finite verb, left behind in a main clause."""
    tail: str
    """Participle or infinitive."""


def person_of(nominal: Nominal) -> Person:
    """The person and number a verb agrees with."""
    if isinstance(nominal, Pronoun):
        return nominal.person
    return "3p" if isinstance(nominal, Phrase) and nominal.number == "p" else "3s"


def nominal(item: Nominal, case: Case) -> str:
    """A noun phrase, pronoun or name in its case."""
    if isinstance(item, Pronoun):
        return forms.pronoun(item, case)
    if isinstance(item, Name):
        return item.german.replace("herr", "herrn") if case != "nom" else item.german
    word = forms.possessive(item.possessor) if item.possessor else item.determiner
    parts = [forms.determiner(word, item.gender, case)]
    if isinstance(item.owner, Name):
        parts = [item.owner.german + "s"]
        word = ""
    if item.adjective:
        parts.append(forms.adjective(item.adjective, word, item.gender, case))
    parts.append(forms.noun(item.noun, item.number == "p", case))
    if isinstance(item.owner, Phrase):
        parts.append(nominal(item.owner, "gen"))
    if item.relative:
        parts.append(_relative(item, item.relative))
    return " ".join(part for part in parts if part)


def _relative(head: Phrase, relative: Relative) -> str:
    clause = relative.clause
    if relative.role == "subject":
        opening = forms.relative_pronoun(head.gender, "nom")
        return f", {opening} {_verb_final(clause, without='subject')} ,"
    verb = clause.verb
    opening = forms.relative_pronoun(head.gender, verb.case or "acc")
    if verb.preposition:
        opening = f"{verb.preposition} {opening}"
    return f", {opening} {_verb_final(clause, without='object')} ,"


def place(item: Place) -> str:
    """A prepositional phrase of place, contracted where German contracts."""
    return forms.contract(item.german, nominal(item.phrase, item.case))


def _complex(clause: Clause) -> _Complex:
    verb, person = clause.verb, person_of(clause.subject)
    participle = forms.participle(verb)
    if clause.passive:
        if clause.tense in ("perfect", "pluperfect"):
            finite = forms.finite("sein", "present" if clause.tense == "perfect" else "preterite", person)
            return _Complex(finite, "", f"{participle} worden")
        return _Complex(forms.finite("werden", clause.tense, person), "", participle)
    if clause.modal and clause.modal.german != "gern":
        return _Complex(
            forms.finite(clause.modal.german, clause.tense, person), "", forms.infinitive(verb, False)
        )
    if clause.tense == "perfect":
        return _Complex(forms.finite(verb.auxiliary, "present", person), "", participle)
    if clause.tense == "pluperfect":
        return _Complex(forms.finite(verb.auxiliary, "preterite", person), "", participle)
    return _Complex(forms.finite(verb.base, clause.tense, person), verb.prefix, "")


def _object(clause: Clause) -> str:
    verb = clause.verb
    if clause.object is None:
        return ""
    text = nominal(clause.object, verb.case or "acc")
    return forms.contract(verb.preposition, text) if verb.preposition else text


def _slots(clause: Clause) -> list[tuple[str, str]]:
    """The clause's constituents but the verb, in the order of the middle field, empty ones left out."""
    verb = clause.verb
    if clause.passive:
        by = nominal(clause.object, "dat") if clause.object else ""
        agent = forms.contract("von", by) if by else ""
        objects = [("object", agent)]
        early: list[tuple[str, str]] = []
    elif isinstance(clause.object, Pronoun) and not verb.preposition:
        early, objects = [("object", _object(clause))], []
    else:
        early, objects = [], [("object", _object(clause))]
    recipient = nominal(clause.recipient, "dat") if clause.recipient else ""
    light = isinstance(clause.recipient, Pronoun)
    late = bool(verb.preposition) or clause.passive
    denied = isinstance(clause.object, Phrase) and clause.object.determiner == "kein"
    negation = "nicht" if clause.negated and not denied else ""
    reflexive = forms.reflexive(person_of(clause.subject), verb.reflexive) if verb.reflexive else ""
    slots = [("subject", nominal(clause.subject, "nom")), *early]
    slots += [("reflexive", reflexive), ("recipient", recipient if light else "")]
    slots += [("opinion", clause.opinion.german if clause.opinion else "")]
    slots += [("time", clause.time.german if clause.time else "")]
    slots += [("gern", "gern" if clause.modal and clause.modal.german == "gern" else "")]
    slots += [("recipient", "" if light else recipient)]
    manner = ("manner", clause.manner.german if clause.manner else "")
    indefinite = isinstance(clause.object, Phrase) and clause.object.determiner not in ("der", "dies", "")
    slots += [manner] if indefinite else []
    slots += [] if late else objects
    slots += [("negation", negation)] + ([] if indefinite else [manner])
    slots += objects if late else []
    slots += [("place", place(clause.place) if clause.place else ""), ("predicate", _predicate(clause))]
    return [(name, text) for name, text in slots if text]


def _predicate(clause: Clause) -> str:
    said = clause.predicate
    if said is None:
        return ""
    if said.degree == "than" and said.standard:
        return f"{said.adjective.comparative} als {nominal(said.standard, 'nom')}"
    return f"{said.degree} {said.adjective.german}".strip()


def _verb_final(clause: Clause, without: str = "") -> str:
    verb = _complex(clause)
    middle = [text for name, text in _slots(clause) if name != without]
    return " ".join(part for part in (*middle, verb.tail, verb.prefix + verb.finite) if part)


def _verb_first(clause: Clause, without: str = "") -> str:
    verb = _complex(clause)
    middle = [text for name, text in _slots(clause) if name != without]
    return " ".join(part for part in (verb.finite, *middle, verb.tail, verb.prefix) if part)


def _verb_second(clause: Clause) -> str:
    slots = dict(_slots(clause))
    front = clause.front if clause.front in slots else "subject"
    return f"{slots[front]} {_verb_first(clause, without=front)}"


def _infinitive(clause: Clause) -> str:
    """The zu-infinitive: no subject, the verb last."""
    middle = [text for name, text in _slots(clause) if name != "subject"]
    return " ".join([*middle, forms.infinitive(clause.verb, True)])


def _two_clauses(sentence: Sentence, second: Clause) -> str:
    main = _verb_second(sentence.main)
    if sentence.kind == "that":
        return f"{main} , dass {_verb_final(second)} ."
    if sentence.kind == "infinitive":
        return f"{main} , {_infinitive(second)} ."
    if sentence.kind == "purpose":
        return f"{main} , um {_infinitive(second)} ."
    assert sentence.link is not None
    word = sentence.link.german
    if sentence.kind == "joined":
        comma = "" if word == "und" else ","
        following = _verb_first(second) if word == "deshalb" else _verb_second(second)
        return f"{main} {comma} {word} {following} ."
    subordinate = f"{word} {_verb_final(second)}"
    if sentence.second_first:
        return f"{subordinate} , {_verb_first(sentence.main)} ."
    return f"{main} , {subordinate} ."


def german(sentence: Sentence) -> str:
    """The German sentence: lower-cased tokens parted by spaces."""
    vocative = f"{sentence.vocative.german} , " if sentence.vocative else ""
    if sentence.kind == "question":
        gap = "subject" if sentence.question == "wer" else "object" if sentence.question == "was" else ""
        text = f"{sentence.question} {_verb_first(sentence.main, without=gap)} ?"
    elif sentence.second is None:
        text = f"{_verb_second(sentence.main)} ."
    else:
        text = _two_clauses(sentence, sentence.second)
    words = f"{vocative}{text}".split()
    kept = [w for i, w in enumerate(words) if not (w == "," and words[i + 1] in (",", ".", "?"))]
    return " ".join(kept)
