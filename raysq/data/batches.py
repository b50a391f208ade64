"""Batches: which examples go together, and their tensors.

The global batches of an epoch are a function of (seed, epoch) and the lengths only, never of the number of
ranks: every rank computes the same list and collates its slice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from raysq.data.split import Split
from raysq.types import EOS, PAD, Batch

POOL_BATCHES = 20
"""Batches sorted by length together: more waste less padding, fewer mix the examples better."""


def epoch_batches(
    source_lengths: np.ndarray, target_lengths: np.ndarray, batch_size: int, seed: int, epoch: int
) -> list[np.ndarray]:
    """The global batches of an epoch: every example once, similar lengths together, in random order.

    The examples are permuted, cut into pools of `POOL_BATCHES` batches, each pool is sorted by target and
    then source length and cut into batches; the batches are permuted. Cuts are even, so that no batch is a
    small rest: every learner finds examples in it.

    Args:
        source_lengths: [examples]
        target_lengths: [examples]
        batch_size: examples in a global batch, over all ranks.
        seed: of the run, not negative.
        epoch: from 0.

    Returns:
        int64 example ids by batch.

    Raises:
        ValueError: the lengths are not of the same examples, or batch_size < 1.
    """
    if len(source_lengths) != len(target_lengths):
        raise ValueError(f"{len(source_lengths)} source lengths, {len(target_lengths)} target lengths")
    generator = np.random.default_rng((seed, epoch))
    batches: list[np.ndarray] = []
    for pool in _cut_evenly(generator.permutation(len(source_lengths)), POOL_BATCHES * batch_size):
        by_length = np.lexsort((source_lengths[pool], target_lengths[pool]))
        batches += _cut_evenly(pool[by_length], batch_size)
    return [batches[k] for k in generator.permutation(len(batches))]


def evaluation_batches(split: Split, batch_size: int) -> list[np.ndarray]:
    """Positions of a split by batch, longest source first so that a lack of memory shows at once.

    Ties keep the order of the split; every position occurs once. Raises ValueError if batch_size < 1.
    """
    return _cut(np.argsort(-split.source_lengths, kind="stable"), batch_size)


def collate(split: Split, example_ids: np.ndarray, rank: int = 0, world_size: int = 1) -> Batch:
    """This rank's contiguous slice of a global batch, padded to the slice's own width.

    Slices differ by at most one example, the first ranks have the longer ones.

    Args:
        split: where the examples are.
        example_ids: [examples of the global batch] positions in the split.
        rank: of this learner.
        world_size: learners.

    Raises:
        ValueError: the global batch has fewer examples than there are ranks, or rank is not in
            [0, world_size).
        IndexError: an id is not in the split.
    """
    if not 0 <= rank < world_size:
        raise ValueError(f"rank {rank} is not in [0, {world_size})")
    if len(example_ids) < world_size:
        raise ValueError(f"{len(example_ids)} examples in a global batch for {world_size} ranks")
    size, left_over = divmod(len(example_ids), world_size)
    start = rank * size + min(rank, left_over)
    mine = example_ids[start : start + size + (rank < left_over)]
    targets = [split.target(i) for i in mine]
    source, source_mask = _sources(split, mine)
    reference, reference_mask = _pad(targets)
    return Batch(
        example_ids=torch.from_numpy(mine.astype(np.int64)),
        source=source,
        source_mask=source_mask,
        reference=reference,
        reference_mask=reference_mask,
        references=[split.references(i) for i in mine],
        global_size=len(example_ids),
        offset=start,
        longest_reference=int(split.target_lengths[example_ids].max()) + 2,
        word_counts=split.target_word_counts,
    )


def _sources(split: Split, example_ids: np.ndarray) -> tuple[Tensor, Tensor]:
    """Words and their mask, or [B, 1, F] features of images and a mask of ones."""
    sources = [split.source(i) for i in example_ids]
    if split.features is None:
        return _pad(sources)
    vectors = torch.from_numpy(split.features.read(np.concatenate(sources).astype(np.int64)))
    return vectors.unsqueeze(1), torch.ones(len(sources), 1, dtype=torch.bool)


def _cut(ids: np.ndarray, size: int) -> list[np.ndarray]:
    if size < 1:
        raise ValueError(f"batch_size must be at least 1, got {size}")
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def _cut_evenly(ids: np.ndarray, size: int) -> list[np.ndarray]:
    """Parts of at most ``size`` that differ by one at most."""
    return np.array_split(ids, len(_cut(ids, size))) if len(ids) else []


def _pad(rows: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """[B, width] ids of the words and eos, right-padded, and their mask."""
    lengths = np.array([len(row) + 1 for row in rows], dtype=np.int64)
    width = int(lengths.max(initial=1))
    ids = np.full((len(rows), width), PAD, dtype=np.int64)
    for padded, row in zip(ids, rows, strict=True):
        padded[: len(row)] = row
        padded[len(row)] = EOS
    return torch.from_numpy(ids), torch.from_numpy(np.arange(width) < lengths[:, None])
