"""English inflection: plurals, articles, pronouns and verbs."""

from __future__ import annotations

from raysq.tasks.demo_grammar.meaning import Nominal, Phrase, Pronoun

_PLURALS = {
    "man": "men",
    "woman": "women",
    "child": "children",
    "policeman": "policemen",
    "saleswoman": "saleswomen",
    "mouse": "mice",
    "sheep": "sheep",
    "shelf": "shelves",
    "thief": "thieves",
    "knife": "knives",
}
_IRREGULAR = """
be was been|read read read|pay paid paid|eat ate eaten|see saw seen|catch caught caught|buy bought bought
give gave given|lend lent lent|drink drank drunk|have had had|write wrote written|wear wore worn|go went gone
drive drove driven|take took taken|ride rode ridden|bring brought brought|do did done
sell sold sold|speak spoke spoken|think thought thought|make made made|find found found|sit sat sat
sleep slept slept|lie lay lain|put put put
lay laid laid|lose lost lost|forget forgot forgotten|know knew known|understand understood understood
send sent sent|meet met met|tell told told|say said said|come came come|dream dreamt dreamt|leave left left
throw threw thrown|cut cut cut|get got got|run ran run|sing sang sung|steal stole stolen|shut shut shut
show showed shown|begin began begun
"""
_FORMS = {
    row.split()[0]: row.split()[1:] for line in _IRREGULAR.strip().splitlines() for row in line.split("|")
}
_DOUBLED = frozenset({"put", "cut", "get", "sit", "run", "shut", "begin", "forget", "plan", "permit"})
_BE = {"1s": "am", "3s": "is", "pl": "are"}
_PRONOUNS = {
    "1s": "i me my",
    "2": "you you your",
    "1p": "we us our",
    "3p": "they them their",
    "m": "he him his",
    "f": "she her her",
    "n": "it it its",
}
_VOWELS = "aeiou"


def plural(noun: str) -> str:
    """The plural of a noun, whose last word may stand for the whole."""
    first, _, last = noun.rpartition(" ")
    if last in _PLURALS:
        word = _PLURALS[last]
    elif last.endswith(("s", "x", "ch", "sh")) or last in ("potato", "tomato"):
        word = last + "es"
    elif last.endswith("y") and last[-2] not in _VOWELS:
        word = last[:-1] + "ies"
    else:
        word = last + "s"
    return f"{first} {word}".strip()


def article(following: str) -> str:
    """``a`` or ``an``, by the sound of the following word."""
    return "an" if following[0] in _VOWELS and not following.startswith(("uni", "use")) else "a"


def pronoun(word: Pronoun, form: int) -> str:
    """Subject (0), object (1) or possessive (2) form."""
    addressed = word.polite or word.person == "2s"
    row = "2" if addressed else word.sex if word.person == "3s" else word.person
    return _PRONOUNS[row].split()[form]


def third(verb: str) -> str:
    """Third person singular present."""
    if verb in ("have", "do", "go"):
        return {"have": "has", "do": "does", "go": "goes"}[verb]
    if verb.endswith(("s", "sh", "ch", "x")):
        return verb + "es"
    return verb[:-1] + "ies" if verb.endswith("y") and verb[-2] not in _VOWELS else verb + "s"


def present(verb: str, agreement: str) -> str:
    """Present tense for agreement 1s, 3s or pl."""
    if verb == "be":
        return _BE[agreement]
    return third(verb) if agreement == "3s" else verb


def _regular(verb: str) -> str:
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2] not in _VOWELS:
        return verb[:-1] + "ied"
    return verb + verb[-1] * (verb in _DOUBLED) + "ed"


def past(verb: str, agreement: str) -> str:
    """Past tense for agreement 1s, 3s or pl."""
    if verb == "be" and agreement == "pl":
        return "were"
    return _FORMS[verb][0] if verb in _FORMS else _regular(verb)


def participle(verb: str) -> str:
    """Past participle."""
    return _FORMS[verb][1] if verb in _FORMS else _regular(verb)


def gerund(verb: str) -> str:
    """The -ing form."""
    if verb == "lie":
        return "lying"
    if verb.endswith("e") and verb != "be" and not verb.endswith("ee"):
        return verb[:-1] + "ing"
    return verb + verb[-1] * (verb in _DOUBLED) + "ing"


def comparative(adjective: str) -> str:
    """The comparative of an adjective."""
    irregular = {"good": "better", "ill": "more ill"}
    if adjective in irregular:
        return irregular[adjective]
    if adjective.endswith("y"):
        return adjective[:-1] + "ier"
    if len(adjective) > 6 or adjective in ("famous", "modern", "tired"):
        return f"more {adjective}"
    if adjective.endswith("e"):
        return adjective + "r"
    return adjective + adjective[-1] * (adjective in ("big", "fat", "sad", "hot", "red", "thin")) + "er"


def agreement(item: Nominal) -> str:
    """1s, 3s or pl."""
    if isinstance(item, Pronoun):
        if item.person == "1s":
            return "1s"
        return "3s" if item.person == "3s" else "pl"
    return "pl" if isinstance(item, Phrase) and item.number == "p" else "3s"
