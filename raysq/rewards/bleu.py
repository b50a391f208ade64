"""Sentence BLEU of every prefix of a hypothesis in one compiled sweep.

For the prefix y_{1:t} and references y*_1 .. y*_R, with t words counted without bos and eos:

    BLEU(y_{1:t}) = BP_t * (p_1 p_2 p_3 p_4)^(1/4)
    p_n = (m_n + k_n) / (max(t - n + 1, 0) + k_n)
    m_n = sum over distinct n-grams g of min(count_g(y_{1:t}), max_r count_g(y*_r))
    BP_t = exp(min(0, 1 - T*_t / t)),  T*_t the reference length closest to t, ties to the shorter

- ``lin_och_all`` (Lin and Och 2004, add one for every order: the payoff of Dai et al. 2018): k_n = 1.
- ``lin_och_n2`` (sacreBLEU's add-k with k = 1): k_1 = 0, k_n = 1 for n >= 2; 0 when no word matches.

An order with no candidates has p_n = 1/1. Limits, for both: the empty hypothesis scores 0; an empty
reference matches nothing and is never longer than the prefix, so that BP = 1 and the formula stands:
``lin_och_all`` gives the smoothing alone, (1 / ((t+1) t max(t-1, 1) max(t-2, 1)))^(1/4), ``lin_och_n2`` 0.

The sweep. Let L[t, j] = length, at most 4, of the common suffix of y_{1:t} and y*_{1:j}. The n-gram that ends
at y_t occurs c = #{j : L[t, j] >= n} times in a reference (with several, the largest c counts), and the first
such j names it. It is a clipped match while its uses so far, counted at that j, are at most c (L alone would
overcount a hypothesis that repeats). So all T prefixes cost one pass of T times |y*| comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from raysq.config import Config
from raysq.rewards.base import PackedReferences, pack, word_ids
from raysq.types import PAD, UNK

BleuVariant = Literal["lin_och_all", "lin_och_n2"]
MAX_ORDER = 4


def prefix_bleu(
    hypotheses: ArrayLike,
    references: Sequence[Sequence[ArrayLike]],
    lengths: ArrayLike | None = None,
    *,
    variant: BleuVariant = "lin_och_all",
    match_unknown: bool = False,
) -> NDArray[np.float64]:
    """Sentence BLEU of every prefix of every hypothesis.

    Args:
        hypotheses: [N, T] integer word ids, right-padded; no bos, no eos.
        references: one list of sequences of word ids per hypothesis, each list with at least one; no bos,
            eos or padding.
        lengths: [N] words of each hypothesis, 0..T; None takes trailing pads (id 0) off.
        variant: which smoothing, see the module.
        match_unknown: whether unk (id 3) matches unk; by default it matches nothing.

    Returns:
        [N, T] in [0, 1]: the score of y_{1:t} at [.., t-1]; past its end a hypothesis keeps its last value,
        and the empty hypothesis has 0 everywhere.

    Raises:
        ValueError: shapes that do not fit, ids that are not integers, lengths outside 0..T, a hypothesis
            without references, or an unknown variant.
    """
    ids = word_ids(hypotheses, "hypotheses", num_axes=2)
    of_words = _unpadded_lengths(ids) if lengths is None else np.asarray(lengths)
    return _score(ids, of_words, pack(references), variant, match_unknown)


class SentenceBleu(Config):
    """Sentence BLEU as a reward; a ``RewardFunction``."""

    variant: BleuVariant = "lin_och_all"
    """Add-one smoothing for every order (lin_och_all) or for orders 2 to 4 (lin_och_n2)."""
    match_unknown: bool = False
    """Whether unk matches unk (the released code of Dai et al. 2018); otherwise it matches nothing."""

    def prefix_scores(
        self, hypotheses: NDArray[np.int32], lengths: NDArray[np.int64], references: PackedReferences
    ) -> NDArray[np.float64]:
        """BLEU [N, T] of every prefix: see ``prefix_bleu``."""
        ids = word_ids(hypotheses, "hypotheses", num_axes=2)
        return _score(ids, lengths, references, self.variant, self.match_unknown)

    def empty_score(self, references: PackedReferences) -> NDArray[np.float64]:
        """BLEU of nothing [N]: 0."""
        return np.zeros(len(references))


def _unpadded_lengths(ids: NDArray[np.int32]) -> NDArray[np.int64]:
    """[N] position after the last id of each row [N, T] that is no pad."""
    if ids.size == 0:
        return np.zeros(len(ids), np.int64)
    words = ids != PAD
    return np.where(words.any(1), ids.shape[1] - words[:, ::-1].argmax(1), 0)


def _score(
    ids: NDArray[np.int32],
    lengths: NDArray[Any],
    references: PackedReferences,
    variant: BleuVariant,
    match_unknown: bool,
) -> NDArray[np.float64]:
    """Check what the kernel takes on trust, and run it."""
    N, T = ids.shape
    if variant not in get_args(BleuVariant):
        raise ValueError(
            f"unknown BLEU variant {variant!r}; choose one of {', '.join(get_args(BleuVariant))}"
        )
    if len(references) != N:
        raise ValueError(f"{N} hypotheses but references for {len(references)}")
    if lengths.shape != (N,) or not (np.issubdtype(lengths.dtype, np.integer) or N == 0):
        raise ValueError(f"lengths must be {N} integers, not {lengths.dtype} {list(lengths.shape)}")
    if N and (lengths.min() < 0 or lengths.max() > T):
        raise ValueError(f"lengths must lie in 0..{T}, the width of hypotheses")
    return prefix_bleu_kernel(
        _read_only(ids),
        _read_only(lengths.astype(np.int64, copy=False)),
        _read_only(references.tokens),
        _read_only(references.offsets),
        _read_only(references.starts),
        variant == "lin_och_all",
        match_unknown,
    )


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A contiguous, aligned, read-only view: arrays come so from Ray, and one signature is compiled once."""
    view = np.require(array, requirements=("C", "A")).view()
    view.flags.writeable = False
    return view


