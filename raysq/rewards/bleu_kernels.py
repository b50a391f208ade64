"""The compiled kernels of sentence BLEU: the sweep over a hypothesis, and the word that would come next.

``raysq.rewards.bleu`` defines what they compute. All of them are in this one file because numba's cache of a
kernel does not notice when a function that it calls changes in another file. No divisor in them is ever 0:
``error_model="numpy"`` saves the check. With that and ``_find`` inlined they take three quarters of the time.

The sweep. Let L[t, j] = length, at most 4, of the common suffix of y_{1:t} and y*_{1:j}. The n-gram that ends
at y_t occurs c = #{j : L[t, j] >= n} times in a reference (with several, the largest c counts), and the first
such j names it. It is a clipped match while its uses so far, counted at that j, are at most c (L alone would
overcount a hypothesis that repeats). So all T prefixes cost one pass of T times |y*| comparisons.

The next word. After the sweep, L[t, .] is what word t + 1 would start from: a look at the references (of
|y*| comparisons) tells for a word w how often each n-gram that would end at it occurs in the references, and
by its name how often the prefix has used it. So a prefix costs its sweep and one look per distinct word of
the references.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from raysq.types import UNK

MAX_ORDER = 4
LIN_OCH_ALL, LIN_OCH_N2, MIXER, NLTK_M0_32, NLTK_M0_33, NLTK_M3, BSO = range(7)
COUNT, NAME, HERE = range(3)
"""Rows of ``found``: occurrences in a reference, first end, occurrences in the reference at hand."""
SMALLEST = float(np.finfo(np.float64).tiny)
"""NLTK's stand-in for a precision of 0, the smallest normal float64."""


class Scoring(NamedTuple):
    """How counts become a score."""

    variant: int
    match_unknown: bool
    brevity_penalty: bool


@numba.njit(cache=True, nogil=True, error_model="numpy")
def prefix_bleu_kernel(
    hypotheses: NDArray[np.int32],
    lengths: NDArray[np.int64],
    tokens: NDArray[np.int32],
    offsets: NDArray[np.int64],
    starts: NDArray[np.int64],
    scoring: Scoring,
) -> NDArray[np.float64]:
    """Scores [N, T] of all prefixes of hypotheses [N, T] against ``PackedReferences``; checks nothing."""
    N, T = hypotheses.shape
    scores = np.zeros((N, T))
    suffix, uses, found = _room(offsets, starts)
    matches = np.zeros((T + 1, MAX_ORDER), np.int32)
    for i in range(N):
        bounds = offsets[starts[i] : starts[i + 1] + 1]
        words = hypotheses[i, : lengths[i]]
        _sweep(words, tokens, bounds, scoring.match_unknown, suffix, uses, found, matches)
        score = 0.0
        for t in range(1, len(words) + 1):
            score = _bleu(matches, t, _closest_length(t, bounds), scoring)
            scores[i, t - 1] = score
        scores[i, len(words) :] = score
    return scores


