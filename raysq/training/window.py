"""Metrics of the updates since the journal's last line: what the next one, and observers, are told."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

from raysq.types import MetricSums

Window = dict[str, list[float]]
"""[sum, weight] of each metric."""
Observe: TypeAlias = Callable[[float, float], None]
"""Is told of updates, and of the tokens in their global batches, every now and then."""


def unobserved(updates: float, tokens: float) -> None:
    """An ``Observe`` that does nothing."""


def add(window: Window, metrics: MetricSums) -> None:
    """One update more."""
    for name, (total, weight) in metrics.items():
        sums = window.setdefault(name, [0.0, 0.0])
        sums[:] = [sums[0] + total, sums[1] + weight]


def averages(window: Mapping[str, list[float]]) -> dict[str, float]:
    """Means over the updates, ``train/...``; rates in place of tokens, time and waiting."""
    means = {f"train/{k}": total / weight if weight else math.nan for k, (total, weight) in window.items()}
    seconds, updates = window["seconds"]
    means["train/tokens_per_second"] = window["tokens"][0] / seconds
    means["train/updates_per_second"] = updates / seconds
    means["train/reward_wait_share"] = means["train/waited"] * updates / seconds
    for name in ("train/tokens", "train/seconds", "train/waited"):
        del means[name]
    return means
