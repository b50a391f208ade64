"""What a reward function is, and references packed for compiled kernels and for transport."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

_INT32 = np.iinfo(np.int32)


class RewardFunction(Protocol):
    """Scores hypotheses of word ids against their references (no bos, no eos, on either side).

    Implementations are pure and picklable: reward workers get a copy, and a call that was lost with its
    worker is made again.
    """

    def prefix_scores(
        self, hypotheses: NDArray[np.int32], lengths: NDArray[np.int64], references: PackedReferences
    ) -> NDArray[np.float64]:
        """Payoffs R(y_{1:t}) [N, T], t = 1..T, of hypotheses [N, T] of ``lengths`` [N] words.

        Past its end a hypothesis keeps its last value. The arrays may be read-only.
        """
        ...

    def empty_score(self, references: PackedReferences) -> NDArray[np.float64]:
        """Payoff of the empty prefix [N], which the first word's reward is measured from."""
        ...

    def extension_rewards(
        self, prefixes: NDArray[np.int32], lengths: NDArray[np.int64], references: PackedReferences
    ) -> ExtensionRewards:
        """What each word would earn as the next one of prefixes [N, T] of ``lengths`` [N] words (0..T)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ExtensionRewards:
    """R(y_{1:t} + w) - R(y_{1:t}) of every word w, unscaled; sparse: the words not listed all earn the same.

    eos earns 0 (the payoff of a prefix is that of the sequence it ends) and is not among the words.
    """

    words: NDArray[np.int32]
    """[N, K] distinct words, padded with pad: those of the references (no unk where it matches nothing), and
    those of the prefix where a word that is there already earns otherwise than a new one."""
    rewards: NDArray[np.float64]
    """[N, K] what each of them earns; 0 at padding."""
    default: NDArray[np.float64]
    """[N] what any other word earns."""


@dataclass(frozen=True, slots=True, eq=False)
class PackedReferences:
    """The references of N hypotheses in three flat arrays: cheap to send, and what compiled kernels read.

    Hypothesis i owns the references ``starts[i] .. starts[i+1] - 1`` (at least one); reference r is
    ``tokens[offsets[r]:offsets[r+1]]``.

    Raises:
        ValueError: the arrays do not fit together (a kernel would read outside them), or a hypothesis has
            no reference.
    """

    tokens: NDArray[np.int32]
    """Word ids of all references, one after another."""
    offsets: NDArray[np.int64]
    """[R + 1] where each reference starts in ``tokens``."""
    starts: NDArray[np.int64]
    """[N + 1] the first reference of each hypothesis."""

    def __post_init__(self) -> None:
        if (self.tokens.dtype, self.offsets.dtype, self.starts.dtype) != (np.int32, np.int64, np.int64):
            raise ValueError("packed references need int32 tokens, int64 offsets and int64 starts")
        for name, bounds, end in (
            ("offsets", self.offsets, len(self.tokens)),
            ("starts", self.starts, len(self.offsets) - 1),
        ):
            if bounds.ndim != 1 or len(bounds) == 0 or bounds[0] != 0 or bounds[-1] != end:
                raise ValueError(f"packed references: {name} must run from 0 to {end}")
        if (np.diff(self.offsets) < 0).any():
            raise ValueError("packed references: offsets must not decrease")
        if (without := np.flatnonzero(np.diff(self.starts) <= 0)).size:
            raise ValueError(f"hypothesis {without[0]} has no reference; give each at least one")

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def own_lengths(self) -> NDArray[np.int64]:
        """[N] words of each hypothesis' first reference, the pair's own: T*."""
        return np.diff(self.offsets)[self.starts[:-1]]

    def own(self) -> PackedReferences:
        """Each hypothesis' first reference alone, the pair's own."""
        if len(self.starts) == len(self.offsets):  # there are no others
            return self
        lengths = self.own_lengths
        offsets = _running_total(lengths)
        first_tokens = self.offsets[self.starts[:-1]]
        places = np.repeat(first_tokens - offsets[:-1], lengths) + np.arange(offsets[-1])
        return PackedReferences(self.tokens[places], offsets, np.arange(len(offsets)))

    def between(self, first: int, last: int) -> PackedReferences:
        """The references of hypotheses ``first .. last - 1``; the tokens are shared, not copied."""
        starts = self.starts[first : last + 1]
        offsets = self.offsets[starts[0] : starts[-1] + 1]
        return PackedReferences(
            self.tokens[offsets[0] : offsets[-1]], offsets - offsets[0], starts - starts[0]
        )


@dataclass(frozen=True, slots=True)
class OwnReference:
    """A reward against the pair's own reference alone, whatever others there are; a ``RewardFunction``."""

    function: RewardFunction

    def prefix_scores(
        self, hypotheses: NDArray[np.int32], lengths: NDArray[np.int64], references: PackedReferences
    ) -> NDArray[np.float64]:
        """Payoffs [N, T] of every prefix."""
        return self.function.prefix_scores(hypotheses, lengths, references.own())

    def empty_score(self, references: PackedReferences) -> NDArray[np.float64]:
        """Payoff of nothing [N]."""
        return self.function.empty_score(references.own())

    def extension_rewards(
        self, prefixes: NDArray[np.int32], lengths: NDArray[np.int64], references: PackedReferences
    ) -> ExtensionRewards:
        """What each word would earn next."""
        return self.function.extension_rewards(prefixes, lengths, references.own())


def pack(references: Sequence[Sequence[ArrayLike]]) -> PackedReferences:
    """Pack one list of references (sequences of word ids) per hypothesis.

    Raises:
        ValueError: a hypothesis has no reference, or a reference is not a flat sequence of integers.
    """
    arrays = [
        reference
        if isinstance(reference, np.ndarray) and reference.dtype == np.int32 and reference.ndim == 1
        else word_ids(reference, f"references[{i}][{r}]", num_axes=1)
        for i, of_one in enumerate(references)
        for r, reference in enumerate(of_one)
    ]
    return PackedReferences(
        np.concatenate(arrays) if arrays else np.empty(0, np.int32),
        _running_total([len(array) for array in arrays]),
        _running_total([len(of_one) for of_one in references]),
    )


def word_ids(values: ArrayLike, name: str, num_axes: int) -> NDArray[np.int32]:
    """``values`` as contiguous int32 ids, not copied when they are that already.

    Raises:
        ValueError: not integers, not ``num_axes`` axes, or out of int32's range; ``name`` is said in it.
    """
    array = np.asarray(values)
    if array.ndim != num_axes:
        raise ValueError(f"{name} must have {num_axes} axes of word ids, not {array.ndim}")
    if array.dtype != np.int32 and array.size:
        if not np.issubdtype(array.dtype, np.integer):
            raise ValueError(f"{name} must hold integer word ids, not {array.dtype}")
        if array.min() < _INT32.min or array.max() > _INT32.max:
            raise ValueError(f"{name} holds a word id outside the range of int32")
    return np.ascontiguousarray(array, dtype=np.int32)


def _running_total(counts: ArrayLike) -> NDArray[np.int64]:
    """0 and the cumulative sums of ``counts``."""
    each = np.asarray(counts, np.int64)
    total = np.zeros(len(each) + 1, np.int64)
    np.cumsum(each, out=total[1:])
    return total
