"""A baseline that is learned beside the policy, step by step (Ranzato et al. 2016, section 3.2.2)."""

from __future__ import annotations

from abc import abstractmethod

from pydantic import Field
from torch import Tensor

from raysq.algorithms.base import Group, Networks
from raysq.algorithms.on_policy import OnPolicy
from raysq.types import Objective


class MayLearnBaseline(OnPolicy):
    """Base of the algorithms that may subtract b_t(h_t) from the return, one linear regression a step."""

    baseline_learning_rate: float = Field(1e-3, gt=0)
    """Learning rate of the learned baseline; it does not decay."""

    @property
    @abstractmethod
    def learns_baseline(self) -> bool:
        """Whether there is a learned baseline."""

    @property
    def trains(self) -> tuple[Group, ...]:
        """The policy, and the baseline where it is learned."""
        return ("policy", "baseline") if self.learns_baseline else ("policy",)

    def learning_rates(self, update: int, decays: int) -> dict[Group, float]:
        """The policy's decays, the baseline's is constant."""
        rates = super().learning_rates(update, decays)
        return {g: self.baseline_learning_rate if g == "baseline" else rate for g, rate in rates.items()}

    def against_baseline(
        self, networks: Networks, features: Tensor, at_steps: Tensor, returns: Tensor
    ) -> tuple[Tensor, list[Objective]]:
        """Returns less b_t(h_t) [n], constant, and the baseline's squared error; as they are without one.

        Args:
            networks: with the baseline, where it is learned.
            features: [n, H] of the policy; they get no gradient.
            at_steps: [n] t of each row, from 0.
            returns: [n]
        """
        returns = returns.detach()
        if not self.learns_baseline:
            return returns, []
        assert networks.baseline is not None
        predicted = networks.baseline(features, at_steps)
        error = (predicted - returns).square().sum()
        return returns - predicted.detach(), [Objective("baseline", error, "example", 1 / self.num_samples)]
