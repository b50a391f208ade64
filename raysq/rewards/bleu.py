"""Sentence BLEU of every prefix of a hypothesis, and of a prefix with each word that could come next.

For the prefix y_{1:t} and references y*_1 .. y*_R, with t words counted without bos and eos:

    BLEU(y_{1:t}) = BP_t * (p_1 p_2 p_3 p_4)^(1/4),  p_n = m_n / c_n
    m_n = sum over distinct n-grams g of min(count_g(y_{1:t}), max_r count_g(y*_r))
    c_n = max(t - n + 1, 0), the n-grams of the prefix
    BP_t = exp(min(0, 1 - T*_t / t)),  T*_t the reference length closest to t, ties to the shorter

The variants differ where an order has no match or no candidates; the k-th order with m_n = 0 counts
pseudo-matches 1/2^k in two of them:

- ``lin_och_all`` (Lin and Och 2004, add one for every order: the payoff of Dai et al. 2018, and of ERPO):
  p_n = (m_n + 1) / (c_n + 1).
- ``lin_och_n2`` (sacreBLEU's add-k with k = 1, the usual one of MRT): p_1 = m_1 / c_1, the others as above.
- ``mixer`` (Ranzato et al. 2016, released code): as ``lin_och_all``, but of the orders 1 .. N only,
  (p_1 .. p_N)^(1/N) with N = min(4, t, T*_t), and BP_t = exp(1 - (T*_t + 1) / t) where t < T*_t.
- ``nltk_m0_32`` (NLTK 3.2 without smoothing): p_n = 1 where m_n = 0; 0 where m_1 = 0.
- ``nltk_m0_33`` (NLTK 3.3 and later without smoothing): p_n = 2^-1022, the smallest normal float64, where
  m_n = 0; 0 where m_1 = 0.
- ``nltk_m3`` (NLTK's method 3): p_n = 1/2^k / max(c_n, 1) where m_n = 0; 0 where m_1 = 0.
- ``bso`` (Wiseman and Rush 2016, released code): p_n = 1/2^k / c_n where m_n = 0 < c_n, p_n = 1 where
  c_n = 0, which does not count in k.

Without ``brevity_penalty`` BP_t = 1. Limits: the empty hypothesis scores 0. An empty reference matches
nothing and is never longer than the prefix, so that BP = 1 and the formula stands: ``lin_och_all`` and
``bso`` give their smoothing alone, as (1 / ((t+1) t max(t-1, 1) max(t-2, 1)))^(1/4), the others 0.

Departures: 1. unk of the hypothesis matches nothing unless ``match_unknown`` (MIXER leaves the references'
n-grams with unk out, which is the same; NLTK and BSO compare unk as any word). 2. MIXER and BSO know one
reference, here several are allowed. 3. MIXER counts only n-grams that touch the sampled part of a
hypothesis that begins with words of the reference; here the whole hypothesis counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raysq.config import Config
from raysq.rewards.arguments import kernel_arguments
from raysq.rewards.base import ExtensionRewards, PackedReferences, pack, word_ids
from raysq.rewards.bleu_kernels import (
    BSO,
    LIN_OCH_ALL,
    LIN_OCH_N2,
    MIXER,
    NLTK_M0_32,
    NLTK_M0_33,
    NLTK_M3,
    Scoring,
    extension_bleu_kernel,
    prefix_bleu_kernel,
)
from raysq.types import PAD

BleuVariant = Literal["lin_och_all", "lin_och_n2", "mixer", "nltk_m0_32", "nltk_m0_33", "nltk_m3", "bso"]

_CODES: dict[BleuVariant, int] = {
    "lin_och_all": LIN_OCH_ALL,
    "lin_och_n2": LIN_OCH_N2,
    "mixer": MIXER,
    "nltk_m0_32": NLTK_M0_32,
    "nltk_m0_33": NLTK_M0_33,
    "nltk_m3": NLTK_M3,
    "bso": BSO,
}


def prefix_bleu(
    hypotheses: ArrayLike,
    references: Sequence[Sequence[ArrayLike]],
    lengths: ArrayLike | None = None,
    *,
    variant: BleuVariant = "lin_och_all",
    match_unknown: bool = False,
    brevity_penalty: bool = True,
) -> NDArray[np.float64]:
    """Sentence BLEU of every prefix of every hypothesis.

    Args:
        hypotheses: [N, T] integer word ids, right-padded; no bos, no eos.
        references: one list of sequences of word ids per hypothesis, each list with at least one; no bos,
            eos or padding.
        lengths: [N] words of each hypothesis, 0..T; None takes trailing pads (id 0) off.
        variant: which smoothing, see the module.
        match_unknown: whether unk (id 3) matches unk; by default it matches nothing.
        brevity_penalty: whether a prefix shorter than its reference is penalised.

    Returns:
        [N, T] in [0, 1]: the score of y_{1:t} at [.., t-1]; past its end a hypothesis keeps its last value,
        and the empty hypothesis has 0 everywhere.

    Raises:
        ValueError: shapes that do not fit, ids that are not integers, lengths outside 0..T, a hypothesis
            without references, or an unknown variant.
    """
    if variant not in get_args(BleuVariant):
        raise ValueError(
            f"unknown BLEU variant {variant!r}; choose one of {', '.join(get_args(BleuVariant))}"
        )
    ids = word_ids(hypotheses, "hypotheses", num_axes=2)
    of_words = _unpadded_lengths(ids) if lengths is None else np.asarray(lengths)
    reward = SentenceBleu(variant=variant, match_unknown=match_unknown, brevity_penalty=brevity_penalty)
    return reward.prefix_scores(ids, of_words, pack(references))


class SentenceBleu(Config):
    """Sentence BLEU as a reward; a ``RewardFunction``."""

    variant: BleuVariant = "lin_och_all"
    """Smoothing: add one for every order (lin_och_all) or for orders 2 to 4 (lin_och_n2), or as a released
    code does: MIXER's, NLTK's unsmoothed before and since version 3.3 and its method 3, BSO's."""
    match_unknown: bool = False
    """Whether unk matches unk (the released code of Dai et al. 2018); otherwise it matches nothing."""
    brevity_penalty: bool = True
    """Whether a prefix shorter than its reference is penalised; if not, early words earn as much as late."""

    def prefix_scores(
        self, hypotheses: NDArray[np.int32], lengths: NDArray[np.int64], references: PackedReferences
    ) -> NDArray[np.float64]:
        """BLEU [N, T] of every prefix: see ``prefix_bleu``."""
        arrays = kernel_arguments(hypotheses, "hypotheses", lengths, references)
        return prefix_bleu_kernel(*arrays, self._scoring)

    def empty_score(self, references: PackedReferences) -> NDArray[np.float64]:
        """BLEU of nothing [N]: 0."""
        return np.zeros(len(references))

    def extension_rewards(
        self, prefixes: NDArray[np.int32], lengths: NDArray[np.int64], references: PackedReferences
    ) -> ExtensionRewards:
        """BLEU(y_{1:t} + w) - BLEU(y_{1:t}) of every word w after prefixes [N, T] of ``lengths`` words."""
        arrays = kernel_arguments(prefixes, "prefixes", lengths, references)
        return ExtensionRewards(*extension_bleu_kernel(*arrays, self._scoring))

    @property
    def _scoring(self) -> Scoring:
        return Scoring(_CODES[self.variant], self.match_unknown, self.brevity_penalty)


def _unpadded_lengths(ids: NDArray[np.int32]) -> NDArray[np.int64]:
    """[N] position after the last id of each row [N, T] that is no pad."""
    if ids.size == 0:
        return np.zeros(len(ids), np.int64)
    words = ids != PAD
    return np.where(words.any(1), ids.shape[1] - words[:, ::-1].argmax(1), 0)
