"""Prepared data: memory-mapped Arrow shards, two vocabularies and the manifest that lists them.

A shard is an Arrow IPC file, uncompressed, whose record batches hold ``source`` and ``target``
(list<int32>, word ids without specials) beside the text they came from. Nothing is copied on reading. Where
sources have several references, ``group`` numbers the sources. An image's source is its row in the folder's
feature store, its text its name.
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

from raysq.config import UserError
from raysq.data.corpus import SPLITS, SplitName, sha256_of
from raysq.data.manifest import (
    FEATURES,
    MANIFEST,
    SOURCE_VOCABULARY,
    TARGET_VOCABULARY,
    Manifest,
    prepare_again,
    raw_file,
    read_manifest,
)
from raysq.data.vocabulary import Vocabulary
from raysq.images.store import FeatureStore

ROWS_PER_BATCH = 4096
"""Rows of a record batch; preparing holds that many lines in memory."""
Encode = Callable[[str], "np.ndarray | list[int]"]
"""A line of words with single spaces to ids."""
SCHEMA = pa.schema(
    [
        ("source", pa.list_(pa.int32())),
        ("target", pa.list_(pa.int32())),
        ("source_text", pa.string()),
        ("target_text", pa.string()),
    ]
)

GROUPED = SCHEMA.append(pa.field("group", pa.int64()))


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Views of one record batch; rows are ``values[offsets[i]:offsets[i + 1]]``."""

    source: np.ndarray
    source_offsets: np.ndarray
    target: np.ndarray
    target_offsets: np.ndarray
    source_text: Any
    target_text: Any
    group: np.ndarray | None

    @classmethod
    def of(cls, batch: Any) -> _Chunk:
        grouped = "group" in batch.schema.names
        source, target = batch.column("source"), batch.column("target")
        return cls(
            source.values.to_numpy(zero_copy_only=True),
            source.offsets.to_numpy(zero_copy_only=True),
            target.values.to_numpy(zero_copy_only=True),
            target.offsets.to_numpy(zero_copy_only=True),
            batch.column("source_text"),
            batch.column("target_text"),
            batch.column("group").to_numpy(zero_copy_only=True) if grouped else None,
        )


class Split:
    """The examples of a split by position, over all its shards. Arrays are read-only views of the files.

    An example is a pair, or (``by_source``) a source with the first of its references.
    """

    def __init__(
        self,
        shards: Iterable[Path],
        target_vocabulary_size: int,
        *,
        by_source: bool = False,
        features: FeatureStore | None = None,
    ) -> None:
        self._target_vocabulary_size = target_vocabulary_size
        self.features = features
        """Of the images that the sources are."""
        readers = [pa.ipc.open_file(pa.memory_map(str(path))) for path in shards]
        self._chunks = [_Chunk.of(r.get_batch(k)) for r in readers for k in range(r.num_record_batches)]
        sizes = [len(chunk.source_text) for chunk in self._chunks]
        self._starts = np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))
        self._groups = self._read_groups()
        self._by_source = by_source and self._groups is not None

    def _read_groups(self) -> np.ndarray | None:
        """[sources + 1] where the pairs of each source start and the last ones end; None: one pair each."""
        parts = [chunk.group for chunk in self._chunks if chunk.group is not None]
        if not parts:
            return None
        groups = np.concatenate(parts)
        return np.append(np.flatnonzero(np.diff(groups, prepend=groups[0] - 1)), len(groups))

    def __len__(self) -> int:
        if self._by_source:
            assert self._groups is not None
            return len(self._groups) - 1
        return int(self._starts[-1])

    def source(self, i: int) -> np.ndarray:
        """int32 ids of the source words, no specials added; of an image its row in the feature store.

        Raises IndexError outside [0, len).
        """
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

    def references(self, i: int) -> list[np.ndarray]:
        """int32 ids of the targets of the example's source, the example's own first."""
        rows = self._pairs_of(i)
        return [chunk.target[chunk.target_offsets[k] : chunk.target_offsets[k + 1]] for chunk, k in rows]

    def reference_texts(self, i: int) -> list[str]:
        """Words of the targets of the example's source, unknown ones too; the example's own first."""
        return [chunk.target_text[row].as_py() for chunk, row in self._pairs_of(i)]

    @cached_property
    def source_lengths(self) -> np.ndarray:
        """[len] int32, words of each source."""
        return self._of_examples(_lengths(chunk.source_offsets for chunk in self._chunks))

    @cached_property
    def target_lengths(self) -> np.ndarray:
        """[len] int32, words of each target."""
        return self._of_examples(_lengths(chunk.target_offsets for chunk in self._chunks))

    @cached_property
    def target_word_counts(self) -> np.ndarray:
        """[V] int64, how often each word of the target vocabulary occurs in the split."""
        counts = np.zeros(self._target_vocabulary_size, np.int64)
        for chunk in self._chunks:
            counts += np.bincount(chunk.target, minlength=len(counts))
        return counts

    def _locate(self, i: int) -> tuple[_Chunk, int]:
        return self._locate_pair(self._pair(i))

    def _pair(self, i: int) -> int:
        """Place of an example's own pair among all pairs."""
        if not 0 <= i < len(self):
            raise IndexError(f"example {i} of a split of {len(self)}")
        return int(self._groups[i]) if self._by_source and self._groups is not None else i

    def _pairs_of(self, i: int) -> list[tuple[_Chunk, int]]:
        """Every pair of an example's source, its own first."""
        own = self._pair(i)
        pairs = [own]
        if self._groups is not None:
            group = int(np.searchsorted(self._groups, own, side="right")) - 1
            pairs += [p for p in range(self._groups[group], self._groups[group + 1]) if p != own]
        return [self._locate_pair(pair) for pair in pairs]

    def _locate_pair(self, pair: int) -> tuple[_Chunk, int]:
        k = int(np.searchsorted(self._starts, pair, side="right")) - 1
        return self._chunks[k], int(pair - self._starts[k])

    def _of_examples(self, of_pairs: np.ndarray) -> np.ndarray:
        return of_pairs[self._groups[:-1]] if self._by_source and self._groups is not None else of_pairs


