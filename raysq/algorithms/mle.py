"""Maximum likelihood, the pre-training of every actor (Dai, Xie, Hovy 2018, Eq. 1 and section 6.1).

Minimises -sum_t log pi(y*_t | y*_{<t}, x), summed over tokens and averaged over sentences.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from raysq.algorithms.base import Algorithm, Networks, policy_head, reference_samples
from raysq.algorithms.randomness import Randomness
from raysq.losses import cross_entropy, vocabulary_loss
from raysq.rewards.scoring import PendingRewards
from raysq.types import Batch, MetricSums, Objective, Samples


class Mle(Algorithm):
    """Maximum likelihood by the published schedule: SGD 0.6, halved when dev BLEU does not improve."""

    optimizer: Literal["sgd", "adam"] = "sgd"
    """Optimiser of the policy."""
    learning_rate: float = Field(0.6, gt=0)
    """Learning rate."""

    def draw(self, batch: Batch, networks: Networks, randomness: Randomness) -> Samples:
        """The references."""
        return reference_samples(batch)

    def objectives(
        self,
        batch: Batch,
        samples: Samples,
        rewards: PendingRewards | None,
        networks: Networks,
        randomness: Randomness,
    ) -> tuple[list[Objective], MetricSums]:
        """One term, the negative log-likelihood."""
        objective = mle_objective(batch, samples, networks, randomness)
        tokens = float(samples.mask.sum())
        return [objective], {"tokens": (tokens, 1.0), "nll": (objective.total.item(), tokens)}


def mle_objective(
    batch: Batch, samples: Samples, networks: Networks, randomness: Randomness, coefficient: float = 1.0
) -> Objective:
    """Negative log-likelihood of the samples' targets, summed over tokens, averaged over examples."""
    policy = networks.policy
    dropout = randomness.dropout_mask("mle dropout", batch, 1, batch.longest_reference, policy)
    if dropout is not None:
        dropout = dropout[:, : samples.inputs.shape[1]]
    memory = policy.encode(batch.source, batch.source_mask)
    features = policy.features(memory, samples.inputs, dropout)[samples.mask]
    total, _ = vocabulary_loss(
        cross_entropy, policy_head(policy, features), rows=(samples.targets[samples.mask],)
    )
    return Objective("mle", total, "example", coefficient)
