"""The examples of a split, read from its shards.

A shard is an Arrow IPC file, uncompressed, whose record batches hold ``source`` and ``target``
(list<int32>, word ids without specials) beside the text they came from. Nothing is copied on reading. Where
sources have several references, ``group`` numbers the sources. An image's source is its row in the folder's
feature store, its text its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raysq.config import UserError
from raysq.data.manifest import prepare_again
from raysq.files import regular
from raysq.images.store import FeatureStore

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
        """Raises ValueError or pa.ArrowException where the batch is no shard's.

        It is looked through: Arrow takes offsets as they are, and one that leads out of the file would end
        the process.
        """
        if batch.schema not in (SCHEMA, GROUPED):
            raise ValueError(f"its columns are {', '.join(batch.schema.names)}")
        batch.validate(full=True)
        if any(column.null_count for column in batch.columns):
            raise ValueError("values are missing")
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
        self._chunks = [chunk for path in shards for chunk in _chunks(path)]
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
        return np.append(np.flatnonzero(np.diff(groups, prepend=groups[:1] - 1)), len(groups))

    def defect(self, pairs: int, num_sources: int) -> str | None:
        """What is not as the manifest has it, None where all is.

        Args:
            pairs: how many it has.
            num_sources: words of the source vocabulary; where the sources are images, features.
        """
        if self._starts[-1] != pairs:
            return f"{self._starts[-1]} pairs, not {pairs}"
        for chunk in self._chunks:
            for ids, bound in ((chunk.source, num_sources), (chunk.target, self._target_vocabulary_size)):
                if len(ids) and not 0 <= ids.min() <= ids.max() < bound:
                    return f"ids {ids.min()} to {ids.max()}, of {bound}"
            if self.features is not None and (np.diff(chunk.source_offsets) != 1).any():
                return "sources that are not one image each"
        return None

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


def _chunks(path: Path) -> list[_Chunk]:
    """The record batches of a shard. Raises UserError where it is damaged."""
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(regular(path))))
        return [_Chunk.of(reader.get_batch(k)) for k in range(reader.num_record_batches)]
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{path} is damaged ({error}): {prepare_again(path.parent)}") from error


def _lengths(offsets: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int32), *map(np.diff, offsets)])
