"""Corpus BLEU through sacreBLEU, against one or several references.

    BLEU-n = BP (p_1 .. p_n)^(1/n),  p_k = sum_i m_k(i) / sum_i c_k(i)      (Papineni et al. 2002)

over the sentences i of the corpus, with m_k(i) the k-grams of hypothesis i clipped at the highest count in
any of its references, c_k(i) all of them, and BP = exp(min(0, 1 - r / c)): c the words of the hypotheses, r
the words of the references closest in length, ties to the shorter. Nothing is smoothed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from sacrebleu.metrics.bleu import BLEU, MAX_NGRAM_ORDER, BLEUScore

from raysq.metrics.references import check_references, without_unknown


@dataclass(frozen=True, slots=True)
class CorpusScore:
    """Corpus BLEU with what is needed to read it."""

    bleu: float
    """In percent."""
    signature: str
    brevity_penalty: float
    length_ratio: float
    """Words of the hypotheses over words of the references (of the closest length)."""

    def row(self) -> dict[str, Any]:
        """For result.json."""
        return {name: getattr(self, name) for name in self.__slots__}


def corpus_bleu(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> CorpusScore:
    """BLEU of tokenised text through sacreBLEU without tokenisation and smoothing: multi-bleu.perl's number.

    An unknown word in a reference matches nothing, not even an unknown word in a hypothesis.

    Raises:
        ValueError: nothing to score, or a hypothesis without references.
    """
    metric = _of_tokenised()
    return _with_signature(metric, _score(metric, hypotheses, without_unknown(hypotheses, references)))


def bleu_by_order(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """BLEU-1, .., BLEU-4 in percent; the last is the one of ``corpus_bleu``.

    Raises:
        ValueError: as ``corpus_bleu``.
    """
    score = _score(_of_tokenised(), hypotheses, without_unknown(hypotheses, references))
    return [
        BLEU.compute_bleu(
            score.counts[:order], score.totals[:order], score.sys_len, score.ref_len, max_ngram_order=order
        ).score
        for order in range(1, MAX_NGRAM_ORDER + 1)
    ]


def detokenised_bleu(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], *, ignore_case: bool
) -> CorpusScore:
    """BLEU of detokenised hypotheses against raw references: sacreBLEU's default, its own tokeniser 13a.

    What `raysq.data.detokenisation` makes of an unknown word matches nothing.

    Raises:
        ValueError: as ``corpus_bleu``.
    """
    check_references(hypotheses, references)
    metric = BLEU(lowercase=ignore_case)
    return _with_signature(metric, _score(metric, hypotheses, references))


def _of_tokenised() -> BLEU:
    return BLEU(tokenize="none", smooth_method="none", force=True)


def _score(metric: BLEU, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> BLEUScore:
    """sacreBLEU takes first references, second references and so on, None where a sentence has no more."""
    return metric.corpus_score(list(hypotheses), list(zip_longest(*references)))


def _with_signature(metric: BLEU, score: BLEUScore) -> CorpusScore:
    ratio = score.sys_len / max(1, score.ref_len)
    return CorpusScore(score.score, str(metric.get_signature()), score.bp, ratio)