@dataclass(frozen=True)
class Preparation:
    """How text became ids: what a model needs besides its parameters, and what every stage folder keeps."""

    manifest: Manifest
    source_vocabulary: Vocabulary | None
    """None where the sources are images."""
    target_vocabulary: Vocabulary

    @classmethod
    def load(cls, folder: Path) -> Preparation:
        """Read manifest and vocabularies of a prepared folder, or of a folder that `save` wrote.

        Raises:
            UserError: one is missing, damaged or of another format.
        """
        manifest = read_manifest(folder)
        source = None if manifest.features else Vocabulary.load(folder / SOURCE_VOCABULARY)
        return cls(manifest, source, Vocabulary.load(folder / TARGET_VOCABULARY))

    def save(self, folder: Path) -> None:
        """Write the vocabularies and then the manifest."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.source_vocabulary is not None:
            self.source_vocabulary.save(folder / SOURCE_VOCABULARY)
        self.target_vocabulary.save(folder / TARGET_VOCABULARY)
        (folder / MANIFEST).write_text(self.manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @property
    def vocabulary_digests(self) -> dict[str, str]:
        """sha256 of both vocabularies, of images that of their encoder: equal digests, equal meaning."""
        features, words = self.manifest.features, self.source_vocabulary
        source = features.encoder if features is not None else words.digest if words is not None else ""
        return {"source": source, "target": self.target_vocabulary.digest}


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
                raise UserError(f"{path} is {found}: {prepare_again(folder)}")
        try:
            size = len(preparation.target_vocabulary)
            features = FeatureStore.load(folder / FEATURES) if manifest.features else None
            splits = {
                split: Split(
                    [folder / name for name in manifest.splits[split].shards],
                    size,
                    by_source=split != "train",
                    features=features,
                )
                for split in SPLITS
            }
        except (OSError, pa.ArrowInvalid) as error:
            raise UserError(f"a shard is damaged ({error}): {prepare_again(folder)}") from error
        return cls(folder, preparation, splits)

    @property
    def manifest(self) -> Manifest:
        """What the folder holds and what it was made from."""
        return self.preparation.manifest

    @property
    def source_vocabulary(self) -> Vocabulary | None:
        """Words of the source; None where it is an image."""
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
        """Compare the sha256 of every file, the features' too, with the manifests.

        Raises:
            UserError: a file is not what was written.
        """
        for name, record in self.manifest.files.items():
            if sha256_of(self.folder / name) != record.sha256:
                raise UserError(f"{self.folder / name} was changed: {prepare_again(self.folder)}")
        if self.manifest.features is not None:
            try:
                FeatureStore.load(self.folder / FEATURES).verify()
            except UserError as error:  # its remedy is for a store that stands alone
                what = f"{self.folder / FEATURES} was changed"
                raise UserError(f"{what}: {prepare_again(self.folder)}") from error


def write_shards(
    folder: Path,
    split: SplitName,
    pairs: Iterator[tuple[str, str]],
    encoders: tuple[Encode, Encode],
    rows_per_shard: int,
    update_digest: Callable[[bytes], None],
    *,
    grouped: bool = False,
) -> tuple[str, ...]:
    """Write the shards of a split and return their names.

    Args:
        folder: where to.
        split: which names the files.
        pairs: source and target words of each pair, with single spaces.
        encoders: words to ids, of source and target.
        rows_per_shard: pairs in a file.
        update_digest: is given the text in order, however it is cut.
        grouped: consecutive pairs of one source are its references.
    """
    names: list[str] = []
    numbers = _Groups() if grouped else None
    while first := list(islice(pairs, 1)):
        names.append(f"{split}-{len(names):05d}.arrow")
        of_shard = islice(chain(first, pairs), rows_per_shard)
        schema = GROUPED if grouped else SCHEMA
        with pa.OSFile(str(folder / names[-1]), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            while rows := list(islice(of_shard, ROWS_PER_BATCH)):
                writer.write_batch(_record_batch(rows, encoders, numbers))
                update_digest("".join(f"{source}\n{target}\n" for source, target in rows).encode())
    return tuple(names)


class _Groups:
    """Numbers the sources of consecutive pairs."""

    def __init__(self) -> None:
        self._number = -1
        self._source: str | None = None

    def __call__(self, source: str) -> int:
        if source != self._source:
            self._number, self._source = self._number + 1, source
        return self._number


def _record_batch(
    rows: list[tuple[str, str]], encoders: tuple[Encode, Encode], numbers: _Groups | None
) -> Any:
    texts = list(zip(*rows, strict=True))
    columns = [
        pa.array([encode(line) for line in lines], pa.list_(pa.int32()))
        for encode, lines in zip(encoders, texts, strict=True)
    ]
    columns += [pa.array(lines, pa.string()) for lines in texts]
    if numbers is None:
        return pa.record_batch(columns, schema=SCHEMA)
    groups = pa.array([numbers(source) for source in texts[0]], pa.int64())
    return pa.record_batch([*columns, groups], schema=GROUPED)


def _lengths(offsets: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int32), *map(np.diff, offsets)])
