"""MRT, minimum risk training (Shen et al. 2016, Eqs. 6 to 12).

For each sentence a set S of distinct candidates is drawn from the policy. Minimises the risk over the set

    sum_{y in S} Q(y) Delta(y),   Q(y) = pi(y | x)^alpha / sum_{y' in S} pi(y' | x)^alpha,   Delta = 1 - R(y)

with R the payoff without a factor. Its gradient is that of a likelihood weighted by constants:

    d risk / d log pi(y) = alpha Q(y) (Delta(y) - risk)

Limits: sharpness alpha -> 0 weighs all candidates alike; S = all sequences at alpha = 1 is the expected
reward; one distinct candidate gives no gradient; lambda_mle alone is MLE.
Departures: 1. Shen et al. bound candidates by 1.5 times the source and 5 more, here they are bounded as all
samples are; 2. log pi is that of the pass which drew the candidates, dropout included (the reference goes
without); eos forced at the maximum length counts as no choice; 3. Adam's rate is that of actor-critic. Where
samples are stale (max_staleness) Q is that of the policy that drew them, which biases the gradient.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor

from raysq.algorithms.base import Networks, policy_head, reference_samples
from raysq.algorithms.mle import mle_objective
from raysq.algorithms.moment import Moment
from raysq.algorithms.on_policy import OnPolicy, sample_metrics, with_last
from raysq.algorithms.rows import Rows, by_row, policy_features, source_weights
from raysq.losses import cross_entropy, negative_log_likelihoods, vocabulary_loss
from raysq.models import EncoderDecoder
from raysq.rewards.base import RewardFunction
from raysq.rewards.scoring import PendingRewards
from raysq.types import Batch, MetricSums, Objective, Samples


class Mrt(OnPolicy):
    """Minimum risk over 100 candidates at sharpness 0.005."""

    learning_rate: float = Field(1e-4, gt=0)
    """Learning rate."""
    num_samples: int = Field(100, ge=2)
    """Candidates of each sentence, before the same ones are counted once."""
    sharpness: float = Field(5e-3, gt=0)
    """alpha: exponent of the policy's probability in the distribution over the candidates."""
    include_reference: bool = False
    """Let the reference take the place of the last candidate."""
    lambda_mle: float = Field(0.0, ge=0)
    """Weight of the reference's likelihood beside the risk."""

    def draw(
        self, batch: Batch, networks: Networks, reward_function: RewardFunction, moment: Moment
    ) -> Samples:
        """The candidates, N a sentence; the same one may be drawn more than once."""
        if not self.include_reference:
            return super().draw(batch, networks, reward_function, moment)
        T = self.longest_sample(batch)
        drawn = self.sequences(batch, networks, moment, self.num_samples - 1, T)
        return with_last(drawn, _scored_references(batch, networks.sampling_policy()))

    def objectives(
        self,
        batch: Batch,
        samples: Samples,
        rewards: PendingRewards | None,
        networks: Networks,
        moment: Moment,
    ) -> tuple[list[Objective], MetricSums]:
        """The risk, and the reference's likelihood."""
        assert rewards is not None
        assert samples.log_probs is not None
        N, policy, rows = self.num_samples, networks.policy, Rows.of(samples)
        distinct = distinct_candidates(samples)
        log_pi = samples.log_probs.sum(1).masked_fill(~distinct, -torch.inf)
        q = source_weights(self.sharpness * log_pi, N)
        features = policy_features(policy, batch, samples, moment)
        payoffs = rewards.result().sequence.to(q.dtype)
        cost = 1 - payoffs
        risk = (q * cost).view(-1, N).sum(1)
        slope = self.sharpness * q * (cost - risk.repeat_interleave(N))  # by log pi of the sequence
        total, _ = vocabulary_loss(
            cross_entropy,
            policy_head(policy, features),
            rows=(rows.tokens,),
            weights=-by_row(slope, samples).masked_fill(rows.forced_eos, 0.0),
        )
        # the value is the risk, the gradient that of the likelihood
        objectives = [Objective("risk", total + (risk.sum() - total).detach(), "example")]
        if self.lambda_mle:
            references = reference_samples(batch, samples.memory)
            objectives.append(mle_objective(batch, references, networks, moment, coefficient=self.lambda_mle))
        examples = float(len(risk))
        return objectives, sample_metrics(samples, payoffs) | {
            "risk": (risk.sum().item(), examples),
            "distinct": (float(distinct.sum()), examples),
            "effective": ((1 / q.square().view(-1, N).sum(1)).sum().item(), examples),
        }


def distinct_candidates(samples: Samples) -> Tensor:
    """[M] False where an earlier sequence of the same example is the same."""
    targets = samples.targets.unflatten(0, (-1, samples.num_per_example))
    same = (targets.unsqueeze(2) == targets.unsqueeze(1)).all(3)
    return ~same.tril(-1).any(2).flatten()


@torch.no_grad()
def _scored_references(batch: Batch, policy: EncoderDecoder) -> Samples:
    """The references with their log-probabilities, no dropout."""
    references = reference_samples(batch)
    features = policy.features(policy.encode(batch.source, batch.source_mask), references.inputs)
    head = policy_head(policy, features[references.mask])
    log_probs = features.new_zeros(references.mask.shape)
    log_probs[references.mask] = -negative_log_likelihoods(head, references.targets[references.mask])
    return replace(references, log_probs=log_probs)