@numba.njit(cache=True, nogil=True)
def prefix_bleu_kernel(
    hypotheses: NDArray[np.int32],
    lengths: NDArray[np.int64],
    tokens: NDArray[np.int32],
    offsets: NDArray[np.int64],
    starts: NDArray[np.int64],
    smooth_words: bool,
    match_unknown: bool,
) -> NDArray[np.float64]:
    """The sweep of the module's docstring over hypotheses [N, T] and ``PackedReferences``; checks nothing."""
    N, T = hypotheses.shape
    scores = np.zeros((N, T))
    width = 0
    for i in range(N):
        width = max(width, offsets[starts[i + 1]] - offsets[starts[i]])
    suffix = np.empty(width, np.int32)  # L[t, j] at position j of the references laid end to end
    uses = np.empty((width, MAX_ORDER), np.int32)  # of the n-gram named by its first end j
    counts = np.empty(MAX_ORDER, np.int32)
    names = np.empty(MAX_ORDER, np.int32)
    matches = np.empty(MAX_ORDER, np.int32)
    here = np.empty(MAX_ORDER, np.int32)
    for i in range(N):
        bounds = offsets[starts[i] : starts[i + 1] + 1]
        suffix[:] = 0
        uses[:] = 0
        matches[:] = 0
        score = 0.0
        for t in range(lengths[i]):
            word = hypotheses[i, t]
            if word == UNK and not match_unknown:
                suffix[:] = 0
            else:
                _find(word, tokens, bounds, suffix, counts, names, here)
                for n in range(MAX_ORDER):
                    if counts[n] > 0:
                        uses[names[n], n] += 1
                        if uses[names[n], n] <= counts[n]:
                            matches[n] += 1
            score = _bleu(matches, t + 1, _closest_length(t + 1, bounds), smooth_words)
            scores[i, t] = score
        scores[i, lengths[i] :] = score
    return scores


@numba.njit(cache=True, nogil=True)
def _find(
    word: int,
    tokens: NDArray[np.int32],
    bounds: NDArray[np.int64],
    suffix: NDArray[np.int32],
    counts: NDArray[np.int32],
    names: NDArray[np.int32],
    here: NDArray[np.int32],
) -> None:
    """Take ``suffix`` from L[t-1, .] to L[t, .]; give counts and names of the n-grams that end at t.

    It runs downwards, so that suffix[j - 1] is still the previous word's, and the last name written is the
    first end. Where the count is 0 the name is left over from before and means nothing. ``here`` is scratch:
    the counts in one reference.
    """
    counts[:] = 0
    for r in range(len(bounds) - 2, -1, -1):
        here[:] = 0
        first = bounds[r] - bounds[0]
        for j in range(bounds[r + 1] - bounds[0] - 1, first - 1, -1):
            if tokens[bounds[0] + j] != word:
                suffix[j] = 0
                continue
            suffix[j] = min(MAX_ORDER, suffix[j - 1] + 1) if j > first else 1
            for n in range(suffix[j]):
                here[n] += 1
                names[n] = j
        for n in range(MAX_ORDER):
            counts[n] = max(counts[n], here[n])


@numba.njit(cache=True, nogil=True)
def _closest_length(words: int, bounds: NDArray[np.int64]) -> int:
    """Length of the reference whose length is closest to ``words``, ties to the shorter."""
    closest = bounds[1] - bounds[0]
    for r in range(1, len(bounds) - 1):
        length = bounds[r + 1] - bounds[r]
        nearer = abs(length - words) - abs(closest - words)
        if nearer < 0 or (nearer == 0 and length < closest):
            closest = length
    return closest


@numba.njit(cache=True, nogil=True)
def _bleu(matches: NDArray[np.int32], words: int, reference_words: int, smooth_words: bool) -> float:
    """BLEU of a prefix of ``words`` > 0 words from its clipped matches of orders 1..4."""
    added = 1.0 if smooth_words else 0.0
    precision = (matches[0] + added) / (words + added)
    for n in range(1, MAX_ORDER):
        precision *= (matches[n] + 1.0) / (max(words - n, 0) + 1.0)
    brevity = math.exp(1.0 - reference_words / words) if words < reference_words else 1.0
    return brevity * math.sqrt(math.sqrt(precision))  # the fourth root, cheaper than exp of a mean of logs
