"""Line-aligned text: reading it, splitting it into words, cleaning it.

A line ends at ``\\n`` and nowhere else: U+2028, form feeds and the like are characters of a line, so the two
sides of a corpus stay aligned. Words are what `str.split` finds, hence ``" ".join(words).split() == words``.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, cast

from raysq.config import Config, UserError
from raysq.files import regular

SplitName = Literal["train", "dev", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "dev", "test")
MAX_LINE_BYTES = 100_000
"""Longest line, unless more is asked for: a hundred times the longest sentence there is. [bytes]"""
BLOCK_BYTES = 2**20
DropReason = Literal["empty", "too_long", "ratio", "no_image"]
Tokenise = Callable[[str], list[str]]
"""A line of text to its words."""


class Fingerprint(Config):
    """Identity of one side of one split of the text."""

    name: str
    """File name without its folder, or where generated text came from."""
    sha256: str
    """Of its lines."""


class ParallelText(Protocol):
    """Pairs of lines (source, target) by split, read as often as asked."""

    @property
    def grouped(self) -> bool:
        """Whether consecutive pairs of one source hold its several references."""

    def pairs(self, split: SplitName) -> Iterator[tuple[str, str]]:
        """The pairs of a split in order."""

    def fingerprints(self) -> dict[str, Fingerprint]:
        """Identity of the text, by ``<split>.source`` and ``<split>.target``."""


@dataclass(frozen=True)
class FileText:
    """Text in line-aligned files, plain or ``.gz``: of each split one source and one target file or more."""

    files: Mapping[SplitName, tuple[Path, ...]]
    """Source file of every split and its target files, each with a reference of every line."""
    max_line_bytes: int = MAX_LINE_BYTES

    @property
    def grouped(self) -> bool:
        """Whether a split has several target files."""
        return any(len(paths) > 2 for paths in self.files.values())

    def pairs(self, split: SplitName) -> Iterator[tuple[str, str]]:
        """The pairs of a split, streaming; a line's references in turn. Raises UserError as `read_lines`."""
        source, *targets = self.files[split]
        readers = [read_pairs(source, target, self.max_line_bytes) for target in targets]
        for pairs in zip(*readers, strict=True):
            yield from pairs

    def fingerprints(self) -> dict[str, Fingerprint]:
        """Name and sha256 of each file as it lies on disk. Raises UserError if one is missing."""
        return {
            f"{split}.{side}": Fingerprint(name=path.name, sha256=sha256_of(path))
            for split in SPLITS
            for side, path in _sides(self.files[split])
        }


@dataclass(frozen=True)
class TabbedText:
    """Text in files of lines ``source TAB target``, plain or ``.gz``.

    A split without a file is held out of the training file by its source sentences. They are told apart by
    their letters and digits alone: sentences that differ in case, spaces or punctuation go to the same split.
    """

    files: Mapping[SplitName, Path]
    """One for train at least."""
    held_out: int
    """One source sentence in so many goes to each split without a file."""
    max_line_bytes: int = MAX_LINE_BYTES
    grouped: bool = False
    """Whether consecutive lines of one source hold its several references."""

    def pairs(self, split: SplitName) -> Iterator[tuple[str, str]]:
        """The pairs of a split, streaming. Raises UserError as `read_columns` does."""
        pairs = read_columns(self._file(split), self.max_line_bytes)
        if split != "train" and split in self.files:
            return pairs
        return (pair for pair in pairs if self._home(pair[0]) == split)

    def fingerprints(self) -> dict[str, Fingerprint]:
        """Name and sha256 of the file that each split is in. Raises UserError if one is missing."""
        prints = {
            path: Fingerprint(name=path.name, sha256=sha256_of(path)) for path in set(self.files.values())
        }
        return {
            f"{split}.{side}": prints[self._file(split)] for split in SPLITS for side in ("source", "target")
        }

    def _file(self, split: SplitName) -> Path:
        return self.files.get(split, self.files["train"])

    def _home(self, source: str) -> SplitName:
        """The split of a line of the training file."""
        kept = "".join(filter(str.isalnum, source.casefold()))
        number = int.from_bytes(hashlib.sha256(kept.encode()).digest()) % self.held_out
        without_file = [split for split in SPLITS if split not in self.files]
        return without_file[number] if number < len(without_file) else "train"


@dataclass(frozen=True)
class GeneratedText:
    """Text that a program made, held in memory."""

    name: str
    """Where it came from."""
    splits: Mapping[SplitName, Sequence[tuple[str, str]]]
    grouped: bool = False
    """Whether consecutive pairs of one source hold its several references."""

    def pairs(self, split: SplitName) -> Iterator[tuple[str, str]]:
        """The pairs of a split."""
        return iter(self.splits[split])

    def fingerprints(self) -> dict[str, Fingerprint]:
        """sha256 of each side's lines."""
        return {
            f"{split}.{side}": Fingerprint(
                name=self.name, sha256=_sha256_of_lines(pair[k] for pair in self.splits[split])
            )
            for split in SPLITS
            for k, side in enumerate(("source", "target"))
        }


