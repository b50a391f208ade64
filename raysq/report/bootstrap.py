"""Paired bootstrap over sentences: would BLEU still differ on another draw of the test set? (Koehn 2004)

As sacreBLEU's ``--paired-bs`` does it, from sacreBLEU's counts and with its BLEU: the same draws with
replacement for both systems, and p is the share of draws whose distance from the mean distance exceeds what
was observed. Several pairs of runs are drawn together, the same sentences for all of them, and the mean of
their differences takes the difference's place: runs that translate the same sentences are no larger test set.
With one pair it is sacreBLEU's number; but where both systems say the same p is 1, and not its 1 / 1001.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sacrebleu.metrics.bleu import BLEU

from raysq.metrics.references import without_unknown

DRAWS = 1000
_SEED = 12345  # sacreBLEU's


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean difference in corpus BLEU of pairs of hypotheses of the same sentences."""

    mean: float
    """On the test set as it is [BLEU points]."""
    interval: tuple[float, float]
    """95 % of the draws."""
    p: float


class Bootstrap:
    """Draws of the sentences of one test set; counts of a system are taken once.

    Args:
        references: tokenised, one line a source: several are parted by tabulators. An unknown word in them
            matches nothing.
    """

    def __init__(self, references: Sequence[str]) -> None:
        self._references = [line.split("\t") for line in references]
        n = len(references)
        drawn = np.random.default_rng(_SEED).choice(n, size=(DRAWS, n), replace=True)
        self._weights = np.stack([np.ones(n), *(np.bincount(row, minlength=n) for row in drawn)])
        self._known: dict[tuple[str, ...], np.ndarray] = {}

    def scores(self, hypotheses: Sequence[str]) -> np.ndarray:
        """[1 + DRAWS] corpus BLEU of all sentences, and then of every draw of them.

        Raises:
            ValueError: another number of hypotheses than of references.
        """
        key = tuple(hypotheses)
        if key not in self._known:
            self._known[key] = np.array([_bleu(sums) for sums in self._weights @ self._counts(hypotheses)])
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

    def _counts(self, hypotheses: Sequence[str]) -> np.ndarray:
        """[sentences, 10] lengths, matching n-grams and n-grams of each sentence."""
        metric = BLEU(tokenize="none", smooth_method="none", force=True, effective_order=True)
        rows = []
        for hypothesis, of_one in zip(hypotheses, without_unknown(hypotheses, self._references), strict=True):
            score = metric.sentence_score(hypothesis, of_one)
            rows.append([score.sys_len, score.ref_len, *score.counts, *score.totals])
        return np.array(rows, float)


def _bleu(sums: np.ndarray) -> float:
    lengths, correct, total = sums[:2], sums[2:6], sums[6:]
    return BLEU.compute_bleu(list(correct), list(total), int(lengths[0]), int(lengths[1])).score
