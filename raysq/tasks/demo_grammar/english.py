"""Saying a meaning in English: word order, auxiliaries and the choice of words.

A verb is a template such as ``give {r} {o}``: its first word is inflected, "turn+on" is a phrasal verb.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from raysq.tasks.demo_grammar import english_forms as forms
from raysq.tasks.demo_grammar.meaning import (
    Adverbial,
    Clause,
    Name,
    Nominal,
    Phrase,
    Place,
    Pronoun,
    Sentence,
    as_pronoun,
)
from raysq.tasks.demo_grammar.wording import Wording

_CONTRACTED = {"can": "ca", "will": "wo"}
NO_SHARE = 0.25
"""Probability of "has no" rather than "does not have any"."""
_UNCONTRACTED = frozenset({"am", "may"})


@dataclass(frozen=True, slots=True)
class _Verbal:
    """A finite verb phrase: the auxiliary (empty if none), ``not``, and the rest with the objects in it."""

    auxiliary: str
    negation: str
    rest: str


def nominal(item: Nominal, words: Wording, subject: bool = False, negated: bool = False) -> str:
    """A noun phrase, pronoun or name; under negation "kein" is "a" or "any"."""
    if isinstance(item, Pronoun):
        return forms.pronoun(item, 0 if subject else 1)
    if isinstance(item, Name):
        return item.english
    head = words.one(item.noun.english)
    if item.number == "p":
        head = forms.plural(head)
    if item.adjective:
        head = f"{words.one(item.adjective.english)} {head}"
    relative = _relative(item, words) if item.relative else ""
    if isinstance(item.owner, Name):
        text = f"{item.owner.english} 's {head}"
    elif item.owner:
        owner = nominal(item.owner, words)
        saxon = words.chance(0.9 if item.owner.noun.classes & {"person", "pet"} else 0.05)
        plural_s = item.owner.number == "p" and owner.endswith("s")
        text = (
            f"{owner} {chr(39) if plural_s else chr(39) + 's'} {head}" if saxon else f"the {head} of {owner}"
        )
    else:
        text = _determined(item, head, words, negated)
    return f"{text} {relative}".strip()


def _determined(item: Phrase, head: str, words: Wording, negated: bool) -> str:
    plural = item.number == "p"
    if item.possessor:
        return f"{forms.pronoun(item.possessor, 2)} {head}"
    if item.determiner == "kein" and negated:
        return f"any {head}" if plural or item.noun.plural == "-" else f"{forms.article(head)} {head}"
    simple = {
        "der": "the",
        "dies": "these" if plural else "this",
        "zwei": "two",
        "drei": "three",
        "kein": "no",
    }
    if item.determiner in simple:
        return f"{simple[item.determiner]} {head}"
    if item.determiner == "ein":
        return f"{forms.article(head)} {head}"
    if item.determiner == "jed":
        return words.say(f"every {head}/each {head}", f"each and every {head}/every single {head}")
    if item.determiner == "all":
        return words.say(
            f"all the {head}", f"each and every one of the {head}/every single one of the {head}"
        )
    if item.determiner == "viel":
        many = "a large number of {h}/a great number of {h}/a very large number of {h}/a great many {h}"
        return words.say(f"many {head}", many.replace("{h}", head))
    if item.determiner == "einig":
        return words.say(
            f"some {head}", f"a small number of {head}/a certain number of {head}/a few of the {head}"
        )
    return head


def _relative(head: Phrase, words: Wording) -> str:
    relative = head.relative
    assert relative is not None
    clause = relative.clause
    human = "person" in head.noun.classes
    if relative.role == "subject":
        opening = words.one("who/that" if human else "that/which")
        return f"{opening} {clause_text(replace(clause, subject=as_pronoun(head)), words, subject='')}"
    pronoun = words.one("whom/that" if human else "that/which")
    opening = pronoun if words.chance(0.8 if words.elaborate else 0.4) else ""
    return f"{opening} {clause_text(clause, words, gap=True)}".strip()


def place(item: Place, words: Wording) -> str:
    """A prepositional phrase of place."""
    return f"{words.one(item.english)} {nominal(item.phrase, words)}"


def _template(clause: Clause, words: Wording, gap: bool) -> str:
    """The verb's wording with its objects filled in and its first word still bare."""
    verb = clause.verb
    if clause.predicate:
        return f"be {_predicate(clause, words)}"
    chosen = words.one(verb.english) if gap or clause.passive else words.say(verb.english, verb.elaborate)
    if isinstance(clause.object, Pronoun) and "{r} {o}" in chosen:
        chosen = next(t for t in verb.english.split("/") if "{o} to {r}" in t or "{o} back to {r}" in t)
    item = (
        ""
        if gap or clause.passive or clause.object is None
        else nominal(clause.object, words, negated=clause.negated)
    )
    if "+" in chosen:
        base, particle = chosen.split("+")
        split = isinstance(clause.object, Pronoun) or (not gap and words.chance(0.12))
        return f"{base} {item} {particle}" if split else f"{base} {particle} {item}"
    recipient = nominal(clause.recipient, words) if clause.recipient else ""
    mirror = as_pronoun(clause.subject)
    own, oneself = forms.pronoun(mirror, 2), forms.pronoun(mirror, 1)
    filled = chosen.format(o=item, r=recipient, own=own, refl=oneself, s="{s}")
    return filled if not clause.passive else f"be {_passive(filled)}"


