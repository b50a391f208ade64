"""TED talks of IWSLT 2014 as WIT3 released them (2014-01, ``de-en.tgz``), read as Ranzato et al. 2016 did.

Their recipe (``prepareData.sh`` of facebookresearch/MIXER) reads lines, not XML. As there:

1. Training lines with ``<url>``, ``<talkid>`` or ``<keywords>`` go; ``<title>`` and ``<description>`` lines
   stay as sentences, without their tags. The recipe has no rule for ``<doc>``, ``<reviewer>``,
   ``<translator>`` and ``<speaker>``, which later releases have: it would keep such lines, tags and all. None
   of its 6,969 prepared validation lines, one training line in 23, shows one. So the 2014 release has none,
   and here they are an error.
2. A test sentence is what a line has between ``<seg id="N">`` and ``</seg>``. ``’`` becomes ``'``, in test
   sentences only.
3. Entities stay as they are written: the prepared test lines have ``r &amp; amp ; d`` for ``R&amp;D``. Only
   the raw references, which the recipe does not know, have their characters (`raysq.data.prepare`).
4. Each side is filtered by itself; then the n-th sentence of one belongs to the n-th of the other.

There is no development text: it is every 23rd training pair that cleaning keeps (`raysq.data.prepare`).
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from raysq.config import UserError
from raysq.data.archive import opened
from raysq.data.corpus import MAX_LINE_BYTES, Fingerprint, SplitName, decoded_lines

TEDX = "TEDX.dev2012"
TEST_SETS = ("TED.dev2010", TEDX, "TED.tst2010", "TED.tst2011", "TED.tst2012")
"""The historic test set, in its order."""
_TRAIN = "train.tags.de-en.{language}"
_DROPPED = ("<url>", "<talkid>", "<keywords>")
_STRIPPED = re.compile("</?(?:title|description)>")
_FOREIGN = re.compile(r"\s*</?(doc|reviewer|translator|speaker)\b")
_SEGMENT = re.compile(r'\s*<seg id="[0-9]+">(.*)</seg>\s*')
_TEDX_SIZE = 1165


@dataclass(frozen=True)
class Wit3Text:
    """German and English talks from the archive or from the folder it unpacks to; they stream.

    Both methods raise UserError where a file is missing, damaged, not UTF-8 (file, line, byte) or has a
    ``<seg>`` that does not end on its line, and where the sides have different numbers of sentences.
    """

    archive: Path
    """``de-en.tgz``, or the folder that holds its files or its folder ``de-en``."""
    source_language: str = "de"
    """``de`` or ``en``: suffix of the source files."""
    target_language: str = "en"
    """The other one."""
    test_sets: tuple[str, ...] = TEST_SETS
    """What makes the test split, in this order: names such as ``TED.tst2010``."""
    mend_tedx: bool = False
    """Align the misaligned stretch of TEDX.dev2012 (`mended`): 6,749 test pairs, not the historic 6,750."""
    max_line_bytes: int = MAX_LINE_BYTES
    """A longer line is an error."""

    @property
    def grouped(self) -> bool:
        """No sentence has several references."""
        return False

    def pairs(self, split: SplitName) -> Iterator[tuple[str, str]]:
        """Untokenised pairs of train or test; dev has none of its own."""
        if split == "train":
            yield from _aligned(*map(self._training_side, self._languages))
        elif split == "test":
            for test_set in self.test_sets:
                yield from _aligned(*(self._test_side(test_set, language) for language in self._languages))

    def fingerprints(self) -> dict[str, Fingerprint]:
        """Of the sentences of train and test as `pairs` gives them; reading them all shows every defect."""
        templates: dict[SplitName, list[str]] = {
            "train": [_TRAIN],
            "test": list(map(_test_file, self.test_sets)),
        }
        found = {}
        for split, files in templates.items():
            digests = hashlib.sha256(), hashlib.sha256()
            for pair in self.pairs(split):
                for digest, line in zip(digests, pair, strict=True):
                    digest.update(f"{line}\n".encode())
            for side, language, digest in zip(("source", "target"), self._languages, digests, strict=True):
                name = " ".join(file.format(language=language) for file in files)
                found[f"{split}.{side}"] = Fingerprint(name=name, sha256=digest.hexdigest())
        return found

    @property
    def _languages(self) -> tuple[str, str]:
        return self.source_language, self.target_language

    def _lines(self, name: str) -> Iterator[str]:
        with _member(self.archive, name) as file:
            yield from decoded_lines(file, name, self.max_line_bytes)

    def _training_side(self, language: str) -> _Side:
        name = _TRAIN.format(language=language)
        return _Side(name, training_sentences(name, self._lines(name)))

    def _test_side(self, test_set: str, language: str) -> _Side:
        name = _test_file(test_set).format(language=language)
        sentences = segments(name, self._lines(name))
        if self.mend_tedx and test_set == TEDX:
            sentences = iter(mended(list(sentences), language))
        return _Side(name, sentences)


def training_sentences(name: str, lines: Iterable[str]) -> Iterator[str]:
    """Sentences of one side of the training text, by the recipe's rules for lines; ``name`` is for errors."""
    for number, line in enumerate(lines, start=1):
        if any(tag in line for tag in _DROPPED):
            continue
        if foreign := _FOREIGN.match(line):
            raise UserError(
                f"{name}: line {number} is a <{foreign[1]}> line, which would become a sentence and which "
                "the 2014-01 release has not: give that release, or remove such lines from both sides"
            )
        yield _STRIPPED.sub("", line)


