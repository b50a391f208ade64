"""A generated miniature of the WIT3 2014-01 release: its layout, line forms and troubles, none of its text.

Unlike the real thing it has 416 training pairs of made-up sentences (there 160,295 are left after cleaning),
test sets of 6 to 12 sentences (there 887 to 1,700; mending needs the 1,165 of TEDX.dev2012), and blank, long
and uneven sentences at fixed places.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

SOURCE_AND_TARGET = ("de", "en")
TEST_SIZES = {"TED.dev2010": 8, "TEDX.dev2012": 12, "TED.tst2010": 6, "TED.tst2011": 7, "TED.tst2012": 9}
"""Sentences by test set: 42."""
TALKS = 8
TALK_SENTENCES = 50
TRAINING_PAIRS = TALKS * (TALK_SENTENCES + 2)
"""Pairs after the rules for lines: the sentences, and title and description of each talk: 416."""
DROPPED = {"empty": 32, "too_long": 16, "ratio": 16}
"""Pairs that cleaning drops (Moses words, 1 to 50, ratio 1.5): 2 + 2 + 2 + 2 a talk."""
NAMES = ("Anna", "Ben", "Clara", "David", "Emma")
NOUNS = (("Hund", "dog"), ("Baum", "tree"), ("Brief", "letter"), ("Stern", "star"), ("Fluss", "river"))
VERBS = (("sieht", "sees"), ("malt", "paints"), ("findet", "finds"))


def sentence(k: int) -> tuple[str, str]:
    """The k-th sentence pair; with quotation marks, entities, numbers and apostrophes here and there."""
    name, noun, verb = NAMES[k % 5], NOUNS[k // 5 % 5], VERBS[k // 25 % 3]
    endings = (
        (".", "."),
        (", sagt sie.", ", she says."),
        (" und 1,5 Meter Holz.", " and 1.5 metres of wood."),
        (' und ruft: "Ja!"', ' and calls: "Yes!"'),
        (" bei R&amp;D.", " at R&amp;D."),
        (", so geht’s.", ", that’s how."),
        (", so geht's.", ", that's how."),
    )
    german, english = endings[k % 7]
    return f"{name} {verb[0]} den {noun[0]}{german}", f"{name} {verb[1]} the {noun[1]}{english}"


def training_pair(k: int) -> tuple[str, str]:
    """The k-th training pair; in 25 in a row one has a blank side each, one is too long, one uneven."""
    german, english = sentence(k)
    match k % 25:
        case 7:
            return f"{'sehr ' * 50}weit", f"{'very ' * 50}far"
        case 11:
            return german, "No."
        case 13:
            return "", english
        case 17:
            return german, " "
    return german, english


def talk_head(talk: int, side: int) -> list[str]:
    """Lines before the sentences of a talk; the number in its description is a word seen once."""
    name, noun = NAMES[talk % 5], NOUNS[talk % 5][side]
    about = ("Ein Vortrag über", "A talk about the")[side]
    return [
        f"<url>http://www.example.org/talks/{talk}</url>",
        f"<keywords>talks, {noun}</keywords>",
        f"<talkid>{talk}</talkid>",
        f"<title>{name}: {about} {noun}</title>",
        f"<description>{about} {noun}: {name} {1000 + talk}</description>",
    ]


def training_text(side: int) -> str:
    """``train.tags.de-en`` of a side, 0 or 1."""
    lines = []
    for talk in range(TALKS):
        pairs = map(training_pair, range(talk * TALK_SENTENCES, (talk + 1) * TALK_SENTENCES))
        lines += [*talk_head(talk, side), *(pair[side] for pair in pairs)]
    return "".join(f"{line}\n" for line in lines)


def segments_xml(name: str, side: int, sentences: list[str]) -> str:
    """One side of a test set of one talk."""
    body = "".join(f'<seg id="{k}">  {text}  </seg>\n' for k, text in enumerate(sentences, start=1))
    kind = ("srcset", "refset")[side]
    head = "\n".join(
        ['<?xml version="1.0" encoding="UTF-8"?>', "<mteval>", f'<{kind} setid="{name}">', "<doc>"]
    )
    about = "\n".join(talk_head(len(name), side))
    return f"{head}\n{about}\n{body}</doc>\n</{kind}>\n</mteval>\n"


def write_miniature(folder: Path) -> Path:
    """Write ``folder/de-en`` and return it."""
    release = folder / "de-en"
    release.mkdir(parents=True)
    for side, language in enumerate(SOURCE_AND_TARGET):
        (release / f"train.tags.de-en.{language}").write_text(training_text(side), encoding="utf-8")
        for number, (name, size) in enumerate(TEST_SIZES.items()):
            sentences = [sentence(1000 * (number + 1) + k)[side] for k in range(size)]
            path = release / f"IWSLT14.{name}.de-en.{language}.xml"
            path.write_text(segments_xml(name, side, sentences), encoding="utf-8")
    (release / "README").write_text("A generated miniature.\n", encoding="utf-8")
    return release


def pack(release: Path) -> Path:
    """``de-en.tgz`` beside ``de-en``, with everything that is in it."""
    archive = release.with_name("de-en.tgz")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(release, "de-en")
    return archive
