"""RAML, reward augmented maximum likelihood (Norouzi et al. 2016; Dai, Xie, Hovy 2018, Eqs. 1 and 2).

Minimises the cross entropy from the exponentiated payoff to the policy,

    -sum_y q(y | y*) log pi(y | x),   q(y | y*) = exp{R(y) / tau} / Z

on N samples of a proposal q0 around the reference, each weighted within its example (``weighting``):

    reward      w_i ~ exp{R_i / tau}          as published (Ma et al. 2017; Dai et al., Tan et al. 2019): q0
                                              stays in the target, which is q0 exp{R / tau} / Z
    importance  w_i ~ exp{R_i / tau} / q0_i   with q0's exact density, self-normalised: tends to q on what q0
                                              can propose, with a bias of order 1 / N
    uniform     w_i = 1 / N                   for a proposal that is the target itself: Hamming and edit
                                              distance at a temperature of their own (Norouzi et al. 2016)

Limits: with the reference kept N = 1 is MLE, and so is tau -> 0 where the reference alone earns most; tau ->
infinity is ``uniform``. R is not scaled by length, and a constant added to it changes nothing. tau is tied to
proposal and reward: 0.4 to 1 for n-grams with BLEU in [0, 1], 3 for minus the Hamming distance with
alpha-DiMT's proposal; Norouzi et al.'s is a setting of the proposal, about 0.85.

Departures: 1. samples are drawn anew in every epoch; released samples are drawn once (Ma et al. draw 100, of
which an epoch takes 9 and the reference). 2. No proposal draws unk. 3. Ma et al. normalise weights over all
100, here over those that are trained on. 4. Ma et al.'s importance weights of Hamming samples divide by
another density than that of the draw. 5. Tan et al. do not clip gradients.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from raysq.algorithms.base import Algorithm, Networks
from raysq.algorithms.mle import mle_objective
from raysq.algorithms.moment import Moment
from raysq.algorithms.rows import source_weights
from raysq.proposals import propose
from raysq.proposals.settings import ProposalSettings
from raysq.rewards.base import RewardFunction
from raysq.rewards.scoring import PendingRewards
from raysq.types import Batch, MetricSums, Objective, Samples


class Raml(Algorithm):
    """Likelihood of the reference and corrupted copies by payoff: as Dai et al. 2018, from scratch."""

    uses_rewards: ClassVar[bool] = True

    optimizer: Literal["sgd", "adam"] = "sgd"
    """Optimiser of the policy."""
    learning_rate: float = Field(0.6, gt=0)
    """Learning rate."""
    batch_size: int = Field(42, ge=1)
    """Global batch. [sentences]"""
    num_samples: int = Field(5, ge=1)
    """Sequences for each sentence, the reference among them where it is kept."""
    keep_reference: bool = True
    """Let the reference itself be the first of the samples."""
    weighting: Literal["reward", "importance", "uniform"] = "reward"
    """Weights of a sentence's samples: exp(R / temperature), that over the proposal's density, or equal."""
    temperature: float = Field(1.0, gt=0)
    """tau of exp(R / tau), R not scaled by length; tied to proposal and reward."""
    proposal: ProposalSettings = ProposalSettings()
    """How references are corrupted."""

    @property
    def model_free(self) -> bool:
        """Proposals need no network."""
        return True

    @model_validator(mode="after")
    def _weights_of_draws(self) -> Self:
        if self.weighting == "importance" and self.keep_reference:  # a reference that is put in was not drawn
            raise ValueError("`keep_reference` must be false with `weighting` importance")
        if self.weighting == "uniform":
            self.refuse_change("temperature", "with `weighting` uniform")
        if self.num_samples == 1 and not self.keep_reference and self.weighting != "uniform":
            raise ValueError(
                f"`num_samples` must be above 1 with `weighting` {self.weighting} and without "
                "`keep_reference`: one sample has all the weight"
            )
        return self

    def draw(
        self, batch: Batch, networks: Networks, reward_function: RewardFunction, moment: Moment
    ) -> Samples:
        """N sequences of each example from the proposal, the reference first where it is kept."""
        return propose(
            self.proposal.make(),
            batch,
            self.num_samples,
            moment.of_epoch,
            keep_reference=self.keep_reference,
            with_density=self.weighting == "importance",
        )

    def objectives(
        self,
        batch: Batch,
        samples: Samples,
        rewards: PendingRewards | None,
        networks: Networks,
        moment: Moment,
    ) -> tuple[list[Objective], MetricSums]:
        """One term, the weighted negative log-likelihood."""
        assert rewards is not None
        payoffs = rewards.result().sequence
        weights = self.weights(samples, payoffs)
        objective = mle_objective(batch, samples, networks, moment, weights=weights)
        squares = weights.square().view(-1, samples.num_per_example).sum(1)
        return [objective], {
            "tokens": (float(samples.mask.sum()), 1.0),
            "nll": (objective.total.item(), (weights * samples.mask.sum(1)).sum().item()),
            "payoff": (payoffs.sum().item(), float(len(payoffs))),
            "effective": ((1 / squares).sum().item(), float(len(squares))),
        }

    def weights(self, samples: Samples, payoffs: Tensor) -> Tensor:
        """Weights [M] of samples with payoffs R [M]: those of an example sum to 1."""
        scores = torch.zeros_like(payoffs) if self.weighting == "uniform" else payoffs / self.temperature
        if self.weighting == "importance":
            assert samples.log_proposal is not None
            scores = scores - samples.log_proposal  # float64, as densities may be tiny
        return source_weights(scores, samples.num_per_example).to(payoffs.dtype)
