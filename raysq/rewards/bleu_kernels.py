"""The compiled kernels of sentence BLEU: every prefix of a hypothesis, and the word that would come next.

``raysq.rewards.bleu`` defines what they compute. All of them are in this one file because numba's cache of a
kernel does not notice when a function that it calls changes in another file. No divisor in them is ever 0:
``error_model="numpy"`` saves the check.

Matches. m_n(t) = m_n(t-1) + 1 if y_{1:t-1} holds the n-gram that ends at y_t less often than one of the
references does, else m_n(t-1). So all there is to do is to count how often the n-grams that end at each y_t
stand in a text: in every reference, and in the hypothesis up to there.

Counting. Let E_n(t) be the positions of the text at which the n-gram that ends at y_t ends:

    E_1(t) = {j : text_j = y_t},  E_n(t) = E_1(t) & {j + 1 : j in E_{n-1}(t-1)}

With the sets as bits of an integer (as in Baeza-Yates and Gonnet 1992) this is a shift and an "and", and the
count is the number of bits. A text of more words than an integer has bits is taken in blocks.

The next word. Each word w of the references is put in the place of y_{t+1}: its E_n follow from E_n(t).
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
BLOCK = 60
"""Words counted at once: with the MAX_ORDER - 1 in front of them they fill the bits of int64 but its sign."""
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
    room = np.empty((3, T, MAX_ORDER), np.int32)
    matches = np.empty(MAX_ORDER, np.int32)
    for i in range(N):
        bounds = offsets[starts[i] : starts[i + 1] + 1]
        words = hypotheses[i, : lengths[i]]
        gains = _gains(words, len(words), tokens, bounds, scoring.match_unknown, room)
        matches[:] = 0
        score = 0.0
        for t in range(1, len(words) + 1):
            for n in range(MAX_ORDER):
                matches[n] += gains[t - 1, n]
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
    width = 0
    for i in range(N):
        width = max(width, offsets[starts[i + 1]] - offsets[starts[i]])
    room = np.empty((3, T + width, MAX_ORDER), np.int32)
    line = np.empty(T + width, np.int32)  # a prefix, and the words that could follow it
    matches = np.empty(MAX_ORDER, np.int32)
    extended = np.empty(MAX_ORDER, np.int32)
    words = np.zeros((N, width), np.int32)  # zero is pad
    rewards = np.zeros((N, width))
    default = np.empty(N)
    most = 0
    for i in range(N):
        bounds = offsets[starts[i] : starts[i + 1] + 1]
        t = lengths[i]
        line[:t] = prefixes[i, :t]
        end = t
        for word in tokens[bounds[0] : bounds[-1]]:
            if not (_holds(line[t:end], word) or (word == UNK and not scoring.match_unknown)):
                line[end] = word
                end += 1
        gains = _gains(line[:end], t, tokens, bounds, scoring.match_unknown, room)
        matches[:] = 0
        for s in range(t):
            matches += gains[s]
        payoff = _bleu(matches, t, _closest_length(t, bounds), scoring)
        closest = _closest_length(t + 1, bounds)
        default[i] = _bleu(matches, t + 1, closest, scoring) - payoff
        for k in range(end - t):
            np.add(matches, gains[t + k], extended)
            words[i, k] = line[t + k]
            rewards[i, k] = _bleu(extended, t + 1, closest, scoring) - payoff
        most = max(most, end - t)
    return words[:, :most].copy(), rewards[:, :most].copy(), default


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _gains(
    words: NDArray[np.int32],
    length: int,
    tokens: NDArray[np.int32],
    bounds: NDArray[np.int64],
    match_unknown: bool,
    room: NDArray[np.int32],
) -> NDArray[np.int32]:
    """[W, 4]: 1 where the n-gram that ends at one of ``words`` [W] is a clipped match, else 0.

    The first ``length`` words are a sequence, each of the others could follow it. The answer is written into
    ``room`` [3, W or more, 4].
    """
    W = len(words)
    gains, uses, counts = room[0, :W], room[1, :W], room[2, :W]
    _count(words, length, words[:length], True, match_unknown, uses)
    gains[:] = 0
    for r in range(len(bounds) - 1):
        _count(words, length, tokens[bounds[r] : bounds[r + 1]], False, match_unknown, counts)
        for t in range(W):
            for n in range(MAX_ORDER):
                gains[t, n] |= uses[t, n] < counts[t, n]
    return gains


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _count(
    words: NDArray[np.int32],
    length: int,
    text: NDArray[np.int32],
    only_before: bool,
    match_unknown: bool,
    counts: NDArray[np.int32],
) -> None:
    """Write to ``counts`` [W, 4] how often the n-grams that end at each of ``words`` [W] stand in ``text``.

    ``words`` and ``length``: see ``_gains``. ``only_before`` counts what ends before the word's own position.
    An n-gram may begin before the block it ends in: the MAX_ORDER - 1 words before a block are read with it,
    and what ends there is shifted out.
    """
    counts[:] = 0
    for first in range(0, len(text), BLOCK):
        start = max(0, first - MAX_ORDER + 1)
        block = text[start : first + BLOCK]
        before = first - start
        last_one, last_two, last_three = 0, 0, 0
        for t in range(len(words)):
            seen = max(0, t - start) if only_before else len(block)
            one = 0
            if words[t] != UNK or match_unknown:
                one = _positions(words[t], block[:seen])
            two = one & (last_one << 1)
            three = one & (last_two << 1)
            four = one & (last_three << 1)
            counts[t, 0] += _num_bits(one >> before)
            counts[t, 1] += _num_bits(two >> before)
            counts[t, 2] += _num_bits(three >> before)
            counts[t, 3] += _num_bits(four >> before)
            if t < length:
                last_one, last_two, last_three = one, two, three


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _positions(word: int, text: NDArray[np.int32]) -> int:
    """The positions of ``word`` in ``text``, of 63 words at most, as bits."""
    bits = 0
    for j in range(len(text)):
        bits |= int(text[j] == word) << j
    return bits


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _num_bits(bits: int) -> int:
    """How many bits of a number that is not negative are set; compiled to the processor's instruction."""
    count = 0
    while bits:
        bits &= bits - 1
        count += 1
    return count


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
    """BLEU of a prefix of ``words`` words with m_n = ``matches`` [4]."""
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
            if matches[n] == 0:
                score *= SMALLEST**0.25
    if scoring.brevity_penalty and words < reference_words:
        score *= math.exp(1.0 - longer / words)
    return score


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _added_one(matches: NDArray[np.int32], words: int, orders: int, variant: int) -> float:
    """The product of the precisions of orders 1 .. ``orders`` with one added to matches and candidates."""
    added = 0.0 if variant == LIN_OCH_N2 else 1.0
    precision = (matches[0] + added) / (words + added)
    for n in range(1, MAX_ORDER):
        if n < orders:  # the range is constant, so that it is unrolled
            precision *= (matches[n] + 1.0) / (max(words - n, 0) + 1.0)
    return precision


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _zeros_replaced(matches: NDArray[np.int32], words: int, variant: int) -> float:
    """The product of the precisions, those without a match replaced as the variant does."""
    if matches[0] == 0 and variant != BSO:
        return 0.0
    precision = 1.0
    pseudo = 1.0
    for n in range(MAX_ORDER):
        candidates = max(words - n, 0)
        if matches[n] > 0:
            precision *= matches[n] / candidates
        elif variant == NLTK_M3 or (variant == BSO and candidates > 0):
            pseudo *= 0.5
            precision *= pseudo / max(candidates, 1)
    return precision
