"""Prepared data: memory-mapped Arrow shards, two vocabularies and the manifest that lists them.

A shard is an Arrow IPC file, uncompressed, whose record batches hold ``source`` and ``target``
(list<int32>, word ids without specials) beside the text they came from. Nothing is copied on reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from raysq.config import Config, UserError
from raysq.data.corpus import SPLITS, DropReason, Fingerprint, SplitName, sha256_of
from raysq.data.vocabulary import Vocabulary

FORMAT = 1
"""Raised when a folder written before can no longer be read."""
MANIFEST = "manifest.json"
SOURCE_VOCABULARY, TARGET_VOCABULARY = "vocabulary.source.txt", "vocabulary.target.txt"
ROWS_PER_BATCH = 4096
"""Rows of a record batch; preparing holds that many lines in memory."""
Vocabularies = tuple[Vocabulary, Vocabulary]
"""Source and target."""
SCHEMA = pa.schema(
    [
        ("source", pa.list_(pa.int32())),
        ("target", pa.list_(pa.int32())),
        ("source_text", pa.string()),
        ("target_text", pa.string()),
    ]
)


class FileRecord(Config):
    """A file of the prepared folder."""

    bytes: int
    """Its size."""
    sha256: str
    """Of its content."""


class SplitRecord(Config):
    """What became of one split."""

    lines: int
    """Pairs of lines read."""
    pairs: int
    """Pairs kept."""
    held_out: int = 0
    """Pairs given to dev instead."""
    dropped: dict[DropReason, int]
    """Pairs left out, by reason; dev and test keep every one."""
    blank: dict[str, int]
    """Blank lines read, by side."""
    words: dict[str, int]
    """Words of the kept pairs, by side."""
    unknown: dict[str, int]
    """Words of the kept pairs that are unk, by side."""
    shards: tuple[str, ...]
    """File names in order."""


class Manifest(Config):
    """What a prepared folder holds and what it was made from."""

    format: int
    """Version of the folder's layout."""
    digest: str
    """Identity of the data: kept text of every split in order and both vocabularies; not how it is stored."""
    settings: dict[str, Any]
    """The settings that shaped the data."""
    inputs: dict[str, Fingerprint]
    """The text read, by ``<split>.source`` and ``<split>.target``."""
    versions: dict[str, str]
    """Packages that did the work."""
    splits: dict[SplitName, SplitRecord]
    """What became of each split."""
    vocabulary_sizes: dict[str, int]
    """V by side, specials counted."""
    files: dict[str, FileRecord]
    """Every file of the folder but the manifest."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Views of one record batch; rows are ``values[offsets[i]:offsets[i + 1]]``."""

    source: np.ndarray
    source_offsets: np.ndarray
    target: np.ndarray
    target_offsets: np.ndarray
    source_text: Any
    target_text: Any

    @classmethod
    def of(cls, batch: Any) -> _Chunk:
        source, target = batch.column("source"), batch.column("target")
        return cls(
            source.values.to_numpy(zero_copy_only=True),
            source.offsets.to_numpy(zero_copy_only=True),
            target.values.to_numpy(zero_copy_only=True),
            target.offsets.to_numpy(zero_copy_only=True),
            batch.column("source_text"),
            batch.column("target_text"),
        )


