"""Maximum likelihood, the pre-training of every actor (Dai, Xie, Hovy 2018, Eq. 1 and section 6.1).

Minimises -sum_t log pi(y*_t | y*_{<t}, x), summed over tokens and averaged over sentences.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from raysq.algorithms.base import Algorithm, Networks, policy_head, reference_samples
from raysq.algorithms.moment import Moment
from raysq.algorithms.rows import by_row, policy_features
from raysq.losses import cross_entropy, vocabulary_loss
from raysq.rewards.base import RewardFunction
from raysq.rewards.scoring import PendingRewards
from raysq.types import Batch, MetricSums, Objective, Samples


class Mle(Algorithm):
    """Maximum likelihood by the published schedule: SGD 0.6, halved when dev BLEU does not improve."""

    model_free: ClassVar[bool] = True

    optimizer: Literal["sgd", "adam"] = "sgd"
    """Optimiser of the policy."""
    learning_rate: float = Field(0.6, gt=0)
    """Learning rate."""

    def draw(
        self, batch: Batch, networks: Networks, reward_function: RewardFunction, moment: Moment
    ) -> Samples:
        """The references."""
        return reference_samples(batch)

    def objectives(
        self,
        batch: Batch,
        samples: Samples,
        rewards: PendingRewards | None,
        networks: Networks,
        moment: Moment,
    ) -> tuple[list[Objective], MetricSums]:
        """One term, the negative log-likelihood."""
        objective = mle_objective(batch, samples, networks, moment)
        tokens = float(samples.mask.sum())
        return [objective], {"tokens": (tokens, 1.0), "nll": (objective.total.item(), tokens)}


def mle_objective(
    batch: Batch,
    samples: Samples,
    networks: Networks,
    moment: Moment,
    *,
    weights: Tensor | None = None,
    coefficient: float = 1.0,
) -> Objective:
    """Negative log-likelihood of the samples, summed over tokens, averaged over examples.

    ``weights`` [M] are the sequences' own, 1 when absent; they get no gradient. Eos that was forced was no
    choice and counts nothing.
    """
    features = policy_features(networks.policy, batch, samples, moment)
    chosen = ~samples.forced_eos[samples.mask]
    total, _ = vocabulary_loss(
        cross_entropy,
        policy_head(networks.policy, features[chosen]),
        rows=(samples.targets[samples.mask][chosen],),
        weights=None if weights is None else by_row(weights, samples)[chosen],
    )
    return Objective("mle", total, "example", coefficient)
