"""German inflection: articles, adjectives, nouns, pronouns and verbs."""

from __future__ import annotations

from itertools import pairwise

from raysq.tasks.demo_grammar.meaning import Adjective, Case, Gender, Noun, Person, Pronoun, Tense, Verb
from raysq.tasks.demo_grammar.verbs import strong_forms

_CASES = ("nom", "acc", "dat", "gen")
_DER = {"m": "der den dem des", "f": "die die der der", "n": "das das dem des", "p": "die die den der"}
_STRONG = {"m": "er en em es", "f": "e e er er", "n": "es es em es", "p": "e e en er"}
_EIN = {"m": "- en em es", "f": "e e er er", "n": "- - em es", "p": "e e en er"}
_EIN_WORDS = ("ein", "kein", "mein", "dein", "sein", "ihr", "unser")
_BARE_WORDS = ("", "zwei", "drei")
_CONTRACTIONS = {
    ("in", "dem"): "im",
    ("in", "das"): "ins",
    ("an", "dem"): "am",
    ("an", "das"): "ans",
    ("zu", "dem"): "zum",
    ("zu", "der"): "zur",
    ("von", "dem"): "vom",
    ("bei", "dem"): "beim",
}
_PRONOUNS = {
    ("1s", "p"): "ich mich mir",
    ("2s", "p"): "du dich dir",
    ("1p", "p"): "wir uns uns",
    ("3s", "m"): "er ihn ihm",
    ("3s", "f"): "sie sie ihr",
    ("3s", "n"): "es es ihm",
    ("3p", "p"): "sie sie ihnen",
}
_MODAL_PRESENT = {
    "können": "kann",
    "müssen": "muss",
    "wollen": "will",
    "dürfen": "darf",
    "sollen": "soll",
    "wissen": "weiß",
}
_SEIN = {"1s": "bin", "2s": "bist", "3s": "ist", "1p": "sind", "3p": "sind"}
_HABEN_2S = {"present": "hast", "preterite": "hattest"}
_VOWELS = "aeiouäöüy"
_UNPREFIXED = ("be", "ver", "er", "ent", "emp", "ge", "zer")


def _cell(table: dict[str, str], gender: Gender, case: Case) -> str:
    return table[gender].split()[_CASES.index(case)].replace("-", "")


def determiner(word: str, gender: Gender, case: Case) -> str:
    """An article, possessive, demonstrative or quantifier in agreement; the bare ones do not change."""
    if word in _BARE_WORDS:
        return word
    if word == "der":
        return _cell(_DER, gender, case)
    return word + _cell(_EIN if word in _EIN_WORDS else _STRONG, gender, case)


def adjective(word: Adjective, after: str, gender: Gender, case: Case) -> str:
    """An attributive adjective after the determiner ``after``: weak, mixed or strong ending."""
    stem = {"teuer": "teur"}.get(word.german, word.german.removesuffix("e"))
    if after in (*_BARE_WORDS, "viel", "einig"):
        weak_genitive = case == "gen" and gender in ("m", "n")
        return stem + ("en" if weak_genitive else _cell(_STRONG, gender, case))
    if gender == "p" or case in ("dat", "gen") or (gender == "m" and case == "acc"):
        return stem + "en"
    if after in _EIN_WORDS:
        return stem + {"m": "er", "n": "es", "f": "e", "p": "en"}[gender]
    return stem + "e"


def noun(word: Noun, plural: bool, case: Case) -> str:
    """A noun in its case: dative plural -n, genitive -s or -es, n-declension."""
    if plural:
        dative_n = case == "dat" and word.plural[-1] not in "ns"
        return word.plural + "n" * dative_n
    if word.weak:
        return word.german if case == "nom" else word.plural
    if case != "gen" or word.gender == "f":
        return word.german
    syllables = sum(a in _VOWELS and b not in _VOWELS for a, b in pairwise(word.german + "-"))
    return word.german + ("es" if word.german[-1] in "sßzx" or syllables == 1 else "s")


def pronoun(word: Pronoun, case: Case) -> str:
    """A personal pronoun."""
    gender = word.gender if word.person == "3s" else "p"
    return _PRONOUNS[word.person, gender].split()[_CASES.index(case)]


def reflexive(person: Person, case: Case) -> str:
    """The reflexive pronoun that goes with a subject of ``person``."""
    return "sich" if person in ("3s", "3p") else _PRONOUNS[person, "p"].split()[_CASES.index(case)]


def possessive(owner: Pronoun) -> str:
    """The possessive stem of an owner: mein, dein, unser, ihr, sein."""
    fixed = {"1s": "mein", "2s": "dein", "1p": "unser", "3p": "ihr"}
    return fixed.get(owner.person) or ("ihr" if owner.gender == "f" else "sein")


def relative_pronoun(gender: Gender, case: Case) -> str:
    """``der``, ``den``, ``dem``, ``denen`` and their like."""
    return "denen" if (gender, case) == ("p", "dat") else _cell(_DER, gender, case)


def contract(preposition: str, phrase: str) -> str:
    """Preposition and phrase, with "in dem" drawn together to "im" and so on."""
    first, _, rest = phrase.partition(" ")
    joined = _CONTRACTIONS.get((preposition, first))
    return f"{joined} {rest}" if joined else f"{preposition} {phrase}"


def _principal_parts(infinitive: str) -> tuple[str, str, str]:
    strong = strong_forms().get(infinitive)
    if strong:
        return strong
    stem = infinitive.removesuffix("en") if infinitive.endswith("en") else infinitive.removesuffix("n")
    link = "e" if stem.endswith(("t", "d", "fn", "gn")) else ""
    unprefixed = infinitive.startswith(_UNPREFIXED) or infinitive.endswith("ieren")
    return f"{stem}{link}t", f"{stem}{link}te", ("" if unprefixed else "ge") + f"{stem}{link}t"


def participle(verb: Verb) -> str:
    """Past participle, the prefix in front: "aufgemacht"."""
    return verb.prefix + _principal_parts(verb.base)[2]


def infinitive(verb: Verb, zu: bool) -> str:
    """Infinitive, or the zu-infinitive with zu inside a separable verb: "aufzumachen"."""
    if not zu:
        return verb.prefix + verb.base
    return f"{verb.prefix}zu{verb.base}" if verb.prefix else f"zu {verb.base}"


def finite(base: str, tense: Tense, person: Person) -> str:
    """The finite form of a verb without its separable prefix, present or preterite."""
    third, past, _ = _principal_parts(base)
    return _present(base, third, person) if tense == "present" else _preterite(base, past, person)


def _present(base: str, third: str, person: Person) -> str:
    if base == "sein":
        return _SEIN[person]
    if person in ("1p", "3p"):
        return base
    if person == "3s":
        return third
    if base in _MODAL_PRESENT:
        singular = _MODAL_PRESENT[base]
        return singular if person == "1s" else singular + ("t" if singular[-1] in "sß" else "st")
    if person == "1s":
        stem = base.removesuffix("n")
        return stem[:-2] + "le" if stem.endswith("el") else stem if stem.endswith("e") else stem + "e"
    if base == "haben":
        return _HABEN_2S["present"]
    if third == "lädt":
        return "lädst"
    stem = third.removesuffix("t")
    if stem[-1] in "sßz":
        return third
    return third + "st" if third == "tritt" or stem.endswith("tt") else stem + "st"


def _preterite(base: str, past: str, person: Person) -> str:
    if person in ("1s", "3s"):
        return past
    if past.endswith("e"):
        return past + ("st" if person == "2s" else "n")
    if person == "2s":
        return past + ("est" if past[-1] in "sßtd" else "st")
    return past + "en"