def _passive(template: str) -> str:
    head, _, rest = template.partition(" ")
    return f"{forms.participle(head)} {rest}"


def _predicate(clause: Clause, words: Wording) -> str:
    said = clause.predicate
    assert said is not None
    adjective = words.one(said.adjective.english)
    if said.degree == "than" and said.standard:
        return f"{forms.comparative(adjective)} than {nominal(said.standard, words)}"
    if said.degree == "sehr":
        return f"{words.one('very/really')} {adjective}"
    return f"{'too ' if said.degree == 'zu' else ''}{adjective}"


def _under_modal(clause: Clause, template: str, words: Wording) -> tuple[str, str]:
    """The modal auxiliary (or none) and the template under it."""
    modal = clause.modal
    assert modal is not None
    past = clause.tense != "present"
    auxiliary = modal.past if past else modal.present
    if clause.negated and modal.german == "müssen":
        auxiliary = ""
    if clause.negated and modal.german == "dürfen":
        auxiliary = "" if past else "must"
    head, _, rest = template.partition(" ")
    verbs = {"v": template, "ing": f"{forms.gerund(head)} {rest}".strip()}
    if words.wants(modal.elaborate):
        return "", words.elaborated(modal.elaborate).format(**verbs)
    return (words.one(auxiliary), template) if auxiliary else ("", words.one(modal.english).format(**verbs))


def _chain(clause: Clause, template: str, modal: str, agree: str, words: Wording) -> tuple[str, str]:
    """Auxiliary and remainder of an affirmative verb phrase; the auxiliary may be empty."""
    head, _, rest = template.partition(" ")
    past = clause.tense != "present"
    if modal:
        return modal, template
    if clause.aspect == "future":
        if words.chance(0.12):
            return forms.present("be", agree), f"going to {template}"
        return "will", template
    if clause.aspect == "perfect" or clause.tense == "pluperfect":
        have = "had" if clause.tense == "pluperfect" else forms.present("have", agree)
        return have, f"{forms.participle(head)} {rest}"
    be = forms.past("be", agree) if past else forms.present("be", agree)
    if head == "be":
        return be, rest
    if clause.aspect == "progressive" and not clause.verb.stative and clause.modal is None:
        return be, f"{forms.gerund(head)} {rest}"
    return "", f"{forms.past(head, agree) if past else forms.present(head, agree)} {rest}"


def _verbal(clause: Clause, words: Wording, gap: bool, question: bool) -> _Verbal:
    swapped = "{s}" in clause.verb.english
    subject = clause.object if swapped and clause.object else clause.subject
    agree = forms.agreement(subject)
    template = _template(clause, words, gap)
    if swapped:
        template = template.replace("{s}", nominal(clause.subject, words))
    modal = ""
    if clause.modal:
        modal, template = _under_modal(clause, template, words)
    auxiliary, rest = _chain(clause, template, modal, agree, words)
    negated = clause.negated
    if not auxiliary and (negated or question):
        do = "did" if clause.tense != "present" else forms.present("do", agree)
        auxiliary, rest = do, template
    return _Verbal(auxiliary, _negation(auxiliary, words) if negated else "", rest)


def _negation(auxiliary: str, words: Wording) -> str:
    contracted = auxiliary not in _UNCONTRACTED and words.chance(0.05 if words.elaborate else 0.85)
    return "n't" if contracted else "not"


def _negated_auxiliary(verbal: _Verbal) -> str:
    if verbal.negation != "n't":
        return f"{verbal.auxiliary} {verbal.negation}".strip()
    return f"{_CONTRACTED.get(verbal.auxiliary, verbal.auxiliary)} n't"


def _adverbial(item: Adverbial | None, clause: Clause, words: Wording) -> tuple[str, str]:
    """An adverbial as (before the verb, elsewhere)."""
    if item is None:
        return "", ""
    if words.wants(item.elaborate):
        own = forms.pronoun(as_pronoun(clause.subject), 2)
        return "", words.elaborated(item.elaborate).format(own=own)
    said = words.one(item.english)
    return (said, "") if item.mid else ("", said)


def _settled(clause: Clause, words: Wording) -> Clause:
    """The clause with "kein" decided: "does not ... a" or "no"."""
    denied = isinstance(clause.object, Phrase) and clause.object.determiner == "kein"
    return replace(clause, negated=False) if denied and words.chance(NO_SHARE) else clause


