"""Entropy-regularised actor-critic, ERAC; with tau = 0 actor-critic, AC (Dai, Xie, Hovy 2018, section 4.2).

The critic is trained as in ``raysq.algorithms.critic`` against the policy as it changes; the policy ascends

    sum_t [sum_w pi(w|s_t) Q(s_t, w) + tau H(pi(.|s_t))]                                          (Eq. 20)

over all words w, with the online critic held constant, plus lambda_mle times the likelihood of the
reference. Both losses come from one forward pass.

Limits: tau = 0 is AC (Bahdanau et al. 2017 without their delayed actor); lambda_mle alone is MLE.
Departures from the released code: 1. the entropy gradient is exact by default (``entropy_gradient``); 2. the
initial policy is a candidate for the best checkpoint; 3. those of the critic.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar, Literal

from pydantic import Field

from raysq.algorithms.base import Group, Networks, critic_head, policy_head, reference_samples
from raysq.algorithms.critic import CriticTraining, Rows, critic_features, policy_features
from raysq.algorithms.mle import mle_objective
from raysq.algorithms.randomness import Randomness
from raysq.losses import actor_critic, vocabulary_loss
from raysq.losses.actor_critic import EntropyGradient
from raysq.rewards.scoring import PendingRewards
from raysq.types import Batch, MetricSums, Objective, Samples


class ActorCritic(CriticTraining):
    """Policy and critic together: 1 sample a sentence, Adam 1e-4 with beta1 = 0 for both."""

    trains: ClassVar[tuple[Group, ...]] = ("policy", "critic")
    selection: ClassVar[tuple[str, Literal["max", "min"]]] = ("bleu", "max")

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
    entropy_gradient: EntropyGradient = "exact"
    """Gradient of tau H: exact, or with log pi divided by its L2 norm over words (released code)."""
    future_entropy: bool = True
    """Entropy inside the TD target; false is the ablation "without future entropy" (Table 4)."""
    critic_only_updates: int = Field(0, ge=0)
    """Warm-up: the policy stands still for so many updates. [updates]"""
    warmup_updates: int = Field(0, ge=0)
    """Warm-up: the policy's learning rate then rises linearly over so many updates. [updates]"""
    min_explained: float = Field(0.2, le=1)
    """Warn when the critic explains a smaller share of the variance of the dev returns."""

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
        randomness: Randomness,
    ) -> tuple[list[Objective], MetricSums]:
        """The policy's return and likelihood, the critic's TD error and variance."""
        assert rewards is not None
        policy = networks.policy
        critic, target_critic = networks.critics()
        rows = Rows.of(samples)
        features = policy_features(policy, batch, samples)
        online_features = critic_features(critic, batch, samples)
        target_features = critic_features(target_critic, batch, samples)
        total, values = vocabulary_loss(
            partial(
                actor_critic,
                tau=self.tau,
                target_tau=self.target_tau(),
                entropy_gradient=self.entropy_gradient,
                restrict_forced_eos=self.forced_eos == "restricted",
            ),
            policy_head(policy, features),
            frozen=(
                critic_head(critic, online_features.detach()),
                critic_head(target_critic, target_features.detach()),
            ),
            rows=(rows.forced_eos, rows.tokens),
        )
        objectives = [Objective("policy", total, "sequence")]
        if self.lambda_mle:
            references = reference_samples(batch)
            objectives.append(mle_objective(batch, references, networks, randomness, self.lambda_mle))
        critic_terms, metrics = self.critic_objectives(
            critic, online_features, samples, rows, values, rewards.result()
        )
        return objectives + critic_terms, metrics
