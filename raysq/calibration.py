"""Whether a critic's Q comes true: what it says of drawn words beside the returns that they had."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_BINS = 10
"""Into so many quantiles of Q the words of a position are told apart."""
FEWEST_WORDS = 30
"""A position with fewer words says nothing."""


def calibration(
    position: NDArray[np.int64], q: NDArray[np.float64], returns: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """Q against the Monte-Carlo return, over all words and by position.

    Args:
        position: [n] step of each word in its sequence, from 1.
        q: [n] what the critic says of it.
        returns: [n] G, what came of it.

    Returns:
        A row over all words, whose position is 0, and one for each position with ``FEWEST_WORDS`` or more:
        ``n`` words, ``mean_q``, ``mean_return``, ``correlation`` (Pearson's r; 0 where one side is constant)
        and ``bins``, [mean Q, mean G, words] by decile of Q, those that hold any. None where n = 0.
    """
    if not len(position):
        return []
    often = [t for t in np.unique(position) if (position == t).sum() >= FEWEST_WORDS]
    rows = [(0, np.ones(len(position), bool)), *((int(t), position == t) for t in often)]
    return [{"position": t, **_row(q[words], returns[words])} for t, words in rows]


def _row(q: NDArray[np.float64], returns: NDArray[np.float64]) -> dict[str, Any]:
    edges = np.quantile(q, np.arange(1, NUM_BINS) / NUM_BINS)
    places = np.searchsorted(edges, q, side="right")  # equal Q share a bin, in whatever order they came
    bins = [places == k for k in np.unique(places)]
    return {
        "n": len(q),
        "mean_q": float(q.mean()),
        "mean_return": float(returns.mean()),
        "correlation": _correlation(q, returns),
        "bins": [[float(q[b].mean()), float(returns[b].mean()), int(b.sum())] for b in bins],
    }


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Pearson's r; 0 where one side is constant."""
    if a.std() < 1e-12 or b.std() < 1e-12:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
