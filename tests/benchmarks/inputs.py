"""Sentences and batches as text gives them, from numbers drawn at random: what the benchmarks work on."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from raysq.types import EOS, PAD, UNK, Batch

REPLACED = 0.4
"""Share of a reference's words that a hypothesis has otherwise."""


def random_words(
    generator: np.random.Generator, shape: tuple[int, ...], vocabulary_size: int
) -> NDArray[np.int32]:
    """Ids of words proper, the likelier the lower (Zipf)."""
    ranks = generator.zipf(1.3, size=shape) % (vocabulary_size - UNK - 1)
    return (ranks + UNK + 1).astype(np.int32)


def random_batch(
    generator: np.random.Generator, vocabulary_size: int, batch_size: int = 50, length: int = 22
) -> Batch:
    """Pairs whose sides have length - 6 .. length + 6 tokens (at least 2), eos counted."""
    lengths = np.maximum(2, generator.integers(length - 6, length + 7, size=(2, batch_size)))

    def side(of_side: NDArray[np.int64]) -> torch.Tensor:
        tokens = torch.from_numpy(random_words(generator, (batch_size, of_side.max()), vocabulary_size))
        steps, last = torch.arange(of_side.max()), torch.from_numpy(of_side)[:, None] - 1
        return tokens.long().where(steps < last, torch.where(steps == last, EOS, PAD))

    source, reference = map(side, lengths)
    words = [
        row[: length - 1].numpy().astype(np.int32) for row, length in zip(reference, lengths[1], strict=True)
    ]
    return Batch(
        example_ids=torch.arange(batch_size),
        source=source,
        source_mask=source != PAD,
        reference=reference,
        reference_mask=reference != PAD,
        references=[[row] for row in words],
        global_size=batch_size,
        offset=0,
        longest_reference=int(lengths[1].max()) + 1,
        word_counts=np.ones(vocabulary_size, np.int64),
    )


def random_pairs(
    generator: np.random.Generator, num_pairs: int, num_words: int, num_references: int, vocabulary_size: int
) -> tuple[NDArray[np.int32], list[list[NDArray[np.int32]]]]:
    """Hypotheses [num_pairs, num_words], and of each its references, which share most of its words."""
    hypotheses = random_words(generator, (num_pairs, num_words), vocabulary_size)
    references = []
    for hypothesis in hypotheses:
        other = random_words(generator, (num_references, num_words), vocabulary_size)
        replaced = generator.random(other.shape) < REPLACED
        references.append(list(np.where(replaced, other, hypothesis)))
    return hypotheses, references