def read_lines(path: Path, max_bytes: int = MAX_LINE_BYTES) -> Iterator[str]:
    """Lines of a UTF-8 file without their ``\\n``, plain or (by its suffix ``.gz``) compressed, streaming.

    Blank lines are lines; a byte order mark at the start is not text.

    Raises:
        UserError: the file is missing, empty, a damaged ``.gz``, not UTF-8, or has a line of more than
            ``max_bytes``.
    """
    number = 0
    try:
        with _open(path) as file:
            for line in decoded_lines(file, str(path), max_bytes):
                number += 1
                yield line
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        # gzip reads ahead, so the line is only the last one that came out whole.
        message = f"{path}: damaged .gz after line {number} ({error}): fetch or compress it again"
        raise UserError(message) from error
    if number == 0:
        raise UserError(f"{path}: line 1 is missing, the file is empty: give a file with text")


def decoded_lines(file: BinaryIO, name: str, max_bytes: int = MAX_LINE_BYTES) -> Iterator[str]:
    """Lines of an open UTF-8 file, as `read_lines` gives them.

    Raises:
        UserError: a line is not UTF-8 or has more than ``max_bytes``; ``name`` is how messages name the file.
    """
    lines = iter(partial(file.readline, max_bytes + 1), b"")
    for number, raw in enumerate(lines, start=1):
        if len(raw.removesuffix(b"\n")) > max_bytes:
            raise UserError(
                f"{name}: line {number} has more than {max_bytes:,} bytes: a line is a sentence, mend the "
                "file or allow more with --max-line-bytes"
            )
        yield _decode(raw, name, number)


def read_columns(path: Path, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[tuple[str, str]]:
    """Source and target of a file's lines ``source TAB target``, streaming; a blank line is a pair of blanks.

    Raises:
        UserError: as `read_lines`, or a line has not one tabulator.
    """
    for number, line in enumerate(read_lines(path, max_line_bytes), start=1):
        columns = line.split("\t") if line.strip() else ["", ""]
        if len(columns) != 2:
            raise UserError(
                f"{path}: line {number} has {len(columns)} column{'s' * (len(columns) > 1)}, not 2: a line "
                "is a source, a tabulator and its target; choose two columns, for instance with cut -f 1,2"
            )
        yield columns[0], columns[1]


def read_pairs(source: Path, target: Path, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[tuple[str, str]]:
    """Pairs of lines of two line-aligned files, streaming.

    Raises:
        UserError: as `read_lines`, or the files have different numbers of lines.
    """
    sides = read_lines(source, max_line_bytes), read_lines(target, max_line_bytes)
    for number, (left, right) in enumerate(itertools.zip_longest(*sides), start=1):
        if left is None or right is None:
            shorter, longer = (source, target) if left is None else (target, source)
            rest = sides[0] if right is None else sides[1]
            total = number + sum(1 for _ in rest)
            raise UserError(
                f"{shorter} ends before line {number} but {longer} has {total} lines: "
                "line n of one must translate line n of the other, align the files"
            )
        yield left, right


def split_words(line: str) -> list[str]:
    """Words of a line that is already tokenised."""
    return line.split()


def moses_tokeniser(language: str, normalise_punctuation: bool = False) -> Tokenise:
    """The Moses tokeniser with its default options: not aggressive, ``'`` escaped as ``&apos;`` etc.

    Args:
        language: two-letter code; it chooses the abbreviations that keep their full stop.
        normalise_punctuation: first apply Moses' normalize-punctuation (quotation marks, spaces).

    Raises:
        UserError: Moses knows nothing of the language (it would take English abbreviations unasked).
    """
    from sacremoses import MosesPunctNormalizer, MosesTokenizer  # 0.2 s
    from sacremoses.corpus import NonbreakingPrefixes

    if language not in NonbreakingPrefixes().available_langs:
        raise UserError(f"Moses has no rules for {language!r}: tokenise beforehand, then --tokeniser none")
    tokenizer = MosesTokenizer(language)
    normalise = MosesPunctNormalizer(language).normalize if normalise_punctuation else str

    def tokenise(line: str) -> list[str]:
        return cast("str", tokenizer.tokenize(normalise(line), return_str=True, escape=True)).split()

    return tokenise


def drop_reason(source_words: int, target_words: int, max_length: int, max_ratio: float) -> DropReason | None:
    """Why a training pair of these lengths is left out, or None; the rule of Moses' clean-corpus-n.

    Dropped are pairs with an empty side, a side of more than ``max_length`` words, or one side more than
    ``max_ratio`` times as long as the other (0: any ratio will do). The first reason counts.
    """
    shorter, longer = sorted((source_words, target_words))
    if shorter == 0:
        return "empty"
    if longer > max_length:
        return "too_long"
    if max_ratio > 0 and longer > max_ratio * shorter:
        return "ratio"
    return None


def sha256_of(path: Path) -> str:
    """sha256 of a file in hexadecimal.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with regular(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}: check the path") from error


def _sides(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """``source``, ``target``, ``target 2`` .. with their files."""
    more = [f"target {k}" for k in range(2, len(paths))]
    return zip(["source", "target", *more], paths, strict=True)


def _open(path: Path) -> BinaryIO:
    try:
        regular(path)
        return cast("BinaryIO", gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}: check the path") from error


def _decode(raw: bytes, name: str, number: int) -> str:
    try:
        line = raw.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{name}: line {number}, byte {error.start + 1} of the line (0x{raw[error.start]:02x}) is not "
            "UTF-8: mend the line or convert the file, for instance with iconv -t UTF-8"
        ) from error
    return (line.removeprefix("\ufeff") if number == 1 else line).removesuffix("\n")


def _sha256_of_lines(lines: Iterator[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()