class Split:
    """The pairs of a split by position, over all its shards. Arrays are read-only views of the files."""

    def __init__(self, shards: Iterable[Path], target_vocabulary_size: int) -> None:
        self._target_vocabulary_size = target_vocabulary_size
        readers = [pa.ipc.open_file(pa.memory_map(str(path))) for path in shards]
        self._chunks = [_Chunk.of(r.get_batch(k)) for r in readers for k in range(r.num_record_batches)]
        sizes = [len(chunk.source_text) for chunk in self._chunks]
        self._starts = np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))

    def __len__(self) -> int:
        return int(self._starts[-1])

    def source(self, i: int) -> np.ndarray:
        """int32 ids of the source words, no specials added. Raises IndexError outside [0, len)."""
        chunk, row = self._locate(i)
        return chunk.source[chunk.source_offsets[row] : chunk.source_offsets[row + 1]]

    def target(self, i: int) -> np.ndarray:
        """int32 ids of the target words, no specials added. Raises IndexError outside [0, len)."""
        chunk, row = self._locate(i)
        return chunk.target[chunk.target_offsets[row] : chunk.target_offsets[row + 1]]

    def source_text(self, i: int) -> str:
        """The source words, unknown ones too, with single spaces. Raises IndexError outside [0, len)."""
        chunk, row = self._locate(i)
        return chunk.source_text[row].as_py()

    def target_text(self, i: int) -> str:
        """The target words, unknown ones too, with single spaces. Raises IndexError outside [0, len)."""
        chunk, row = self._locate(i)
        return chunk.target_text[row].as_py()

    @cached_property
    def source_lengths(self) -> np.ndarray:
        """[len] int32, words of each source."""
        return _lengths(chunk.source_offsets for chunk in self._chunks)

    @cached_property
    def target_lengths(self) -> np.ndarray:
        """[len] int32, words of each target."""
        return _lengths(chunk.target_offsets for chunk in self._chunks)

    @cached_property
    def target_word_counts(self) -> np.ndarray:
        """[V] int64, how often each word of the target vocabulary occurs in the split."""
        counts = np.zeros(self._target_vocabulary_size, np.int64)
        for chunk in self._chunks:
            counts += np.bincount(chunk.target, minlength=len(counts))
        return counts

    def _locate(self, i: int) -> tuple[_Chunk, int]:
        if not 0 <= i < len(self):
            raise IndexError(f"pair {i} of a split of {len(self)}")
        k = int(np.searchsorted(self._starts, i, side="right")) - 1
        return self._chunks[k], int(i - self._starts[k])


