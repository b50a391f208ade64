"""What a handful of seeds say: mean and spread, and paired differences with what they can prove."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from scipy.special import stdtrit

_MOST_PAIRS = 16
"""Of which all changes of sign are tried: 65,536."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A score over runs."""

    mean: float
    deviation: float | None
    """Standard deviation with n - 1; None for a single run."""
    lowest: float
    highest: float
    n: int

    @classmethod
    def of(cls, scores: Sequence[float]) -> Summary:
        """Of one score at least."""
        spread = stdev(scores) if len(scores) > 1 else None
        return cls(fmean(scores), spread, min(scores), max(scores), len(scores))


@dataclass(frozen=True, slots=True)
class PairedSeeds:
    """Differences of runs that share their seeds, and whether they can be chance."""

    mean: float
    deviation: float | None
    n: int
    interval: tuple[float, float] | None
    """Student's t, 95 %, over seeds; None for a single pair."""
    p_signs_flipped: float | None
    """Exact: share of the 2^n changes of sign whose mean is as far from 0; None above 16 pairs."""
    p_sign_test: float
    """Exact, two-sided: how often as many of n fair coins fall on one side; equal pairs are left out."""
    better: int
    """Pairs with a difference above 0."""

    @classmethod
    def of(cls, differences: Sequence[float]) -> PairedSeeds:
        """Of one difference at least."""
        summary = Summary.of(differences)
        interval = None
        if summary.deviation is not None:
            half = float(stdtrit(summary.n - 1, 0.975)) * summary.deviation / math.sqrt(summary.n)
            interval = (summary.mean - half, summary.mean + half)
        better, worse = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
        flipped = _signs_flipped(differences) if summary.n <= _MOST_PAIRS else None
        p_sign = _sign_test(better, worse)
        return cls(summary.mean, summary.deviation, summary.n, interval, flipped, p_sign, better)

    @property
    def least_p(self) -> float:
        """The smallest p that n pairs can give in the exact tests."""
        return min(1.0, 2.0 ** (1 - self.n))


def _sign_test(better: int, worse: int) -> float:
    """Two-sided: twice the chance that so few coins, or fewer, fall on the side of the smaller number."""
    n = better + worse
    tail = sum(math.comb(n, k) for k in range(min(better, worse) + 1))
    return float(min(1.0, 2 * tail / 2**n))


def _signs_flipped(differences: Sequence[float]) -> float:
    """Two-sided p of the mean of paired differences under all changes of sign."""
    d = np.array(differences)
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(d))))
    means = np.abs(signs @ d)
    return float(np.mean(means >= abs(d.sum()) - 1e-9))
