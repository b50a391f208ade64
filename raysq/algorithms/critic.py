"""The critic learns to evaluate a policy by temporal differences (Dai, Xie, Hovy 2018, section 4.2).

Minimises sum_t (Qhat_t - Q(y_{<t}, y_t))^2 + lambda_var var_w Q(y_{<t}, w) on samples of the policy (Eq. 18),

    Qhat_t = r_t + Vbar(y_{1:t}),  Vbar(s) = sum_w pi(w|s) [Qbar(s, w) - tau log pi(w|s)]      (Eq. 19)

with a slowly updated target critic Qbar, the reward r_t = R(y_{1:t}) - R(y_{1:t-1}) (Eq. 13) scaled by the
reference length, and Vbar = 0 after eos. tau = 0 is the critic of plain actor-critic.

Departures from the released code: 1. eos forced at the maximum length is a point mass (``forced_eos``); 2.
pad positions enter no term; 3. the squared error is not halved, so lambda_var weighs half as much as there.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from raysq.algorithms.base import (
    Evaluation,
    Follower,
    Group,
    Networks,
    critic_head,
    policy_head,
)
from raysq.algorithms.moment import Moment
from raysq.algorithms.on_policy import OnPolicy
from raysq.algorithms.rows import Rows, critic_features, policy_features
from raysq.data.corpus import SplitName
from raysq.losses import chosen_q, q_variance, squared_td_error, state_value, td_targets, vocabulary_values
from raysq.losses.temporal_difference import VarianceForm
from raysq.models import CriticForm, EncoderDecoder
from raysq.rewards.scoring import PendingRewards
from raysq.types import Batch, MetricSums, Objective, Rewards, Samples


class CriticTraining(OnPolicy):
    """Critic against a frozen policy: 2 samples a sentence, Adam 1e-3, halved when dev |TD error| stalls."""

    critic_form: ClassVar[CriticForm | None] = "critic"

    tau: float = Field(0.045, ge=0)
    """Entropy temperature in the TD target, on the scale of one token's reward; 0.04 with input feeding."""
    target_rate: float = Field(1e-3, gt=0, le=1)
    """beta: share by which the target critic follows the critic at each update; 1 is no target network."""
    lambda_var: float = Field(1e-3, ge=0)
    """Weight of the variance penalty that smooths Q over words."""
    variance: VarianceForm = "variance"
    """Penalty: unbiased variance over words (released code), or the sum of squared deviations (paper)."""
    forced_eos: Literal["restricted", "unrestricted"] = "restricted"
    """At the maximum length: eos alone (Corollary 1), or the full policy (released code)."""
    num_samples: int = Field(2, ge=1)
    """Sequences drawn for each sentence."""
    extra_length: int = Field(5, ge=0)
    """Longest sample: this more than the batch's longest reference with bos and eos. [tokens]"""
    max_epochs: int = Field(20, ge=1)
    """Passes over the training data, at most. [epochs]"""
    max_decays: int = Field(5, ge=0)
    """The failure to improve after this many decays ends the stage."""

    @property
    def trains(self) -> tuple[Group, ...]:
        """The critic."""
        return ("critic",)

    @property
    def selection(self) -> tuple[str, Literal["max", "min"]]:
        """|TD error| on dev."""
        return ("td_error", "min")

    def following_rates(self) -> dict[Follower, float]:
        """beta of the target critic."""
        return {"target_critic": self.target_rate}

    def scores(
        self, evaluation: Evaluation, networks: Networks, split: SplitName, *, closing: bool
    ) -> tuple[dict[str, Any], list[str]]:
        """How well the critic predicts; beside the policy's own scores where the policy is trained too."""
        one_sample = self.model_copy(update={"num_samples": 1})
        scores = evaluation.critic_scores(networks, one_sample, split)
        if "policy" not in self.trains:
            return scores, []
        of_policy, hypotheses = super().scores(evaluation, networks, split, closing=closing)
        return scores | of_policy, hypotheses

    def target_tau(self) -> float:
        """Temperature of the entropy inside the TD target."""
        return self.tau

    def objectives(
        self,
        batch: Batch,
        samples: Samples,
        rewards: PendingRewards | None,
        networks: Networks,
        moment: Moment,
    ) -> tuple[list[Objective], MetricSums]:
        """TD error and variance penalty of the critic; the policy gets no gradient."""
        assert rewards is not None
        critic, _ = networks.critics()
        rows = Rows.of(samples)
        values = self.state_values(batch, samples, networks, moment)
        online_features = critic_features(critic, batch, samples)
        return self.critic_objectives(critic, online_features, samples, rows, values, rewards.result())

    @torch.no_grad()
    def state_values(
        self, batch: Batch, samples: Samples, networks: Networks, moment: Moment
    ) -> dict[str, Tensor]:
        """Vbar of Eq. 19 under the policy that draws: ``state_value`` and ``entropy`` [n], no gradient."""
        rows, policy, (_, target_critic) = Rows.of(samples), networks.sampling_policy(), networks.critics()
        return vocabulary_values(
            partial(state_value, tau=self.target_tau(), restrict_forced_eos=self.forced_eos == "restricted"),
            (
                policy_head(policy, policy_features(policy, batch, samples, moment)),
                critic_head(target_critic, critic_features(target_critic, batch, samples)),
            ),
            rows=(rows.forced_eos, rows.tokens),
        )

    def critic_objectives(
        self,
        critic: EncoderDecoder,
        features: Tensor,
        samples: Samples,
        rows: Rows,
        values: dict[str, Tensor],
        rewards: Rewards,
    ) -> tuple[list[Objective], MetricSums]:
        """Terms of the critic from its features [n, H] and the rows' ``state_value`` and ``entropy`` [n]."""
        weight, bias = critic.output.weight, critic.output.bias
        q = chosen_q(features, weight, bias, rows.tokens)
        targets = td_targets(rewards.token[samples.mask].to(q.dtype), values["state_value"], rows.last)
        sequences = float(len(samples.mask))
        objectives = [Objective("td", squared_td_error(q, targets).sum(), "sequence")]
        if self.lambda_var:
            variance = q_variance(features, weight, bias, self.variance)
            objectives.append(Objective("variance", variance, "sequence", self.lambda_var))
        n = float(len(rows.tokens))
        error = (targets - q.detach()).abs().sum().item()
        return objectives, {
            "tokens": (n, 1.0),
            "td_error": (error, n),
            "entropy": (values["entropy"].sum().item(), n),
            "q": (q.detach().sum().item(), n),
            "reward": ((rewards.sequence * rewards.scale).sum().item(), sequences),
            "payoff": (rewards.sequence.sum().item(), sequences),
            "sample_length": (n - sequences, sequences),
            "forced_eos": (float(rows.forced_eos.sum()), sequences),
        }