@numba.njit(cache=True, nogil=True, error_model="numpy")
def extension_bleu_kernel(
    prefixes: NDArray[np.int32],
    lengths: NDArray[np.int64],
    tokens: NDArray[np.int32],
    offsets: NDArray[np.int64],
    starts: NDArray[np.int64],
    scoring: Scoring,
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]:
    """``ExtensionRewards`` of prefixes [N, T] of ``lengths`` [N] words (0..T): words, rewards, default."""
    N, T = prefixes.shape
    suffix, uses, found = _room(offsets, starts)
    before = np.empty_like(suffix)
    matches = np.zeros((T + 2, MAX_ORDER), np.int32)
    words = np.zeros((N, len(suffix)), np.int32)  # zero is pad
    rewards = np.zeros((N, len(suffix)))
    default = np.empty(N)
    most = 0
    for i in range(N):
        bounds = offsets[starts[i] : starts[i + 1] + 1]
        t = lengths[i]
        _sweep(prefixes[i, :t], tokens, bounds, scoring.match_unknown, suffix, uses, found, matches)
        payoff = _bleu(matches, t, _closest_length(t, bounds), scoring)
        closest = _closest_length(t + 1, bounds)
        matches[t + 1] = matches[t]
        default[i] = _bleu(matches, t + 1, closest, scoring) - payoff
        before[:] = suffix
        known = 0
        for word in tokens[bounds[0] : bounds[-1]]:
            if _holds(words[i, :known], word) or (word == UNK and not scoring.match_unknown):
                continue
            suffix[:] = before
            _find(word, tokens, bounds, suffix, found)
            for n in range(MAX_ORDER):
                count = found[COUNT, n]
                matches[t + 1, n] = matches[t, n] + (count > 0 and uses[found[NAME, n], n] < count)
            words[i, known] = word
            rewards[i, known] = _bleu(matches, t + 1, closest, scoring) - payoff
            known += 1
        most = max(most, known)
    return words[:, :most].copy(), rewards[:, :most].copy(), default


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _room(
    offsets: NDArray[np.int64], starts: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """What ``_sweep`` writes to, for the most words W of one hypothesis' references, laid end to end.

    suffix [W]: L[t, j] at each position j. uses [W, 4]: how often y_{1:t} has used the n-gram that j names.
    found [3, 4]: COUNT and NAME of the n-grams that end at y_t, and scratch.
    """
    width = 0
    for i in range(len(starts) - 1):
        width = max(width, offsets[starts[i + 1]] - offsets[starts[i]])
    return (
        np.empty(width, np.int32),
        np.empty((width, MAX_ORDER), np.int32),
        np.empty((3, MAX_ORDER), np.int32),
    )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _sweep(
    words: NDArray[np.int32],
    tokens: NDArray[np.int32],
    bounds: NDArray[np.int64],
    match_unknown: bool,
    suffix: NDArray[np.int32],
    uses: NDArray[np.int32],
    found: NDArray[np.int32],
    matches: NDArray[np.int32],
) -> None:
    """Write m_n of y_{1:t} to ``matches[t]``, t = 0 .. T = len(words); leave ``suffix`` at L[T, .]."""
    suffix[:] = 0
    uses[:] = 0
    matches[0] = 0
    for t in range(1, len(words) + 1):
        for n in range(MAX_ORDER):  # quicker than copying the row
            matches[t, n] = matches[t - 1, n]
        word = words[t - 1]
        if word == UNK and not match_unknown:
            suffix[:] = 0
            continue
        _find(word, tokens, bounds, suffix, found)
        for n in range(MAX_ORDER):
            if found[COUNT, n] > 0:
                name = found[NAME, n]
                uses[name, n] += 1
                if uses[name, n] <= found[COUNT, n]:
                    matches[t, n] += 1


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _find(
    word: int,
    tokens: NDArray[np.int32],
    bounds: NDArray[np.int64],
    suffix: NDArray[np.int32],
    found: NDArray[np.int32],
) -> None:
    """Take ``suffix`` from L[t-1, .] to L[t, .]; give counts and names of the n-grams that end at t.

    It runs downwards, so that suffix[j - 1] is still the previous word's, and the last name written is the
    first end. Where the count is 0 the name is left over from before and means nothing.
    """
    found[COUNT, :] = 0
    for r in range(len(bounds) - 2, -1, -1):
        found[HERE, :] = 0
        first = bounds[r] - bounds[0]
        for j in range(bounds[r + 1] - bounds[0] - 1, first - 1, -1):
            if tokens[bounds[0] + j] != word:
                suffix[j] = 0
                continue
            suffix[j] = min(MAX_ORDER, suffix[j - 1] + 1) if j > first else 1
            for n in range(suffix[j]):
                found[HERE, n] += 1
                found[NAME, n] = j
        for n in range(MAX_ORDER):
            found[COUNT, n] = max(found[COUNT, n], found[HERE, n])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _holds(words: NDArray[np.int32], word: int) -> bool:
    """Whether ``word`` is among ``words``."""
    for known in words:  # noqa: SIM110 - numba compiles no generator in any()
        if known == word:
            return True
    return False


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _closest_length(words: int, bounds: NDArray[np.int64]) -> int:
    """Length of the reference whose length is closest to ``words``, ties to the shorter."""
    closest = bounds[1] - bounds[0]
    for r in range(1, len(bounds) - 1):
        length = bounds[r + 1] - bounds[r]
        nearer = abs(length - words) - abs(closest - words)
        if nearer < 0 or (nearer == 0 and length < closest):
            closest = length
    return closest


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _bleu(matches: NDArray[np.int32], words: int, reference_words: int, scoring: Scoring) -> float:
    """BLEU of the prefix of ``words`` words, its m_n at ``matches[words]``."""
    orders = MAX_ORDER
    longer = reference_words
    if scoring.variant == MIXER:
        orders = min(MAX_ORDER, words, reference_words)
        longer = reference_words + 1
    if words == 0 or orders == 0:
        return 0.0
    if scoring.variant <= MIXER:
        precision = _added_one(matches, words, orders, scoring.variant)
    else:
        precision = _zeros_replaced(matches, words, scoring.variant)
    fourth_root = math.sqrt(math.sqrt(precision))  # cheaper than a power or the exp of a mean of logs
    score = fourth_root if orders == MAX_ORDER else precision ** (1.0 / orders)
    if scoring.variant == NLTK_M0_33:
        for n in range(1, MAX_ORDER):  # root by root: the product of two such precisions is no float64
            if matches[words, n] == 0:
                score *= SMALLEST**0.25
    if scoring.brevity_penalty and words < reference_words:
        score *= math.exp(1.0 - longer / words)
    return score


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _added_one(matches: NDArray[np.int32], words: int, orders: int, variant: int) -> float:
    """The product of the precisions of orders 1 .. ``orders`` with one added to matches and candidates."""
    added = 0.0 if variant == LIN_OCH_N2 else 1.0
    precision = (matches[words, 0] + added) / (words + added)
    for n in range(1, MAX_ORDER):
        if n < orders:  # the range is constant, so that it is unrolled
            precision *= (matches[words, n] + 1.0) / (max(words - n, 0) + 1.0)
    return precision


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _zeros_replaced(matches: NDArray[np.int32], words: int, variant: int) -> float:
    """The product of the precisions, those without a match replaced as the variant does."""
    if matches[words, 0] == 0 and variant != BSO:
        return 0.0
    precision = 1.0
    pseudo = 1.0
    for n in range(MAX_ORDER):
        candidates = max(words - n, 0)
        if matches[words, n] > 0:
            precision *= matches[words, n] / candidates
        elif variant == NLTK_M3 or (variant == BSO and candidates > 0):
            pseudo *= 0.5
            precision *= pseudo / max(candidates, 1)
    return precision
