"""Our reading and tokenising of IWSLT's evaluation files against the prepared lines of Ranzato et al. 2016.

    python tests/benchmarks/iwslt14_agreement.py ../shared/data/iwslt14_eval [AGREEMENT.json]

The folder holds the XML of 2017 (``IWSLT17.TED.SET.en-de.LANGUAGE.xml.gz``) and the lines that were prepared
from the XML of 2014 (``ranzato.{test,valid}.LANGUAGE.gz``). Two questions:

- Reading: the XML goes through `raysq.data.wit3` and `raysq.data.corpus` as the preset does it. Lines that
  differ from the prepared test set are grouped with the prepared lines they correspond to, and each group is
  put into the first class whose rule it meets (`difference_class`).
- Tokenising, also of the lines that have no XML here: does tokenising the prepared words again change them,
  and does our tokeniser set the same characters apart from words as the prepared text does?

Prints Markdown, and writes the numbers to AGREEMENT.json.
"""

from __future__ import annotations

import html
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from statistics import median

from raysq.data.corpus import moses_tokeniser, read_lines
from raysq.data.wit3 import segments

SETS = ("dev2010", "tst2010", "tst2011", "tst2012")
LANGUAGES = ("de", "en")
EQUAL = "equal"
OTHER_LINES = "same words, other line breaks"
MAX_GROUP = 4
"""Most lines on one side of a group."""
LINE_COST = 1.5
"""Shared words that a further line in a group must bring."""
SMALL_EDIT = 0.8
"""Least share of words in common."""
TYPOGRAPHY = str.maketrans("‘’`“”„«»–—…", '\'\'\'"""""--.')
LABEL = re.compile(r"(?:(?<=^)|(?<=[.?!] ))(?:(?:[^\W\d]+ ){1,3}: )+")
"""``chris anderson :``, ``video : actor :`` at the start of a sentence."""
CAPTION = re.compile(r"\[[^]]*\] ")
"""``[ what a slide shows ]``."""
TIMING = re.compile(r"\d\d : \d\d : \d\d")
"""Of a subtitle."""
CONTEXTUAL = frozenset(".,'-")
"""Characters that the tokeniser sets apart in some contexts only."""


@dataclass(frozen=True)
class Talk:
    """Sentences of one talk, tokenised and lower-cased."""

    test_set: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Lines of the XML and the prepared lines that correspond to them; either may be none."""

    test_set: str
    xml: tuple[str, ...]
    prepared: tuple[str, ...]

    @property
    def difference(self) -> str:
        """Its class."""
        if not self.xml or not self.prepared:
            return "only in the XML of 2017" if self.xml else "only in the prepared text"
        if self.xml == self.prepared:
            return EQUAL
        return difference_class(" ".join(self.xml), " ".join(self.prepared))


def talks(folder: Path, language: str) -> list[Talk]:
    """The talks of the XML of 2017, in its order."""
    tokenise = moses_tokeniser(language)
    found = []
    for test_set in SETS:
        path = folder / f"IWSLT17.TED.{test_set}.en-de.{language}.xml.gz"
        for talk in "\n".join(read_lines(path)).split("<doc ")[1:]:
            sentences = segments(path.name, talk.split("\n"))
            lines = tuple(" ".join(tokenise(sentence)).lower() for sentence in sentences)
            found.append(Talk(test_set, lines))
    return found


def in_prepared_order(found: Sequence[Talk], prepared: Sequence[str]) -> list[Talk]:
    """The talks by the median place of those of their lines that the prepared text has exactly once."""
    places = defaultdict(list)
    for place, line in enumerate(prepared):
        places[line].append(place)
    return sorted(found, key=lambda talk: median(places[x][0] for x in talk.lines if len(places[x]) == 1))


def groups(found: Sequence[Talk], prepared: Sequence[str]) -> Iterator[Group]:
    """Everything in order: equal lines one by one, what lies between them grouped.

    Prepared lines between two sets are left out: TEDX.dev2012 has no XML here.
    """
    lines = [line for talk in found for line in talk.lines]
    sets = [talk.test_set for talk in found for _ in talk.lines]
    for tag, i, i_end, j, j_end in SequenceMatcher(None, lines, prepared, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from (Group(sets[k], (lines[k],), (lines[k],)) for k in range(i, i_end))
        elif tag != "insert" or sets[i - 1] == sets[i]:
            for xml, theirs in corresponding(tuple(lines[i:i_end]), tuple(prepared[j:j_end])):
                yield Group(sets[i], xml, theirs)


def corresponding(
    xml: tuple[str, ...], prepared: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Two runs of lines cut into the groups that share most words, small groups preferred."""

    @cache
    def best(i: int, j: int) -> tuple[float, tuple[tuple[int, int], ...]]:
        """Of what is left from line i and j on: the score and the sizes of its groups."""
        if (i, j) == (len(xml), len(prepared)):
            return 0.0, ()
        options = []
        for m in range(min(MAX_GROUP, len(xml) - i) + 1):
            for n in range(min(MAX_GROUP, len(prepared) - j) + 1):
                if m * n > 0 or m + n == 1:
                    rest, sizes = best(i + m, j + n)
                    shared = shared_words(" ".join(xml[i : i + m]), " ".join(prepared[j : j + n]))
                    options.append((shared - LINE_COST * (m + n - 1) + rest, ((m, n), *sizes)))
        return max(options)

    i = j = 0
    for m, n in best(0, 0)[1]:
        yield xml[i : i + m], prepared[j : j + n]
        i, j = i + m, j + n


