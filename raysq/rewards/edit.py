"""Minus a distance between a prefix and the closest reference: edit distance and Hamming distance.

For the prefix y_{1:t} and references y*_1 .. y*_R of T_1 .. T_R words, without bos and eos:

    R(y_{1:t}) = -min_r d(y_{1:t}, y*_r)

- Edit distance (Levenshtein 1966; the payoff of RAML, Norouzi et al. 2016): the fewest words to insert,
  delete or substitute. With D[t, j] = d(y_{1:t}, y*_{1:j}), D[t, 0] = t, D[0, j] = j:

      D[t, j] = min(D[t-1, j-1] + [y_t != y*_j], D[t-1, j] + 1, D[t, j-1] + 1)

- Hamming distance: the positions that differ. It is defined for equal lengths; here a missing and a surplus
  position count one each, so that a word in its place earns 1, a wrong one 0, a surplus one -1:

      d(y_{1:t}, y*) = #{j <= min(t, T*) : y_j != y*_j} + |T* - t|

Both give R(empty) = -min_r T_r, which is not 0: the sum of the rewards by token is R(y) - R(empty). Neither
is divided by a length. Where unk matches nothing, every unk of the hypothesis is a difference.

The sweep. One row per reference holds D[t, .]; a word costs O(T*) (Hamming: O(1), the row's last entry alone
is kept). What a word would earn as the next one is one more row on a copy.
"""

from __future__ import annotations

from typing import ClassVar

import numba
import numpy as np
from numpy.typing import NDArray

from raysq.config import Config
from raysq.rewards.arguments import (
    candidates,
    earned,
    kernel_arguments,
    without_unknown,
    words_of_references,
)
from raysq.rewards.base import ExtensionRewards, PackedReferences


class _Distance(Config):
    """What both have: the closest reference, the treatment of unk, and the kernels."""

    match_unknown: bool = False
    """Whether unk matches unk; otherwise it matches nothing."""
    _in_place: ClassVar[bool]
    """Whether words are compared in their places only (Hamming)."""

    def prefix_scores(
        self, hypotheses: NDArray[np.int32], lengths: NDArray[np.int64], references: PackedReferences
    ) -> NDArray[np.float64]:
        """-min_r d [N, T] of every prefix."""
        if not self.match_unknown:
            references = without_unknown(references)
        arguments = kernel_arguments(hypotheses, "hypotheses", lengths, references)
        return distance_prefix_kernel(*arguments, self._in_place)

    def empty_score(self, references: PackedReferences) -> NDArray[np.float64]:
        """-min_r T_r [N]."""
        num_words = np.diff(references.offsets)
        return -np.minimum.reduceat(num_words, references.starts[:-1]).astype(np.float64)

    def extension_rewards(
        self, prefixes: NDArray[np.int32], lengths: NDArray[np.int64], references: PackedReferences
    ) -> ExtensionRewards:
        """What each word would earn next: 1, 0 or -1."""
        if not self.match_unknown:
            references = without_unknown(references)
        arguments = kernel_arguments(prefixes, "prefixes", lengths, references)
        words = candidates(words_of_references(references))
        return earned(words, distance_extension_kernel(*arguments, words, self._in_place))


class EditDistance(_Distance):
    """Minus the edit distance to the closest reference [words]; a ``RewardFunction``."""

    _in_place: ClassVar[bool] = False


class Hamming(_Distance):
    """Minus the Hamming distance to the closest reference [words]; a ``RewardFunction``."""

    _in_place: ClassVar[bool] = True


@numba.njit(cache=True, nogil=True)
def distance_prefix_kernel(
    hypotheses: NDArray[np.int32],
    lengths: NDArray[np.int64],
    tokens: NDArray[np.int32],
    offsets: NDArray[np.int64],
    starts: NDArray[np.int64],
    in_place: bool,
) -> NDArray[np.float64]:
    """-min_r d [N, T] of every prefix of hypotheses [N, T]; checks nothing."""
    N, T = hypotheses.shape
    scores = np.full((N, T), -np.inf)
    for i in range(N):
        for r in range(starts[i], starts[i + 1]):
            reference = tokens[offsets[r] : offsets[r + 1]]
            row = np.arange(len(reference) + 1)
            for t in range(T):
                if t < lengths[i]:
                    _add_word(row, hypotheses[i, t], t, reference, in_place)
                scores[i, t] = max(scores[i, t], -row[-1])
    return scores


@numba.njit(cache=True, nogil=True)
def distance_extension_kernel(
    prefixes: NDArray[np.int32],
    lengths: NDArray[np.int64],
    tokens: NDArray[np.int32],
    offsets: NDArray[np.int64],
    starts: NDArray[np.int64],
    words: NDArray[np.int32],
    in_place: bool,
) -> NDArray[np.float64]:
    """What each of ``words`` [N, K] would earn after prefixes [N, T]; checks nothing."""
    N, K = words.shape
    rewards = np.full((N, K), -np.inf)
    for i in range(N):
        before = -np.inf
        for r in range(starts[i], starts[i + 1]):
            reference = tokens[offsets[r] : offsets[r + 1]]
            row = np.arange(len(reference) + 1)
            for t in range(lengths[i]):
                _add_word(row, prefixes[i, t], t, reference, in_place)
            before = max(before, -row[-1])
            longer = np.empty_like(row)
            for k in range(K):
                longer[:] = row
                _add_word(longer, words[i, k], lengths[i], reference, in_place)
                rewards[i, k] = max(rewards[i, k], -longer[-1])
        rewards[i] -= before
    return rewards


@numba.njit(cache=True, nogil=True)
def _add_word(
    row: NDArray[np.int64], word: int, t: int, reference: NDArray[np.int32], in_place: bool
) -> None:
    """Take ``row`` from D[t, .] to D[t+1, .] with y_{t+1} = ``word``; in place: its last entry only."""
    T = len(reference)
    if in_place:
        if t >= T:
            row[T] += 1
        elif word == reference[t]:
            row[T] -= 1
        return
    corner = row[0]
    row[0] = t + 1
    for j in range(T):
        substituted = corner + (word != reference[j])
        corner = row[j + 1]
        row[j + 1] = min(substituted, corner + 1, row[j] + 1)
