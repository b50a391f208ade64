"""Scheduled sampling (Bengio et al. 2015), with the schedule of Tan et al. (2019, appendix C.2).

Minimises -sum_t log pi(y*_t | ytilde_{<t}, x) where each ytilde_t by itself is the reference's y*_t with
probability eps_i and else the policy's own draw from pi(. | ytilde_{<t}, x), at update i (from 0):

    eps_i = k / (k + exp(i / k))

No gradient flows through the draws. Limit: k -> infinity (eps = 1) is MLE, with the same dropout masks.
Departures: 1. Tan et al. call eps the probability of the policy's draw; it is the reference's, as in Bengio
et al. and in the released code. 2. The released code counts i anew in every epoch, so that its policy is
hardly ever asked (``per_epoch_reset``). 3. The draws are made under the dropout masks of the loss. 4. Tan et
al. (section 5) publish Adam 1e-3 and batches of 64; that the rate is halved, gradients are clipped and there
are 30 epochs is our choice.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field

from raysq.algorithms.base import Algorithm, Networks, encoded_source
from raysq.algorithms.mle import mle_objective
from raysq.algorithms.moment import Moment
from raysq.decoding.feeding import mixed_inputs
from raysq.rewards.base import RewardFunction
from raysq.rewards.scoring import PendingRewards
from raysq.types import Batch, MetricSums, Objective, Samples


class ScheduledSampling(Algorithm):
    """Likelihood of the reference, read with the policy's own words in it: Adam 1e-3, from scratch."""

    batch_size: int = Field(64, ge=1)
    """Global batch. [sentences]"""
    k: float = Field(500.0, ge=1)
    """Slowness of the schedule: the reference's share is one half after k ln k updates (k = 600 for
    summaries). [updates]"""
    per_epoch_reset: bool = False
    """Count the updates anew in every epoch (released code)."""

    def teacher_probability(self, moment: Moment) -> float:
        """eps_i = sigmoid(log k - i / k), which overflows at no i."""
        i = moment.update_of_epoch if self.per_epoch_reset else moment.update
        return float(torch.sigmoid(torch.tensor(math.log(self.k) - i / self.k, dtype=torch.float64)))

    def draw(
        self, batch: Batch, networks: Networks, reward_function: RewardFunction, moment: Moment
    ) -> Samples:
        """The references, with inputs of which some are the policy's."""
        T, policy = batch.longest_reference, networks.sampling_policy()
        targets, mask = batch.reference[:, :T], batch.reference_mask[:, :T]
        width = targets.shape[1]
        # drawn for T steps: on every rank the same, whatever its own references are
        dropout = moment.dropout_mask("mle dropout", batch, 1, T, policy)
        if dropout is not None:
            dropout = dropout[:, :width]
        own = moment.uniforms("own inputs", batch, 1, T)[:, :width] >= self.teacher_probability(moment)
        memory, kept = encoded_source(batch, networks)
        uniforms = moment.uniforms("samples", batch, 1, T)[:, :width]
        return Samples(
            inputs=mixed_inputs(policy, memory, targets, mask, own, uniforms, dropout),
            targets=targets,
            mask=mask,
            forced_eos=torch.zeros_like(mask),
            num_per_example=1,
            dropout_mask=dropout,
            memory=kept,
        )

    def objectives(
        self,
        batch: Batch,
        samples: Samples,
        rewards: PendingRewards | None,
        networks: Networks,
        moment: Moment,
    ) -> tuple[list[Objective], MetricSums]:
        """One term, the negative log-likelihood of the reference."""
        objective = mle_objective(batch, samples, networks, moment)
        tokens = float(samples.mask.sum())
        return [objective], {
            "tokens": (tokens, 1.0),
            "nll": (objective.total.item(), tokens),
            "teacher_probability": (self.teacher_probability(moment), 1.0),
        }
