"""Policy and critic trained together: what AC, ERAC and RF-C have in common.

The critic is trained as in ``raysq.algorithms.critic`` against the policy as it changes, while the policy
ascends what the critic says of its samples, with some likelihood of the reference beside it. Both losses come
from one forward pass.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator
from torch import Tensor

from raysq.algorithms.base import Group, Networks, critic_head, policy_head, reference_samples
from raysq.algorithms.critic import CriticTraining
from raysq.algorithms.mle import mle_objective
from raysq.algorithms.moment import Moment
from raysq.algorithms.rows import Rows, critic_features, policy_features
from raysq.losses import Head
from raysq.rewards.scoring import PendingRewards
from raysq.types import Batch, MetricSums, Objective, Samples


class JointTraining(CriticTraining):
    """Policy and critic together: 1 sample a sentence, Adam 1e-4 with beta1 = 0 for both."""

    learning_rate: float = Field(1e-4, gt=0)
    """Learning rate of the policy."""
    critic_learning_rate: float = Field(1e-4, gt=0)
    """Learning rate of the critic; it does not decay."""
    beta1: float = Field(0.0, ge=0, lt=1)
    """Adam's decay of the first moment."""
    decay: float = Field(0.9, gt=0, le=1)
    """Factor of the policy's learning rate when dev BLEU does not improve."""
    max_decays: int = Field(6, ge=0)
    """The failure to improve after this many decays ends the stage."""
    max_epochs: int = Field(30, ge=1)
    """Passes over the training data, at most. [epochs]"""
    num_samples: int = Field(1, ge=1)
    """Sequences drawn for each sentence."""
    extra_length: int = Field(10, ge=0)
    """Longest sample: this more than the batch's longest reference with bos and eos. [tokens]"""
    lambda_mle: float = Field(0.1, ge=0)
    """Weight of the reference's likelihood beside the policy's return."""
    future_entropy: bool = True
    """Entropy inside the TD target; false is the ablation "without future entropy" (Table 4)."""
    critic_only_updates: int = Field(0, ge=0)
    """Warm-up: the policy stands still for so many updates. [updates]"""
    warmup_updates: int = Field(0, ge=0)
    """Warm-up: the policy's learning rate then rises linearly over so many updates. [updates]"""
    min_explained: float = Field(0.2, le=1)
    """Warn when the critic explains a smaller share of the variance of the dev returns."""

    @property
    def trains(self) -> tuple[Group, ...]:
        """Policy and critic."""
        return ("policy", "critic")

    @model_validator(mode="after")
    def _entropy_to_leave_out(self) -> Self:
        if not self.tau:
            self.refuse_change("future_entropy", "unless `tau` is above 0")
        return self

    @property
    def selection(self) -> tuple[str, Literal["max", "min"]]:
        """Dev BLEU."""
        return ("bleu", "max")

    def learning_rates(self, update: int, decays: int) -> dict[Group, float]:
        """The policy's decays and warms up, the critic's is constant."""
        rise = (update + 1 - self.critic_only_updates) / max(1, self.warmup_updates)
        warm = min(1.0, max(0.0, rise))
        return {
            "policy": self.learning_rate * self.decay**decays * self.annealing(update) * warm,
            "critic": self.critic_learning_rate,
        }

    def warnings(self, dev: Mapping[str, float]) -> list[str]:
        """A critic that explains too little."""
        if dev["explained"] >= self.min_explained:
            return []
        return [
            f"the critic explains {dev['explained']:.0%} of the variance of the dev returns, less than "
            f"{self.min_explained:.0%}: the joint stage may destroy the policy; train the critic longer "
            "(--critic.max-epochs) or raise --critic.target-rate"
        ]

    def target_tau(self) -> float:
        """tau, or 0 without future entropy."""
        return self.tau if self.future_entropy else 0.0

    def objectives(
        self,
        batch: Batch,
        samples: Samples,
        rewards: PendingRewards | None,
        networks: Networks,
        moment: Moment,
    ) -> tuple[list[Objective], MetricSums]:
        """The policy's return and likelihood, the critic's TD error and variance."""
        assert rewards is not None
        policy = networks.policy
        critic, target_critic = networks.critics()
        rows = Rows.of(samples)
        features = policy_features(policy, batch, samples, moment)
        online_features = critic_features(critic, batch, samples)
        target_features = critic_features(target_critic, batch, samples)
        total, values = self.policy_loss(
            policy_head(policy, features),
            (
                critic_head(critic, online_features.detach()),
                critic_head(target_critic, target_features.detach()),
            ),
            samples,
            rewards,
        )
        values = self.target_values(values, batch, samples, networks, moment)
        objectives = [Objective("policy", total, "sequence")]
        if self.lambda_mle:
            references = reference_samples(batch, samples.memory)
            objectives.append(mle_objective(batch, references, networks, moment, coefficient=self.lambda_mle))
        critic_terms, metrics = self.critic_objectives(
            critic, online_features, samples, rows, values, rewards.result()
        )
        return objectives + critic_terms, metrics

    def target_values(
        self, values: dict[str, Tensor], batch: Batch, samples: Samples, networks: Networks, moment: Moment
    ) -> dict[str, Tensor]:
        """What the TD target reads of each row, where it is not what ``policy_loss`` found."""
        return values

    @abstractmethod
    def policy_loss(
        self, head: Head, critics: tuple[Head, Head], samples: Samples, rewards: PendingRewards
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The policy's loss, summed over rows; and of each row ``state_value`` (Eq. 19) and ``entropy``.

        ``critics`` are Q and Qbar, held constant.
        """