def clause_text(
    clause: Clause,
    words: Wording,
    subject: str | None = None,
    gap: bool = False,
    initial: bool = False,
) -> str:
    """A declarative clause.

    Args:
        clause: what to say.
        words: draws the wording.
        subject: the subject's text where it is not the clause's own: empty in a relative clause.
        gap: True where the object stands elsewhere, before a relative clause.
        initial: True where an adverbial of time may come first.
    """
    clause = _settled(clause, words)
    swapped = "{s}" in clause.verb.english and clause.object is not None
    doer = clause.object if swapped and clause.object else clause.subject
    verbal = _verbal(clause, words, gap, question=False)
    mid, time = _adverbial(clause.time, clause, words)
    _, manner = _adverbial(clause.manner, clause, words)
    lead, comment = "", ""
    if clause.opinion:
        comment = words.say(clause.opinion.english, clause.opinion.elaborate)
    if time and initial and not comment and words.chance(0.85 if clause.front == "time" else 0.05):
        lead, time = f"{time} ,", ""
    by = f"by {nominal(clause.object, words)}" if clause.passive and clause.object else ""
    where = place(clause.place, words) if clause.place else ""
    places = (where, by) if clause.verb.goes else (by, where)
    who = nominal(doer, words, subject=True) if subject is None else subject
    verb = [_negated_auxiliary(verbal), mid, verbal.rest]
    return " ".join(part for part in (comment, lead, who, *verb, manner, *places, time) if part)


def question_text(clause: Clause, words: Wording, asked: str) -> str:
    """A question: yes-no where ``asked`` is empty, else after the German question word."""
    openings = {
        "": "",
        "wo": "where",
        "wann": "when",
        "was": "what",
        "warum": words.say("why", "for what reason/for what possible reason"),
    }
    clause = _settled(clause, words)
    mid, time = _adverbial(clause.time, clause, words)
    where = place(clause.place, words) if clause.place else ""
    if asked == "wer":
        told = replace(clause, subject=Pronoun("3s"))
        verbal = _verbal(told, words, False, question=False)
        parts = ["who", _negated_auxiliary(verbal), mid, verbal.rest]
    else:
        verbal = _verbal(clause, words, asked == "was", question=True)
        who = nominal(clause.subject, words, subject=True)
        if verbal.negation == "n't":
            parts = [openings[asked], _negated_auxiliary(verbal), who, mid, verbal.rest]
        else:
            parts = [openings[asked], verbal.auxiliary, who, verbal.negation, mid, verbal.rest]
    return " ".join(part for part in (*parts, where, time) if part)


def _infinitive(clause: Clause, words: Wording) -> str:
    _, time = _adverbial(clause.time, clause, words)
    where = place(clause.place, words) if clause.place else ""
    return " ".join(part for part in (f"to {_template(clause, words, False)}", where, time) if part)


def _matrix(clause: Clause, words: Wording) -> str:
    return clause_text(clause, words, initial=False)


def _two_clauses(sentence: Sentence, second: Clause, words: Wording) -> str:
    if sentence.kind == "that":
        link = "that" if words.elaborate or words.chance(0.5) else ""
        return f"{_matrix(sentence.main, words)} {link} {clause_text(second, words)}"
    if sentence.kind == "infinitive":
        return f"{_matrix(sentence.main, words)} {_infinitive(second, words)}"
    if sentence.kind == "purpose":
        lead = words.elaborated("in order/so as") if words.wants("in order") else ""
        return f"{clause_text(sentence.main, words)} {lead} {_infinitive(second, words)}"
    assert sentence.link is not None
    link = words.say(sentence.link.english, sentence.link.elaborate)
    if sentence.kind == "joined":
        comma = "" if link == "and" else ","
        return (
            f"{clause_text(sentence.main, words, initial=True)} {comma} {link} {clause_text(second, words)}"
        )
    subordinate = f"{link} {clause_text(second, words)}"
    first = words.chance(0.9 if sentence.second_first else 0.05)
    if first:
        return f"{subordinate} , {clause_text(sentence.main, words)}"
    comma = "," if words.chance(0.05) else ""
    return f"{clause_text(sentence.main, words, initial=True)} {comma} {subordinate}"


def english(sentence: Sentence, words: Wording) -> str:
    """One English wording of the sentence: lower-cased tokens parted by spaces."""
    vocative = f"{sentence.vocative.english} , " if sentence.vocative else ""
    if sentence.kind == "question":
        text = f"{question_text(sentence.main, words, sentence.question)} ?"
    elif sentence.second is None:
        text = f"{clause_text(sentence.main, words, initial=True)} ."
    else:
        text = f"{_two_clauses(sentence, sentence.second, words)} ."
    return " ".join(f"{vocative}{text}".split())
