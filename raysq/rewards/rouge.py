"""ROUGE of every prefix of a hypothesis in one compiled sweep: ROUGE-1, ROUGE-2, ROUGE-L, or their sum.

Lin (2004). For the prefix y_{1:t} and a reference y* of T* words, counted without bos and eos:

    P_n = m_n / c_n,  R_n = m_n / c*_n              for n-grams, n = 1, 2
    P_L = L / t,      R_L = L / T*                  L the length of the longest common subsequence
    F   = (1 + beta^2) R P / (R + beta^2 P)

- ``rouge155`` (the definition, as ROUGE-1.5.5 computes it): c_n and c*_n count all n-grams,
  m_n = sum over distinct g of min(count_g(y_{1:t}), count_g(y*)), and beta = 1:

      F_n = 2 m_n / (c_n + c*_n),  F_L = 2 L / (t + T*)

- ``pltrdy_021`` (the package "rouge" 0.2.1, which the numbers of Tan et al. 2019, Table 2, were made with):
  n-grams are sets, so that c_n, c*_n, m_n count distinct ones; F_n has 1e-8 in its denominator; and ROUGE-L
  has beta = P_L / R_L = T* / t, which favours the smaller of P_L and R_L:

      F_n = 2 P_n R_n / (P_n + R_n + 1e-8) = 2 m_n / (c_n + c*_n + 1e-8 c_n c*_n / m_n)
      F_L = L (t^2 + T*^2) / (t^3 + T*^3)

The sum F_1 + F_2 + F_L lies in [0, 3]. With several references the best one counts, for the sum too, or the
mean over them (``over``). Without a match, hence with an empty hypothesis or reference, F = 0. An unk that
matches nothing is still a word: it counts in c_n, t and T*, in sets once.

Departures:
1. The package adds 1e-12 to two denominators of F_L; here there is nothing to divide by zero (below 1e-10).
2. The package cannot score an empty string; here it scores 0.

The sweep. A word adds at most one match of each order: it occurs for the u-th time in the prefix and is one
while u is at most its count in the reference (in sets: u = 1). L[t, .] is kept as one row. So a word costs
O(t + T*); what it would earn as the next one is that step on a copy.
"""

from __future__ import annotations

from typing import Literal

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
from raysq.types import PAD

RougeScore = Literal["rouge_1", "rouge_2", "rouge_l", "sum"]
RougeVariant = Literal["rouge155", "pltrdy_021"]
RougeOver = Literal["best", "mean"]
_WEIGHTS: dict[RougeScore, tuple[float, float, float]] = {
    "rouge_1": (1, 0, 0),
    "rouge_2": (0, 1, 0),
    "rouge_l": (0, 0, 1),
    "sum": (1, 1, 1),
}


class Rouge(Config):
    """ROUGE F as a reward (Tan et al. 2019, section 5.2); a ``RewardFunction``."""

    score: RougeScore = "sum"
    """Which F: of words, of pairs of words, of the longest common subsequence, or the sum of the three."""
    variant: RougeVariant = "rouge155"
    """The definition of ROUGE-1.5.5, or the one of the package rouge 0.2.1 (n-grams as sets, F_L biased)."""
    over: RougeOver = "best"
    """Whether the best of several references counts, or the mean over them."""
    match_unknown: bool = False
    """Whether unk matches unk; otherwise it matches nothing."""

    def prefix_scores(
        self, hypotheses: NDArray[np.int32], lengths: NDArray[np.int64], references: PackedReferences
    ) -> NDArray[np.float64]:
        """F [N, T] of every prefix."""
        if not self.match_unknown:
            references = without_unknown(references)
        arguments = kernel_arguments(hypotheses, "hypotheses", lengths, references)
        return rouge_prefix_kernel(
            *arguments, self._weights(), self.variant == "pltrdy_021", self.over == "mean"
        )

    def empty_score(self, references: PackedReferences) -> NDArray[np.float64]:
        """F of nothing [N]: 0."""
        return np.zeros(len(references))

    def extension_rewards(
        self, prefixes: NDArray[np.int32], lengths: NDArray[np.int64], references: PackedReferences
    ) -> ExtensionRewards:
        """What each word would earn next.

        With ``pltrdy_021`` the words of the prefix (unk as well) are listed too: in sets, a word that stands
        there already costs less than a new one that matches nothing either.
        """
        if not self.match_unknown:
            references = without_unknown(references)
        arguments = kernel_arguments(prefixes, "prefixes", lengths, references)
        sets = self.variant == "pltrdy_021"
        listed = words_of_references(references)
        if sets:
            ids, num_words = arguments[:2]
            inside = np.arange(ids.shape[1]) < num_words[:, None]
            listed = np.concatenate((listed, np.where(inside, ids, PAD)), axis=1)
        words = candidates(listed)
        mean = self.over == "mean"
        return earned(words, rouge_extension_kernel(*arguments, words, self._weights(), sets, mean))

    def _weights(self) -> NDArray[np.float64]:
        """[3] of F_1, F_2 and F_L in the score."""
        return np.array(_WEIGHTS[self.score], np.float64)


