"""What the compiled kernels take on trust: ids and lengths checked, contiguous, read-only; unk told apart.

Kernels compare ids and nothing else. Where unk matches nothing, the references' unk is replaced by an id that
no hypothesis holds, so that no kernel needs to know.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysq.arrays import read_only
from raysq.rewards.base import ExtensionRewards, PackedReferences, word_ids
from raysq.types import PAD, UNK

UNMATCHED = -1
"""Stands in the references for an unk that matches nothing."""
NEW_WORD = -2
"""A word that stands nowhere, neither in the hypothesis nor in a reference."""


def kernel_arguments(
    sequences: NDArray[np.int32], name: str, lengths: NDArray[np.int64], references: PackedReferences
) -> tuple[NDArray[Any], ...]:
    """Sequences [N, T], lengths [N] and the three arrays of the references, as kernels take them first.

    Raises:
        ValueError: shapes that do not fit, ids that are not integers, or lengths outside 0..T; ``name`` is
            what the sequences are called in it.
    """
    ids = word_ids(sequences, name, num_axes=2)
    N, T = ids.shape
    if len(references) != N:
        raise ValueError(f"{N} {name} but references for {len(references)}")
    if lengths.shape != (N,) or not (np.issubdtype(lengths.dtype, np.integer) or N == 0):
        raise ValueError(f"lengths must be {N} integers, not {lengths.dtype} {list(lengths.shape)}")
    if N and (lengths.min() < 0 or lengths.max() > T):
        raise ValueError(f"lengths must lie in 0..{T}, the width of {name}")
    of_sequences = (ids, lengths.astype(np.int64, copy=False))
    of_references = (references.tokens, references.offsets, references.starts)
    return tuple([read_only(array) for array in (*of_sequences, *of_references)])


def without_unknown(references: PackedReferences) -> PackedReferences:
    """The references with ``UNMATCHED`` in place of unk, which then matches nothing."""
    tokens = np.where(references.tokens == UNK, np.int32(UNMATCHED), references.tokens)
    return replace(references, tokens=tokens)


def words_of_references(references: PackedReferences) -> NDArray[np.int32]:
    """[N, W] all words of each hypothesis' references; pad in place of ``UNMATCHED`` and at the end."""
    bounds = references.offsets[references.starts]
    inside = np.arange(np.diff(bounds).max(initial=0)) < np.diff(bounds)[:, None]
    words = np.full(inside.shape, PAD, np.int32)
    words[inside] = np.maximum(references.tokens, PAD)
    return words


def candidates(words: NDArray[np.int32]) -> NDArray[np.int32]:
    """[N, K + 1] the distinct words of each row [N, W], pads last, and then ``NEW_WORD``."""
    ordered = np.sort(words, axis=1)
    ordered[:, 1:][ordered[:, 1:] == ordered[:, :-1]] = PAD
    distinct = -np.sort(-ordered, axis=1)
    K = (distinct != PAD).sum(1).max(initial=0)
    new_word = np.full((len(words), 1), NEW_WORD, np.int32)
    return np.concatenate((distinct[:, :K], new_word), axis=1)


def earned(words: NDArray[np.int32], rewards: NDArray[np.float64]) -> ExtensionRewards:
    """The rewards [N, K + 1] of ``candidates`` [N, K + 1] as they are handed on."""
    listed = words[:, :-1]
    return ExtensionRewards(listed, np.where(listed == PAD, 0.0, rewards[:, :-1]), rewards[:, -1])