@dataclass(frozen=True)
class Preparation:
    """How text became ids: what a model needs besides its parameters, and what every stage folder keeps."""

    manifest: Manifest
    source_vocabulary: Vocabulary
    target_vocabulary: Vocabulary

    @classmethod
    def load(cls, folder: Path) -> Preparation:
        """Read manifest and vocabularies of a prepared folder, or of a folder that `save` wrote.

        Raises:
            UserError: one is missing, damaged or of another format.
        """
        manifest = read_manifest(folder)
        source, target = (Vocabulary.load(folder / name) for name in (SOURCE_VOCABULARY, TARGET_VOCABULARY))
        return cls(manifest, source, target)

    def save(self, folder: Path) -> None:
        """Write both vocabularies and then the manifest."""
        folder.mkdir(parents=True, exist_ok=True)
        self.source_vocabulary.save(folder / SOURCE_VOCABULARY)
        self.target_vocabulary.save(folder / TARGET_VOCABULARY)
        (folder / MANIFEST).write_text(self.manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @property
    def vocabulary_digests(self) -> dict[str, str]:
        """sha256 of both vocabularies: equal digests, equal ids."""
        return {"source": self.source_vocabulary.digest, "target": self.target_vocabulary.digest}


@dataclass(frozen=True)
class Corpus:
    """A prepared folder, open for reading."""

    folder: Path
    preparation: Preparation
    splits: dict[SplitName, Split]

    @classmethod
    def load(cls, folder: Path) -> Corpus:
        """Open a prepared folder. File sizes are checked; `verify` reads the files through.

        Raises:
            UserError: the folder is missing, foreign, of another format, or a file is damaged.
        """
        preparation = Preparation.load(folder)
        manifest = preparation.manifest
        for name, record in manifest.files.items():
            path = folder / name
            bytes_there = path.stat().st_size if path.is_file() else None
            if bytes_there != record.bytes:
                found = "missing" if bytes_there is None else f"{bytes_there} bytes instead of {record.bytes}"
                raise UserError(f"{path} is {found}: {_prepare_again(folder)}")
        try:
            size = len(preparation.target_vocabulary)
            splits = {s: Split([folder / name for name in manifest.splits[s].shards], size) for s in SPLITS}
        except (OSError, pa.ArrowInvalid) as error:
            raise UserError(f"a shard is damaged ({error}): {_prepare_again(folder)}") from error
        return cls(folder, preparation, splits)

    @property
    def manifest(self) -> Manifest:
        """What the folder holds and what it was made from."""
        return self.preparation.manifest

    @property
    def source_vocabulary(self) -> Vocabulary:
        """Words of the source."""
        return self.preparation.source_vocabulary

    @property
    def target_vocabulary(self) -> Vocabulary:
        """Words of the target."""
        return self.preparation.target_vocabulary

    @property
    def digest(self) -> str:
        """Identity of the data (`Manifest.digest`)."""
        return self.manifest.digest

    def raw_references(self, split: SplitName) -> list[str] | None:
        """Target lines of dev or test before they were tokenised; None for train, and where they came so."""
        name = raw_file(split)
        if name not in self.manifest.files:
            return None
        return (self.folder / name).read_bytes().decode().removesuffix("\n").split("\n")

    def verify(self) -> None:
        """Compare the sha256 of every file with the manifest.

        Raises:
            UserError: a file is not what was written.
        """
        for name, record in self.manifest.files.items():
            if sha256_of(self.folder / name) != record.sha256:
                raise UserError(f"{self.folder / name} was changed: {_prepare_again(self.folder)}")


def raw_file(split: SplitName) -> str:
    """Name of the file with the target lines of a split as they were before they were tokenised."""
    return f"raw.{split}.target.txt"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a prepared folder.

    Raises:
        UserError: there is none, it is damaged, or its format is another.
    """
    path = folder / MANIFEST
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{folder} holds no prepared data: python workflows/prepare.py --task TASK --output-dir {folder}"
        ) from error
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise UserError(f"{path} is no manifest of this version: {_prepare_again(folder)}") from error
    if manifest.format != FORMAT:
        raise UserError(f"{path} has format {manifest.format}, not {FORMAT}: {_prepare_again(folder)}")
    return manifest


def write_shards(
    folder: Path,
    split: SplitName,
    pairs: Iterator[tuple[str, str]],
    vocabularies: Vocabularies,
    rows_per_shard: int,
    update_digest: Callable[[bytes], None],
) -> tuple[str, ...]:
    """Write the shards of a split and return their names.

    Args:
        folder: where to.
        split: which names the files.
        pairs: source and target words of each pair, with single spaces.
        vocabularies: for the ids.
        rows_per_shard: pairs in a file.
        update_digest: is given the text in order, however it is cut.
    """
    names: list[str] = []
    while first := list(islice(pairs, 1)):
        names.append(f"{split}-{len(names):05d}.arrow")
        of_shard = islice(chain(first, pairs), rows_per_shard)
        with pa.OSFile(str(folder / names[-1]), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            while rows := list(islice(of_shard, ROWS_PER_BATCH)):
                writer.write_batch(_record_batch(rows, vocabularies))
                update_digest("".join(f"{source}\n{target}\n" for source, target in rows).encode())
    return tuple(names)


def _record_batch(rows: list[tuple[str, str]], vocabularies: Vocabularies) -> Any:
    texts = list(zip(*rows, strict=True))
    ids = [
        pa.array([vocabulary.encode(line.split()) for line in lines], pa.list_(pa.int32()))
        for vocabulary, lines in zip(vocabularies, texts, strict=True)
    ]
    return pa.record_batch([*ids, *(pa.array(lines, pa.string()) for lines in texts)], schema=SCHEMA)


def _lengths(offsets: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int32), *map(np.diff, offsets)])


def _prepare_again(folder: Path) -> str:
    return f"remove {folder}, then python workflows/prepare.py --task TASK --output-dir {folder}"