@numba.njit(cache=True, nogil=True)
def rouge_prefix_kernel(
    hypotheses: NDArray[np.int32],
    lengths: NDArray[np.int64],
    tokens: NDArray[np.int32],
    offsets: NDArray[np.int64],
    starts: NDArray[np.int64],
    weights: NDArray[np.float64],
    sets: bool,
    mean: bool,
) -> NDArray[np.float64]:
    """F [N, T] of every prefix of hypotheses [N, T], best or mean of the references; checks nothing."""
    N, T = hypotheses.shape
    scores = np.zeros((N, T))
    for i in range(N):
        R = starts[i + 1] - starts[i]
        for r in range(starts[i], starts[i + 1]):
            reference = tokens[offsets[r] : offsets[r + 1]]
            totals = _totals(reference, sets)
            counts, row = np.zeros((2, 2), np.int64), np.zeros(len(reference) + 1, np.int64)
            for t in range(lengths[i]):
                _add_word(counts, row, hypotheses[i], t, reference, sets)
                score = _rouge(counts, row, t + 1, totals, weights, sets)
                scores[i, t] = _with_reference(scores[i, t], score, R, mean)
        if lengths[i] > 0:
            scores[i, lengths[i] :] = scores[i, lengths[i] - 1]
    return scores


@numba.njit(cache=True, nogil=True)
def rouge_extension_kernel(
    prefixes: NDArray[np.int32],
    lengths: NDArray[np.int64],
    tokens: NDArray[np.int32],
    offsets: NDArray[np.int64],
    starts: NDArray[np.int64],
    words: NDArray[np.int32],
    weights: NDArray[np.float64],
    sets: bool,
    mean: bool,
) -> NDArray[np.float64]:
    """What each of ``words`` [N, K] would earn after prefixes [N, T]; checks nothing."""
    N, K = words.shape
    rewards = np.zeros((N, K))
    for i in range(N):
        n = lengths[i]
        extended = np.empty(n + 1, np.int32)
        extended[:n] = prefixes[i, :n]
        before = 0.0
        R = starts[i + 1] - starts[i]
        for r in range(starts[i], starts[i + 1]):
            reference = tokens[offsets[r] : offsets[r + 1]]
            totals = _totals(reference, sets)
            counts, row = np.zeros((2, 2), np.int64), np.zeros(len(reference) + 1, np.int64)
            for t in range(n):
                _add_word(counts, row, extended, t, reference, sets)
            score = _rouge(counts, row, n, totals, weights, sets)
            before = _with_reference(before, score, R, mean)
            new_counts, new_row = counts.copy(), row.copy()
            for k in range(K):
                new_counts[:] = counts
                new_row[:] = row
                extended[n] = words[i, k]
                _add_word(new_counts, new_row, extended, n, reference, sets)
                score = _rouge(new_counts, new_row, n + 1, totals, weights, sets)
                rewards[i, k] = _with_reference(rewards[i, k], score, R, mean)
        rewards[i] -= before
    return rewards


@numba.njit(cache=True, nogil=True)
def _with_reference(so_far: float, score: float, num_references: int, mean: bool) -> float:
    """The best or the mean of the references so far, one more included; it begins at 0."""
    return so_far + score / num_references if mean else max(so_far, score)


@numba.njit(cache=True, nogil=True)
def _add_word(
    counts: NDArray[np.int64],
    row: NDArray[np.int64],
    words: NDArray[np.int32],
    t: int,
    reference: NDArray[np.int32],
    sets: bool,
) -> None:
    """Take the state from y_{1:t} to y_{1:t+1} = ``words[:t + 1]``.

    ``counts`` [2, 2] holds m_n and c_n of n = 1, 2; ``row`` [T* + 1] holds L[t, .].
    """
    word = words[t]
    word_count, pair_count, corner = 0, 0, 0
    for j in range(len(reference)):
        above = row[j + 1]
        if reference[j] == word:
            word_count += 1
            pair_count += j > 0 and t > 0 and reference[j - 1] == words[t - 1]
            row[j + 1] = corner + 1
        else:
            row[j + 1] = max(above, row[j])
        corner = above
    uses = _uses(words, t)
    for n, count in enumerate((word_count, pair_count)):
        if uses[n] == 1 or (uses[n] > 1 and not sets):
            counts[0, n] += uses[n] <= count
            counts[1, n] += 1


@numba.njit(cache=True, nogil=True)
def _uses(words: NDArray[np.int32], t: int) -> tuple[int, int]:
    """How often ``words[t]``, and the pair that ends with it, occur up to there; the first ends no pair."""
    of_word, of_pair = 0, 0
    for i in range(t + 1):
        if words[i] == words[t]:
            of_word += 1
            of_pair += i > 0 and words[i - 1] == words[t - 1]
    return of_word, of_pair


@numba.njit(cache=True, nogil=True)
def _totals(reference: NDArray[np.int32], sets: bool) -> NDArray[np.int64]:
    """c*_n [2] of n = 1, 2."""
    totals = np.zeros(2, np.int64)
    for t in range(len(reference)):
        uses = _uses(reference, t)
        for n in range(2):
            totals[n] += uses[n] == 1 or (uses[n] > 1 and not sets)
    return totals


@numba.njit(cache=True, nogil=True)
def _rouge(
    counts: NDArray[np.int64],
    row: NDArray[np.int64],
    t: int,
    totals: NDArray[np.int64],
    weights: NDArray[np.float64],
    sets: bool,
) -> float:
    """The weighted sum of F_1, F_2 and F_L from the state after ``t`` words."""
    score = 0.0
    for n in range(2):
        matches, count, total = counts[0, n], counts[1, n], totals[n]
        if matches > 0:
            guard = 1e-8 * count * total / matches if sets else 0.0
            score += weights[n] * 2 * matches / (count + total + guard)
    common, T = row[-1], len(row) - 1
    if common > 0:
        score += weights[2] * common * ((t**2 + T**2) / (t**3 + T**3) if sets else 2 / (t + T))
    return score
