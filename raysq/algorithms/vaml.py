"""VAML, value augmented maximum likelihood: RAML with targets by token (Dai, Xie, Hovy 2018, section 4.1).

A frozen oracle (``raysq.algorithms.soft_q``) says how good every next word is; the student minimises

    E_y [ sum_t CE(P_Q(. | y_{<t}), p_theta(. | y_{<t})) ],   P_Q(. | s) = softmax(Q(s, .) / tau)   (Eq. 17)

where y ~ P_Q is approximated by y* and n-gram replacements of it, weighted as in RAML by exp(R / temperature)
among one example's samples. Of the tokens a share ``vaml_coeff``, drawn at random, has this cross entropy,
the others have the likelihood of the word that was sampled. With the exact Q both have the gradient of
KL(P_RAML || p_theta) on average over y ~ P_RAML.

Limits: vaml_coeff = 0 is RAML with these samples; with the exact Q, tau -> 0 and y* alone it is MLE.
Departures from the released code: 1. unk is never drawn by the proposal; 2. pad and bos are no actions and
have P_Q = 0. Published are num_samples = 5 and vaml_coeff = 0.2; the paper found samples of P_Q itself
(``samples_from`` oracle) not diverse enough.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from raysq.algorithms.base import Algorithm, Networks, critic_input, policy_head
from raysq.algorithms.moment import Moment
from raysq.algorithms.rows import Rows, by_row, critic_features, policy_features, source_weights
from raysq.decoding import ancestral, sample
from raysq.losses import cross_entropy, distillation, vocabulary_loss
from raysq.models import CriticForm, EncoderDecoder
from raysq.proposals import NgramReplacement, propose
from raysq.rewards.base import RewardFunction
from raysq.rewards.scoring import PendingRewards
from raysq.types import Batch, MetricSums, Objective, Samples


class Vaml(Algorithm):
    """Student of a frozen oracle, from scratch: SGD 0.6, halved when dev BLEU does not improve."""

    uses_rewards: ClassVar[bool] = True
    critic_form: ClassVar[CriticForm | None] = "oracle"

    optimizer: Literal["sgd", "adam"] = "sgd"
    """Optimiser of the policy."""
    learning_rate: float = Field(0.6, gt=0)
    """Learning rate."""
    batch_size: int = Field(42, ge=1)
    """Global batch. [sentences]"""
    tau: float = Field(0.4, gt=0)
    """Temperature of the oracle's distribution: the one it was trained with."""
    vaml_coeff: float = Field(0.2, ge=0, le=1)
    """Probability that a token's target is the oracle's distribution and not the sampled word."""
    samples_from: Literal["ngram", "oracle"] = "ngram"
    """The reference and n-gram replacements, weighted by payoff; or draws from the oracle, which need no
    weights."""
    num_samples: int = Field(5, ge=1)
    """Sequences for each sentence, with n-gram replacements its reference among them."""
    ngram: NgramReplacement = NgramReplacement(protect_last=False)
    """How words of the reference are replaced."""
    temperature: float = Field(1.0, gt=0)
    """Of the weights exp(R / temperature), R not scaled by length; draws of the oracle have equal ones."""
    extra_length: int = Field(10, ge=0)
    """Longest draw of the oracle: this more than the batch's longest reference with bos and eos. [tokens]"""

    @model_validator(mode="after")
    def _settings_of_proposal(self) -> Self:
        if self.samples_from == "oracle":
            for name in ("ngram", "temperature"):
                self.refuse_change(name, "with `samples_from` oracle")
        return self

    @property
    def model_free(self) -> bool:
        """Unless the oracle draws."""
        return self.samples_from == "ngram"

    def draw(
        self, batch: Batch, networks: Networks, reward_function: RewardFunction, moment: Moment
    ) -> Samples:
        """The reference and n-gram replacements, or draws from the oracle given the reference."""
        N = self.num_samples
        if self.samples_from == "ngram":
            return propose(self.ngram, batch, N, moment.of_epoch, keep_reference=True, with_density=False)
        oracle = _oracle(networks)
        with torch.no_grad():
            memory = oracle.encode(*critic_input(batch)).repeat(N)
        uniforms = moment.uniforms("samples", batch, N, self._longest(batch))
        choice = ancestral(oracle, uniforms, self.tau)
        return sample(oracle, memory, uniforms, num_per_example=N, choice=choice)

    def objectives(
        self,
        batch: Batch,
        samples: Samples,
        rewards: PendingRewards | None,
        networks: Networks,
        moment: Moment,
    ) -> tuple[list[Objective], MetricSums]:
        """Likelihood of some tokens and cross entropy against the oracle of the others."""
        assert rewards is not None
        policy, oracle, rows = networks.policy, _oracle(networks), Rows.of(samples)
        features = policy_features(policy, batch, samples, moment)
        with torch.no_grad():
            oracle_features = critic_features(oracle, batch, samples)
        chance = moment.uniforms("distilled", batch, samples.num_per_example, self._longest(batch))
        distilled = chance[:, : samples.mask.shape[1]][samples.mask] < self.vaml_coeff
        payoffs = rewards.result().sequence
        weights = by_row(self.weights(samples, payoffs), samples)
        weights = weights.masked_fill(rows.forced_eos, 0.0)  # there was no choice
        mle, mle_values = vocabulary_loss(
            cross_entropy,
            policy_head(policy, features[~distilled]),
            rows=(rows.tokens[~distilled],),
            weights=weights[~distilled],
        )
        vaml, vaml_values = vocabulary_loss(
            partial(distillation, tau=self.tau),
            policy_head(policy, features[distilled]),
            frozen=(policy_head(oracle, oracle_features[distilled]),),
            weights=weights[distilled],
        )
        num_distilled = float(distilled.sum())
        return [Objective("mle", mle, "example"), Objective("vaml", vaml, "example")], {
            "tokens": (float(len(rows.tokens)), 1.0),
            "nll": (mle_values["loss"].sum().item(), len(rows.tokens) - num_distilled),
            "cross_entropy": (vaml_values["loss"].sum().item(), num_distilled),
            "payoff": (payoffs.sum().item(), float(len(payoffs))),
        }

    def _longest(self, batch: Batch) -> int:
        """Positions that any sample of the global batch may have."""
        return batch.longest_reference + self.extra_length

    def weights(self, samples: Samples, payoffs: Tensor) -> Tensor:
        """Weights [M] of samples with payoffs R [M]: those of an example sum to 1."""
        of_oracle = self.samples_from == "oracle"
        scores = torch.zeros_like(payoffs) if of_oracle else payoffs / self.temperature
        return source_weights(scores, samples.num_per_example)


def _oracle(networks: Networks) -> EncoderDecoder:
    assert networks.critic is not None
    return networks.critic
