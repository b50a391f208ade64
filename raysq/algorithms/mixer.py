"""MIXER: a prefix of the reference by likelihood, the rest by REINFORCE (Ranzato et al. 2016, section 3.2.2).

A sequence is y*_1 .. y*_m and from there on drawn from the policy. Minimises, per sentence,

    w (-sum_{t <= m} log pi(y*_t | ..)) + (1 - w) (-sum_{t > m} A_t log pi(y_t | ..)),   A_t constant,

    original  A_t = R(y) - b_t(h_t), one linear regression a step, learned on the drawn part
    erpo      A   = R(y_{1:T}) - R(y_{1:m}), nothing learned           (Tan et al. 2019, appendix C.2)

with R the payoff without a factor. m falls from 25 by 3 after every 5 epochs, and ends at 1 (``prefixes``).
The paper trains the first of these, m = 25, by likelihood alone for 25 epochs: that is the recipe's stage
before this one, and m is 22 at this stage's first update. A reference that m covers is copied whole.

Limits: m above every reference is w times MLE; w = 1 is MLE of the prefix.
Departures: 1. the published code averages the likelihood over the batch but sums REINFORCE, which weighs it
by the size of the batch: here both are averaged, and w says what each weighs; 2. sentences are not cut at 25
tokens, so that m = 25 is not all of them; 3. the payoff is the workflow's, while the published one leaves out
n-grams inside the prefix (those add the same to all that can follow); 4. the code follows the dev likelihood,
here dev BLEU picks the checkpoint and the rate; 5. it stays at m = 1 for up to 100 epochs, here
``max_epochs`` says for how long; 6. its baseline reads the attention's context too and is trained with
1/100 of the policy's rate, here it reads the attention vector and has its own rate and Adam's or SGD's step.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from raysq.algorithms.base import Networks, policy_head
from raysq.algorithms.baseline import MayLearnBaseline
from raysq.algorithms.moment import Moment
from raysq.algorithms.on_policy import ended_references, sample_metrics, steps
from raysq.algorithms.rows import Rows, by_row, policy_features
from raysq.decoding import Choice, ancestral, given
from raysq.losses import cross_entropy, policy_gradient, vocabulary_loss
from raysq.rewards.base import RewardFunction
from raysq.rewards.scoring import PendingRewards
from raysq.types import Batch, MetricSums, Objective, Rewards, Samples


class Mixer(MayLearnBaseline):
    """MIXER as published: SGD 0.2, batches of 32, prefixes of 22, 19, .., 1 words for 5 epochs each."""

    optimizer: Literal["sgd", "adam"] = "sgd"
    """Optimiser of policy and baseline."""
    learning_rate: float = Field(0.2, gt=0)
    """Learning rate of the policy."""
    baseline_learning_rate: float = Field(2e-3, gt=0)
    """Learning rate of the learned baseline; it does not decay."""
    clip_norm: float = Field(10.0, gt=0)
    """Each network's gradient is scaled down to this L2 norm."""
    batch_size: int = Field(32, ge=1)
    """Global batch. [sentences]"""
    decay: float = Field(1 / 1.2, gt=0, le=1)
    """Factor of the learning rate when an evaluation does not improve."""
    max_epochs: int = Field(40, ge=1)
    """Passes over the training data, at most. [epochs]"""
    max_decays: int = Field(41, ge=0)
    """The failure to improve after this many decays ends the stage: a rate of 1e-4."""
    form: Literal["original", "erpo"] = "original"
    """Baseline of the drawn part: learned by step, or the payoff of the prefix."""
    nll_weight: float = Field(0.5, ge=0, le=1)
    """w: weight of the prefix's likelihood; the drawn part has the rest of 1."""
    start_prefix: int = Field(25, ge=1)
    """m of the likelihood training that went before. [tokens]"""
    prefix_step: int = Field(3, ge=1)
    """By how much m falls. [tokens]"""
    epochs_per_prefix: int = Field(5, ge=1)
    """How long m stays. [epochs]"""
    updates_per_prefix: int = Field(0, ge=0)
    """How long m stays, in updates; 0 counts epochs. [updates]"""

    @property
    def learns_baseline(self) -> bool:
        """By ``form``."""
        return self.form == "original"

    @property
    def prefixes(self) -> tuple[int, ...]:
        """All values of m in turn; the first is that of the likelihood training before this stage."""
        return (*range(self.start_prefix, 1, -self.prefix_step), 1)

    def prefix(self, moment: Moment) -> int:
        """m at an update."""
        passed = (
            moment.update // self.updates_per_prefix
            if self.updates_per_prefix
            else moment.epoch // self.epochs_per_prefix
        )
        return self.prefixes[min(passed + 1, len(self.prefixes) - 1)]

    def draw(
        self, batch: Batch, networks: Networks, reward_function: RewardFunction, moment: Moment
    ) -> Samples:
        """m tokens of the reference, then the policy's own."""
        m, N, policy = self.prefix(moment), self.num_samples, networks.sampling_policy()
        T = max(self.longest_sample(batch), batch.longest_reference - 1)  # no reference is cut short
        words = ended_references(batch, N, T)
        taught = torch.arange(T, device=words.device).expand_as(words) < m

        def after_prefix(uniforms: Tensor) -> Choice:
            return given(ancestral(policy, uniforms), words, taught)

        samples = self.sequences(batch, networks, moment, N, T, after_prefix)
        copied = batch.reference_mask.sum(1).clamp(max=m).repeat_interleave(N)
        from_reference = torch.arange(samples.mask.shape[1], device=copied.device) < copied.unsqueeze(1)
        return replace(
            samples, from_reference=from_reference, forced_eos=samples.forced_eos & ~from_reference
        )

    def objectives(
        self,
        batch: Batch,
        samples: Samples,
        rewards: PendingRewards | None,
        networks: Networks,
        moment: Moment,
    ) -> tuple[list[Objective], MetricSums]:
        """The prefix's likelihood, the drawn part's return, the baseline's squared error."""
        assert rewards is not None
        assert samples.from_reference is not None
        rows = Rows.of(samples)
        taught = samples.from_reference[samples.mask]
        drawn = ~taught
        features = policy_features(networks.policy, batch, samples, moment)
        likelihood, _ = vocabulary_loss(
            cross_entropy, policy_head(networks.policy, features[taught]), rows=(rows.tokens[taught],)
        )
        earned = rewards.result()
        advantages = by_row(self._gains(earned, samples), samples).to(features.dtype)[drawn]
        advantages, objectives = self.against_baseline(
            networks, features[drawn], steps(samples)[drawn], advantages
        )
        total, values = vocabulary_loss(
            policy_gradient,
            policy_head(networks.policy, features[drawn]),
            rows=(rows.tokens[drawn], advantages, rows.forced_eos[drawn]),
        )
        share = 1 / self.num_samples
        objectives += [
            Objective("mle", likelihood, "example", self.nll_weight * share),
            Objective("policy", total, "example", (1 - self.nll_weight) * share),
        ]
        n = float(drawn.sum())
        return objectives, sample_metrics(samples, earned.sequence) | {
            "prefix": (float(self.prefix(moment) * len(batch.example_ids)), float(len(batch.example_ids))),
            "drawn": (n, float(len(drawn))),
            "advantage": (advantages.sum().item(), n),
            "entropy": (values["entropy"].sum().item(), n),
        }

    def _gains(self, rewards: Rewards, samples: Samples) -> Tensor:
        """What each sequence earns [M]: R(y), or R(y) - R(y_{1:m}) in the form of ERPO."""
        if self.form == "original":
            return rewards.sequence
        assert samples.from_reference is not None
        after = rewards.token.masked_fill(samples.from_reference, 0.0).sum(1)
        return after / rewards.scale.clamp(min=1.0)  # an empty reference has scale 0, and rewards of 0
