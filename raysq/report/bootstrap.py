"""Paired bootstrap over sentences: would a score still differ on another draw of the test set? (Koehn 2004)

As sacreBLEU's ``--paired-bs`` does it, for BLEU from sacreBLEU's counts and with its BLEU, for ROUGE with the
mean over the sentences drawn: the same draws with replacement for both systems, and p is the share of draws
whose distance from the mean distance exceeds what was observed. Several pairs of runs are drawn together, the
same sentences for all of them, and the mean of their differences takes the difference's place: runs that
translate the same sentences are no larger test set. With one pair it is, for BLEU, sacreBLEU's number; but
where both systems say the same p is 1, and not its 1 / 1001.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sacrebleu.metrics.bleu import BLEU

from raysq.metrics import rouge_by_sentence
from raysq.metrics.references import without_unknown

DRAWS = 1000
_SEED = 12345  # sacreBLEU's
_OfSentences = Callable[[Sequence[str], Sequence[Sequence[str]]], np.ndarray]
_OfSums = Callable[[np.ndarray], float]


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean difference in a corpus score of pairs of hypotheses of the same sentences."""

    mean: float
    """On the test set as it is [points]."""
    interval: tuple[float, float]
    """95 % of the draws."""
    p: float


class Bootstrap:
    """Draws of the sentences of one test set; counts of a system are taken once.

    Args:
        references: tokenised, one line a source: several are parted by tabulators. An unknown word in them
            matches nothing.
        metric: one of ``METRICS``.
    """

    def __init__(self, references: Sequence[str], metric: str = "bleu") -> None:
        self._of_sentences, self._of_sums = METRICS[metric]
        self._references = [line.split("\t") for line in references]
        n = len(references)
        drawn = np.random.default_rng(_SEED).choice(n, size=(DRAWS, n), replace=True)
        self._weights = np.stack([np.ones(n), *(np.bincount(row, minlength=n) for row in drawn)])
        self._known: dict[tuple[str, ...], np.ndarray] = {}

    def scores(self, hypotheses: Sequence[str]) -> np.ndarray:
        """[1 + DRAWS] the score of all sentences, and then of every draw of them.

        Raises:
            ValueError: another number of hypotheses than of references.
        """
        key = tuple(hypotheses)
        if key not in self._known:
            of_sentences = self._of_sentences(hypotheses, self._references)
            self._known[key] = np.array([self._of_sums(sums) for sums in self._weights @ of_sentences])
        return self._known[key]

    def difference(self, pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> Difference:
        """Of pairs (system, baseline) of hypotheses, one pair at least."""
        drawn = np.mean([self.scores(system) - self.scores(other) for system, other in pairs], axis=0)
        observed, drawn = float(drawn[0]), drawn[1:]
        distances = np.abs(drawn)
        further = int(np.sum(distances - distances.mean() > abs(observed)))
        p = (further + 1) / (len(drawn) + 1) if drawn.any() else 1.0
        low, high = np.quantile(drawn, (0.025, 0.975))
        return Difference(observed, (float(low), float(high)), p)


def _ngrams(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """[sentences, 10] lengths, matching n-grams and n-grams of each sentence."""
    metric = BLEU(tokenize="none", smooth_method="none", force=True, effective_order=True)
    rows = []
    for hypothesis, of_one in zip(hypotheses, without_unknown(hypotheses, references), strict=True):
        score = metric.sentence_score(hypothesis, of_one)
        rows.append([score.sys_len, score.ref_len, *score.counts, *score.totals])
    return np.array(rows, float)


def _bleu(sums: np.ndarray) -> float:
    lengths, correct, total = sums[:2], sums[2:6], sums[6:]
    return BLEU.compute_bleu(list(correct), list(total), int(lengths[0]), int(lengths[1])).score


def _rouge(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """[sentences, 2] mean of ROUGE-1, 2 and L of each sentence, and 1."""
    of_sentences = rouge_by_sentence(hypotheses, references).mean(1)
    return np.stack((of_sentences, np.ones_like(of_sentences)), axis=1)


def _mean(sums: np.ndarray) -> float:
    return float(sums[0] / sums[1])


METRICS: Mapping[str, tuple[_OfSentences, _OfSums]] = {"bleu": (_ngrams, _bleu), "rouge": (_rouge, _mean)}
"""By score: what is summed over sentences, and the score of such sums."""