def shared_words(a: str, b: str) -> int:
    """Words that two texts have in common in the same order."""
    return sum(
        block.size
        for block in SequenceMatcher(None, a.split(), b.split(), autojunk=False).get_matching_blocks()
    )


def bare(text: str) -> str:
    """Words without punctuation."""
    return " ".join(re.findall(r"\w+", text))


def squeezed(text: str) -> str:
    """Without spaces."""
    return text.replace(" ", "")


def difference_class(xml: str, prepared: str) -> str:
    """How two corresponding texts differ: the first rule that holds."""
    xml_text, prepared_text = (html.unescape(html.unescape(text)) for text in (xml, prepared))
    if xml == prepared:
        return OTHER_LINES
    if squeezed(xml) == squeezed(prepared) and bare(xml_text) == bare(prepared_text):
        return "tokenisation"
    if squeezed(xml_text) == squeezed(prepared_text) and bare(xml_text) == bare(prepared_text):
        return "entities"
    if squeezed(xml_text.translate(TYPOGRAPHY)) == squeezed(prepared_text.translate(TYPOGRAPHY)):
        return "apostrophes, quotes, dashes, words written together"
    if squeezed(bare(xml_text)) == squeezed(bare(prepared_text)):
        return "punctuation"
    if TIMING.search(xml):
        return "subtitle timing left in the XML of 2017"
    if bare(LABEL.sub("", CAPTION.sub("", xml_text))) == bare(LABEL.sub("", CAPTION.sub("", prepared_text))):
        return "speaker's name, [caption] or 'video :' added in 2017"
    words = len(bare(xml_text).split()), len(bare(prepared_text).split())
    shared = shared_words(bare(xml_text), bare(prepared_text))
    if shared == min(words):
        return "words added in 2017" if words[0] > words[1] else "words left out in 2017"
    return "small edit" if shared >= SMALL_EDIT * max(words) else "reworded"


def excerpt(group: Group) -> str:
    """The first difference of a group, a word more on either side, at most four: ``XML -> prepared``."""
    xml, prepared = " / ".join(group.xml).split(), " / ".join(group.prepared).split()
    for tag, i, i_end, j, j_end in SequenceMatcher(None, xml, prepared, autojunk=False).get_opcodes():
        if tag != "equal":
            ours, theirs = xml[max(i - 1, 0) : i_end + 1], prepared[max(j - 1, 0) : j_end + 1]
            return f"{' '.join(ours[:4])} -> {' '.join(theirs[:4])}"
    raise AssertionError("a group of equal lines is in no class")


