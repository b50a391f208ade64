"""How noisy the gradient of a policy is: its spread over what may be drawn for one and the same batch.

Of K independent gradients g_k of the loss, before clipping and with the dropout of training,

    variance            sum over parameters of the unbiased variance of g_k
    mean_squared_norm   |mean_k g_k|^2 - variance / K, which is |E g|^2 on average
    relative            variance / mean_squared_norm

so that 1 / sqrt(relative) is a ratio of signal to noise. The variance is that of the algorithm's updates: it
falls with the sentences of a batch (``examples``) and the sequences drawn for each. Samples come from the
policy itself, not from one that lags behind it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from raysq.algorithms import Algorithm, Networks
from raysq.algorithms.moment import Moment
from raysq.rewards.scoring import LocalScorer
from raysq.rewards.settings import RewardSettings
from raysq.training.collective import Collective
from raysq.training.samples import LocalSource
from raysq.training.step import Step
from raysq.types import Batch

DRAWS = 16
"""K: so many updates' time is what a measurement costs."""


class Spread:
    """Mean and variance of vectors that come one after another; that of equal ones is 0 exactly."""

    def __init__(self) -> None:
        self.count = 0
        self._mean: Tensor | None = None
        self._squares = 0.0
        """Sum over the vectors of the squared distance from their mean."""

    def add(self, vector: Tensor) -> None:
        """One more."""
        self.count += 1
        if self._mean is None:
            self._mean = vector.clone()
            return
        difference = vector - self._mean
        self._squares += (1 - 1 / self.count) * _squared_norm(difference)
        self._mean.add_(difference, alpha=1 / self.count)

    def row(self) -> dict[str, float | int | None]:
        """The numbers of the module's head; None for one that is not finite, or that has no meaning."""
        assert self._mean is not None
        variance = self._squares / (self.count - 1)
        squared = _squared_norm(self._mean) - variance / self.count
        relative = variance / squared if squared > 0 else math.nan
        found = {"variance": variance, "mean_squared_norm": squared, "relative": relative}
        finite = {name: value if math.isfinite(value) else None for name, value in found.items()}
        return {**finite, "draws": self.count}


def _squared_norm(vector: Tensor) -> float:
    return float(torch.linalg.vector_norm(vector, dtype=torch.float64)) ** 2


def gradient_noise(
    algorithm: Algorithm,
    networks: Networks,
    reward: RewardSettings,
    collective: Collective,
    parts: Sequence[Batch],
    moment: Moment,
) -> dict[str, Any]:
    """The noise of the policy's gradient on a batch; every learner gives its slice and gets the whole result.

    Nothing of the training changes: no parameter, no moving average, no random number of an update.

    Args:
        algorithm: that trains the policy.
        networks: at which it is measured.
        reward: scores the samples, here whoever does so in training.
        collective: the group of learners.
        parts: this learner's slice of a global batch.
        moment: the update whose schedules (prefixes, mixtures ..) apply; the draws are none of its own.

    Returns:
        ``examples`` of the global batch and the row of ``Spread``; and as ``without_mle`` that of the loss
        without its term ``mle``, where it has others too.
    """
    networks = replace(networks, delayed_policy=None)
    function = reward.function()
    source = LocalSource(algorithm, networks, function, LocalScorer(function, reward.scale_by_length))
    step = Step(algorithm, networks, source, collective)
    whole, without_mle = Spread(), Spread()
    for draw in range(DRAWS):
        another = replace(moment, stage=f"{moment.stage}, gradient noise {draw}")
        by_term = step.policy_gradients(parts, another)
        whole.add(_sum(by_term))
        if "mle" in by_term and len(by_term) > 1:
            del by_term["mle"]
            without_mle.add(_sum(by_term))
    row = {"examples": parts[0].global_size, **whole.row()}
    return {**row, "without_mle": without_mle.row()} if without_mle.count else row


def _sum(by_term: dict[str, Tensor]) -> Tensor:
    first, *others = by_term.values()
    for other in others:
        first = first + other
    return first
