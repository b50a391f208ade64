"""One update at given sizes, in our form and in the textbook's: the same parameters, the same batch.

Networks as published, dropout on, one global batch of random sentences; each form has networks and optimisers
of its own. The policy is not trained, so its sequences are made to end where a trained actor's do: at the
reference's length times exp(LENGTH_SPREAD z), z ~ N(0, 1).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from raysq.algorithms import (
    ActorCritic,
    Algorithm,
    CriticTraining,
    Interpolation,
    Mle,
    Networks,
    Raml,
    SoftQ,
    Vaml,
)
from raysq.algorithms.moment import Moment
from raysq.algorithms.on_policy import OnPolicy
from raysq.decoding import Choice, ancestral
from raysq.models import Seq2Seq
from raysq.rewards import LocalScorer, SentenceBleu
from raysq.rewards.scoring import PendingRewards
from raysq.training.collective import Collective
from raysq.training.samples import LocalSource
from raysq.training.step import Step
from raysq.types import EOS, UNK, Batch, Samples
from tests.benchmarks import textbook
from tests.benchmarks.inputs import random_batch
from tests.benchmarks.settings import BenchmarkSettings

LENGTH_SPREAD = 0.22
"""Standard deviation of log(a sample's length / its reference's), of the demo's MLE actor on dev (seed 1)."""
UPDATE = 2000
"""An update in the middle of a stage."""
TYPES = {"float32": None, "bfloat16": torch.bfloat16}
"""Of the products, by precision."""


@dataclass(frozen=True, slots=True)
class Measured:
    """An update that is measured."""

    name: str
    algorithm: Algorithm
    decays: int = 0


UPDATES = (
    Measured("mle_update", Mle(optimizer="adam", learning_rate=1e-3)),
    Measured("critic_update", CriticTraining()),
    Measured("erac_update", ActorCritic(lambda_mle=0.1)),
    Measured("oracle_update", SoftQ(tau=0.4)),
    Measured("vaml_update", Vaml(optimizer="adam", learning_rate=1e-3, tau=0.4, vaml_coeff=0.2)),
    Measured("raml_update", Raml(optimizer="adam", learning_rate=1e-3)),
    Measured("interpolation_update", Interpolation(), decays=8),
)


class Problem:
    """An update at one size of vocabulary [words] and networks [units]."""

    def __init__(self, settings: BenchmarkSettings, measured: Measured, vocabulary: int, hidden: int) -> None:
        self.name, self.algorithm = measured.name, measured.algorithm
        self.vocabulary, self.hidden, self.device = vocabulary, hidden, settings.device
        self.moment = Moment(1, "benchmark", UPDATE, decays=measured.decays)
        generator = np.random.default_rng(1)
        batch = random_batch(generator, vocabulary, settings.batch_size, settings.length)
        lengths = _actor_lengths(generator, self.algorithm, batch)
        self.lengths = None if lengths is None else lengths.to(settings.device)
        self.batch = batch.to(settings.device)

    def ours(self, precision: str, networks: Networks | None = None) -> Callable[[], object]:
        """Our update, products in this precision; of networks of its own unless some are given."""
        networks = networks or self.networks(TYPES[precision])
        step = Step(self.algorithm, networks, self.source(networks), Collective())
        return partial(step.run, [self.batch], self.moment)

    def source(self, networks: Networks) -> LocalSource:
        """Where our update's samples come from."""
        reward = SentenceBleu()
        if self.lengths is None:
            return LocalSource(self.algorithm, networks, reward, LocalScorer(reward))
        return Ending(self.algorithm, networks, reward, LocalScorer(reward), lengths=self.lengths)

    def textbook(self) -> tuple[textbook.Update, Callable[[], object]]:
        """The textbook's update, and a call of it."""
        update = textbook.update_of(self.algorithm, self.networks(), SentenceBleu())
        return update, partial(update.run, self.batch, self.moment, lengths=self.lengths)

    def networks(self, product_type: torch.dtype | None = None) -> Networks:
        """As published: dot attention in policy and oracle, additive in the critic; anew at each call."""
        algorithm = self.algorithm
        policy, critic = self._network(1, "dot", 0.3, product_type), None
        if algorithm.critic_form == "critic":
            critic = self._network(2, "additive", 0.0, product_type)
        elif algorithm.critic_form == "oracle":
            critic = self._network(2, "dot", 0.1, product_type)
        networks = Networks(policy.requires_grad_("policy" in algorithm.trains), critic)
        if critic is None:
            return networks
        critic.requires_grad_("critic" in algorithm.trains)
        if "target_critic" not in algorithm.following_rates():
            return networks
        return replace(networks, target_critic=copy.deepcopy(critic).requires_grad_(False))

    def _network(
        self,
        seed: int,
        attention: Literal["dot", "additive"],
        dropout: float,
        product_type: torch.dtype | None,
    ) -> Seq2Seq:
        made = Seq2Seq(
            self.vocabulary,
            self.vocabulary,
            embedding_size=self.hidden,
            hidden_size=self.hidden,
            attention=attention,
            input_feeding=False,
            attention_bias=attention == "additive",
            dropout=dropout,
            product_type=product_type,
        )
        made.initialise(torch.Generator().manual_seed(seed))
        return made.to(self.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending(LocalSource):
    """Draws the policy's samples to given lengths."""

    lengths: Tensor
    """[M] tokens, eos counted."""

    def draw(self, part: Batch, moment: Moment) -> tuple[Samples, PendingRewards | None]:
        """As the algorithm does, but for where sequences end."""
        algorithm, networks = self.algorithm, self.networks
        assert isinstance(algorithm, OnPolicy)
        num, longest = algorithm.num_samples, algorithm.longest_sample(part)
        policy = networks.sampling_policy()

        def choice(uniforms: Tensor) -> Choice:
            return ending_at(ancestral(policy, uniforms), self.lengths)

        samples = algorithm.sequences(part, networks, moment, num, longest, choice)
        return samples, self.scorer.submit(samples, part.references)


def ending_at(choice: Choice, lengths: Tensor) -> Choice:
    """What ``choice`` chooses, but eos where a sequence has its length [M], and nowhere before."""

    def choose(alive: Tensor, prefixes: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        token, log_prob = choice(alive, prefixes, features)
        word = token.masked_fill(token == EOS, UNK)
        return word.masked_fill(lengths[alive] == prefixes.shape[1] + 1, EOS), log_prob

    return choose


def _actor_lengths(generator: np.random.Generator, algorithm: Algorithm, batch: Batch) -> Tensor | None:
    """Tokens of each sequence that a trained policy would draw [M]; None: it draws none, or not alone."""
    if not isinstance(algorithm, CriticTraining):
        return None
    own = batch.reference_mask.sum(1).repeat_interleave(algorithm.num_samples).numpy()
    drawn = np.rint(own * np.exp(generator.normal(0, LENGTH_SPREAD, len(own))))
    return torch.from_numpy(np.clip(drawn, 2, algorithm.longest_sample(batch) - 1).astype(np.int64))