def reading(folder: Path, language: str) -> dict:
    """Equal lines by set, and the classes of all others."""
    prepared = list(read_lines(folder / f"ranzato.test.{language}.gz"))
    found = talks(folder, language)
    ordered = in_prepared_order(found, prepared)
    lines: Counter[str] = Counter()
    equal: Counter[str] = Counter()
    classes: dict[str, dict] = {}
    for group in groups(ordered, prepared):
        lines[group.test_set] += len(group.xml)
        if group.difference == EQUAL:
            equal[group.test_set] += 1
            continue
        empty = {"xml_lines": 0, "prepared_lines": 0, "example": excerpt(group)}
        entry = classes.setdefault(group.difference, empty)
        entry["xml_lines"] += len(group.xml)
        entry["prepared_lines"] += len(group.prepared)
    return {
        "sets": {
            test_set: {
                "lines": lines[test_set],
                "equal": equal[test_set],
                "talks_in_prepared_order": [talk for talk in found if talk.test_set == test_set]
                == [talk for talk in ordered if talk.test_set == test_set],
            }
            for test_set in SETS
        },
        "lines": lines.total(),
        "equal": equal.total(),
        "classes": dict(sorted(classes.items(), key=lambda item: -item[1]["xml_lines"])),
    }


def tokenising(folder: Path, language: str) -> dict:
    """How many prepared lines stay as they are when tokenised again, and which characters are set apart."""
    tokenise = moses_tokeniser(language)

    def capitalised(abbreviation: re.Match[str]) -> str:
        """``art.`` is no abbreviation, ``Art.`` is one: the lists are not lower-cased."""
        word = abbreviation[0].capitalize()
        return word if tokenise(word) == [word] else abbreviation[0]

    names = (f"ranzato.{split}.{language}.gz" for split in ("test", "valid"))
    prepared = [line for name in names for line in read_lines(folder / name)]
    unchanged = unchanged_capitalised = 0
    for line in prepared:
        text = html.unescape(line)
        if language == "en":  # the one rule that needs to know where a space was: don 't
            text = re.sub(r"(?<=\w) '(?=\w)", "'", text)
        if " ".join(tokenise(text)) == line:
            unchanged += 1
        elif " ".join(tokenise(re.sub(r"[^\W\d]+\.(?= |$)", capitalised, text))).lower() == line:
            unchanged_capitalised += 1
    words = {html.unescape(word) for line in prepared for word in line.split()}
    within = {c for word in words if len(word) > 1 for c in word}
    marks = {c for word in words for c in word if not c.isalnum()} - CONTEXTUAL
    apart = {c for c in marks if len(tokenise(f"a{c}a")) == 3}
    return {
        "lines": len(prepared),
        "unchanged": unchanged,
        "unchanged, or so with the capitals of abbreviations": unchanged + unchanged_capitalised,
        "marks": len(marks),
        "marks treated otherwise": sorted(c for c in marks if (c in apart) == (c in within)),
    }


def print_reading(columns: Sequence[dict]) -> None:
    """The tables of `reading`, one column a language."""
    print("| XML lines equal to the prepared line | de | en |\n|---|---|---|")
    rows = [(test_set, [column["sets"][test_set] for column in columns]) for test_set in SETS]
    for name, cells in [*rows, ("all four", columns)]:
        shares = (f"{c['equal']:,} of {c['lines']:,} = {100 * c['equal'] / c['lines']:.2f} %" for c in cells)
        print(f"| {name} | {' | '.join(shares)} |")
    print("\n| how the others differ | de, lines | en, lines | example |\n|---|---|---|---|")
    for name in dict.fromkeys(name for column in columns for name in column["classes"]):
        entries = [column["classes"].get(name) for column in columns]
        counts = (f"{e['xml_lines']} -> {e['prepared_lines']}" if e else "0" for e in entries)
        example = next(entry["example"] for entry in entries[::-1] if entry)
        print(f"| {name} | {' | '.join(counts)} | `{example}` |")


def print_tokenising(columns: Sequence[dict]) -> None:
    """The table of `tokenising`, one column a language."""
    print("\n| prepared lines, test and valid, tokenised again | de | en |\n|---|---|---|")
    for name in columns[0]:
        print(f"| {name} | {' | '.join(str(column[name] or 0) for column in columns)} |")


def main(folder: Path, output: Path | None) -> None:
    """Measure, print, write."""
    measures = (reading, tokenising)
    result = {m.__name__: {language: m(folder, language) for language in LANGUAGES} for m in measures}
    print_reading(list(result["reading"].values()))
    print_tokenising(list(result["tokenising"].values()))
    if output is not None:
        output.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
