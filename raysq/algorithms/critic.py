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
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from raysq.algorithms.base import Algorithm, Group, Networks, critic_head, critic_input, policy_head
from raysq.algorithms.randomness import Randomness
from raysq.decoding import sample
from raysq.losses import chosen_q, q_variance, squared_td_error, state_value, td_targets, vocabulary_values
from raysq.losses.temporal_difference import VarianceForm
from raysq.models import Seq2Seq
from raysq.rewards.scoring import PendingRewards
from raysq.types import Batch, MetricSums, Objective, Rewards, Samples


class Rows(NamedTuple):
    """Valid positions of the samples, sequence after sequence: what the losses read."""

    tokens: Tensor
    """[n]"""
    forced_eos: Tensor
    """[n]"""
    last: Tensor
    """[n] True at each sequence's eos."""

    @classmethod
    def of(cls, samples: Samples) -> Rows:
        """Rows of the samples, in the order in which ``x[samples.mask]`` gives them."""
        last = samples.mask.clone()
        last[:, :-1] &= ~samples.mask[:, 1:]
        return cls(samples.targets[samples.mask], samples.forced_eos[samples.mask], last[samples.mask])


class CriticTraining(Algorithm):
    """Critic against a frozen policy: 2 samples a sentence, Adam 1e-3, halved when dev |TD error| stalls."""

    trains: ClassVar[tuple[Group, ...]] = ("critic",)
    uses_rewards: ClassVar[bool] = True
    selection: ClassVar[tuple[str, Literal["max", "min"]]] = ("td_error", "min")

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
    max_length: int = Field(50, ge=2)
    """Longest sample, eos counted. [tokens]"""
    sample_dropout: bool = True
    """Keep the policy's dropout on while it samples (published), with the same masks when it is evaluated."""
    max_epochs: int = Field(20, ge=1)
    """Passes over the training data, at most. [epochs]"""
    max_decays: int = Field(5, ge=0)
    """The failure to improve after this many decays ends the stage."""

    def target_update_rate(self) -> float | None:
        """beta."""
        return self.target_rate

    def target_tau(self) -> float:
        """Temperature of the entropy inside the TD target."""
        return self.tau

    def draw(self, batch: Batch, networks: Networks, randomness: Randomness) -> Samples:
        """N samples a sentence from the current policy."""
        policy, N = networks.policy, self.num_samples
        T = min(batch.longest_reference + self.extra_length, self.max_length)
        dropout = (
            randomness.dropout_mask("sample dropout", batch, N, T, policy) if self.sample_dropout else None
        )
        with torch.no_grad():
            memory = policy.encode(batch.source, batch.source_mask).repeat(N)
        uniforms = randomness.uniforms("samples", batch, N, T)
        return sample(policy, memory, uniforms, num_per_example=N, dropout_mask=dropout)

    def objectives(
        self,
        batch: Batch,
        samples: Samples,
        rewards: PendingRewards | None,
        networks: Networks,
        randomness: Randomness,
    ) -> tuple[list[Objective], MetricSums]:
        """TD error and variance penalty of the critic; the policy gets no gradient."""
        assert rewards is not None
        critic, target_critic = networks.critics()
        rows = Rows.of(samples)
        features = policy_features(networks.policy, batch, samples).detach()
        values = vocabulary_values(
            partial(state_value, tau=self.target_tau(), restrict_forced_eos=self.forced_eos == "restricted"),
            (
                policy_head(networks.policy, features),
                critic_head(target_critic, critic_features(target_critic, batch, samples).detach()),
            ),
            rows=(rows.forced_eos, rows.tokens),
        )
        online_features = critic_features(critic, batch, samples)
        return self.critic_objectives(critic, online_features, samples, rows, values, rewards.result())

    def critic_objectives(
        self,
        critic: Seq2Seq,
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
            "sample_bleu": (100 * rewards.sequence.sum().item(), sequences),
            "sample_length": (n - sequences, sequences),
            "forced_eos": (float(rows.forced_eos.sum()), sequences),
        }


def policy_features(policy: Seq2Seq, batch: Batch, samples: Samples) -> Tensor:
    """Features [n, H] of the samples' valid positions, under the masks of the pass that drew them."""
    memory = policy.encode(batch.source, batch.source_mask).repeat(samples.num_per_example)
    return policy.features(memory, samples.inputs, samples.dropout_mask)[samples.mask]


def critic_features(critic: Seq2Seq, batch: Batch, samples: Samples) -> Tensor:
    """Features [n, H] of the samples' valid positions, given the reference."""
    memory = critic.encode(*critic_input(batch)).repeat(samples.num_per_example)
    return critic.features(memory, samples.inputs)[samples.mask]