def segments(name: str, lines: Iterable[str]) -> Iterator[str]:
    """Sentences of one side of a test set, ``’`` replaced by ``'``; ``name`` is for errors."""
    for number, line in enumerate(lines, start=1):
        if "<seg" not in line:
            continue
        segment = _SEGMENT.fullmatch(line)
        if segment is None:
            raise UserError(
                f'{name}: line {number} is no whole <seg id="N">text</seg>: fetch the archive again'
            )
        yield segment[1].strip().replace("’", "'")


def mended(sentences: list[str], language: str) -> list[str]:
    """One side of TEDX.dev2012 such that the sides are aligned throughout, one sentence fewer.

    As released, pairs 907 to 978 are shifted by one (fairseq's issue 4146; the prepared lines show where):
    the German sentences 907 and 908 are the English one 907, the English 977 and 978 the German one 978.

    Raises:
        UserError: there are not the 1,165 sentences of the 2014-01 release.
    """
    if len(sentences) != _TEDX_SIZE:
        raise UserError(
            f"{TEDX} has {len(sentences)} sentences, not the {_TEDX_SIZE:,} of the 2014-01 release, so where "
            "it is misaligned is not known: take it as it is, without mending"
        )
    k = 906 if language == "de" else 976
    return [*sentences[:k], " ".join(sentences[k : k + 2]), *sentences[k + 2 :]]


@dataclass(frozen=True)
class _Side:
    name: str
    sentences: Iterator[str]


def _test_file(test_set: str) -> str:
    """With ``{language}`` to fill in, as in ``_TRAIN``."""
    return f"IWSLT14.{test_set}.de-en.{{language}}.xml"


def _aligned(source: _Side, target: _Side) -> Iterator[tuple[str, str]]:
    number = 0
    both = itertools.zip_longest(source.sentences, target.sentences)
    for number, (left, right) in enumerate(both, start=1):
        if left is None or right is None:
            shorter, longer = (source, target) if left is None else (target, source)
            total = number + sum(1 for _ in both)
            raise UserError(
                f"{shorter.name} has {number - 1} sentences but {longer.name} has {total}: "
                "sentence n of one must translate sentence n of the other, fetch the archive again"
            )
        yield left, right
    if number == 0:
        raise UserError(f"{source.name} and {target.name} hold no sentence: fetch the archive again")


@contextmanager
def _member(archive: Path, name: str) -> Iterator[BinaryIO]:
    """A file of the archive or folder. Two sides are read at once, so each reader opens the archive anew."""
    try:
        if archive.is_dir():
            path = next(filter(Path.is_file, (archive / name, archive / "de-en" / name)), None)
            if path is not None:
                with path.open("rb") as file:
                    yield file
                return
        else:
            with opened(archive) as tar:
                for member in tar:
                    if member.isfile() and PurePosixPath(member.name).name == name:
                        yield cast("BinaryIO", tar.extractfile(member))
                        return
    except OSError as error:
        raise UserError(f"{archive}: {error.strerror}: check the path") from error
    raise UserError(f"{archive} holds no {name}: give the 2014-01 release of WIT3, complete")
