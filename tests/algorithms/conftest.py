"""A tiny problem, one update on it, and the losses as a textbook writes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from raysq.algorithms import Algorithm, Networks
from raysq.algorithms.base import critic_input
from raysq.algorithms.moment import Moment
from raysq.losses import vocabulary
from raysq.models import Seq2Seq
from raysq.rewards import SentenceBleu
from raysq.rewards.scoring import ScoredRewards
from raysq.types import BOS, EOS, FIRST_ACTION, PAD, Batch, MetricSums, Objective, Rewards, Samples

SOURCES = [[4, 5, 6, 7, 8, EOS], [8, EOS], [5, 5, 4, EOS], [7, 6, 8, EOS]]
REFERENCES = [[4, 5, 6, EOS], [7, EOS], [3, 4, EOS], [6, 6, 5, 7, EOS]]


@dataclass(frozen=True)
class Problem:
    batch: Batch
    networks: Networks
    moment: Moment


@dataclass(frozen=True)
class Update:
    samples: Samples
    rewards: Rewards
    objectives: list[Objective]
    metrics: MetricSums
    loss: Tensor
    gradients: dict[str, Tensor | None]
    """By parameter, ``policy.output.weight``."""


def padded(rows: list[list[int]], width: int) -> Tensor:
    return torch.tensor([row + [PAD] * (width - len(row)) for row in rows])


def make_batch(source_width: int, reference_width: int, first: int = 0, last: int = 4) -> Batch:
    """Examples first .. last - 1 of the global batch of four."""
    source = padded(SOURCES[first:last], source_width)
    reference = padded(REFERENCES[first:last], reference_width)
    return Batch(
        example_ids=torch.arange(first, last),
        source=source,
        source_mask=source != PAD,
        reference=reference,
        reference_mask=reference != PAD,
        references=[[np.array(row[:-1], np.int32)] for row in REFERENCES[first:last]],
        global_size=4,
        offset=first,
        longest_reference=6,
        word_counts=np.arange(8),
    )


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even the tiny problem takes several chunks."""
    monkeypatch.setattr(vocabulary, "BLOCK_ROWS", 5)


@pytest.fixture
def make_problem(float64: None) -> Callable[..., Problem]:
    """Four examples and three networks, every parameter of every network to be trained.

    ``more_padding`` widens source and reference; ``slice_of`` is the examples of one rank.
    """

    def make(
        *,
        input_feeding: bool = False,
        dropout: float = 0.0,
        more_padding: int = 0,
        slice_of: tuple[int, int] = (0, 4),
        target_size: int = 8,
    ) -> Problem:
        networks = []
        for seed in range(3):
            is_critic = seed > 0
            network = Seq2Seq(
                target_size if is_critic else 9,
                target_size,
                embedding_size=5,
                hidden_size=6,
                attention="additive" if is_critic else "dot",
                input_feeding=input_feeding,
                attention_bias=is_critic,
                dropout=0.0 if is_critic else dropout,
            )
            network.initialise(torch.Generator().manual_seed(seed), init_range=0.7)
            networks.append(network)
        with torch.no_grad():
            networks[0].output.bias[EOS] = -0.7  # some samples end early, some at the maximum length
        sources, references = (rows[slice(*slice_of)] for rows in (SOURCES, REFERENCES))
        return Problem(
            make_batch(
                max(map(len, sources)) + 3 * more_padding,
                max(map(len, references)) + more_padding,
                *slice_of,
            ),
            Networks(*networks),
            Moment(seed=1, stage="test", update=3),
        )

    return make


def random_rewards(batch: Batch, samples: Samples) -> Rewards:
    """Any numbers will do; a sequence of the global batch has its own, whatever the rank and the padding."""
    table = torch.randn(12, 60, generator=torch.Generator().manual_seed(5))
    start = batch.offset * samples.num_per_example
    token = table[start : start + len(samples.mask), : samples.mask.shape[1]]
    ends = samples.mask & (samples.targets == EOS)
    token = token.masked_fill(~samples.mask | ends, 0.0)
    return Rewards(token.sum(1), token, torch.full((len(token),), 1.5))


@pytest.fixture
def run() -> Callable[..., Update]:
    """One update: draw, objectives and the backward pass of the normalised loss."""

    def run_update(algorithm: Algorithm, problem: Problem, **changes: Any) -> Update:
        batch, networks, moment = problem.batch, problem.networks, problem.moment
        samples = algorithm.draw(batch, networks, SentenceBleu(), moment)
        rewards = replace(random_rewards(batch, samples), **changes)
        pending = ScoredRewards(rewards, 0.0) if algorithm.uses_rewards else None
        objectives, metrics = algorithm.objectives(batch, samples, pending, networks, moment)
        numbers = {
            "example": len(batch.example_ids),
            "sequence": len(samples.mask),
            "token": int(samples.mask.sum()),
        }
        loss = torch.stack([o.coefficient / numbers[o.per] * o.total for o in objectives]).sum()
        for network in (networks.policy, *networks.critics()):
            network.zero_grad(set_to_none=True)
        loss.backward()
        gradients = {
            f"{group}.{name}": parameter.grad
            for group in ("policy", "critic", "target_critic")
            for name, parameter in getattr(networks, group).named_parameters()
        }
        return Update(samples, rewards, objectives, metrics, loss.detach(), gradients)

    return run_update


class Textbook:
    """The terms of the loss from full tensors [M, T, V], masks and autograd.

    Where the code under test has a bias that forbids pad and bos, here the actions are cut out of the
    vocabulary.
    """

    def __init__(self, problem: Problem, samples: Samples, rewards: Rewards, *, restricted: bool) -> None:
        self.problem, self.samples, self.rewards = problem, samples, rewards
        batch, N = problem.batch, samples.num_per_example
        policy, (critic, target) = problem.networks.policy, problem.networks.critics()
        self.mask = samples.mask.double()
        self.forced = samples.forced_eos if restricted else torch.zeros_like(samples.forced_eos)
        memory = policy.encode(batch.source, batch.source_mask).repeat(N)
        features = policy.features(memory, samples.inputs, samples.dropout_mask)
        self.log_pi = actions_log_pi(policy, features)
        self.q, self.target_q = (
            network.features(network.encode(*critic_input(batch)).repeat(N), samples.inputs)
            @ network.output.weight.t()
            + network.output.bias
            for network in (critic, target)
        )

    @property
    def entropy(self) -> Tensor:
        """[M, T], 0 where eos is forced."""
        return -(self.log_pi.exp() * self.log_pi).sum(-1) * ~self.forced

    def expected(self, q: Tensor) -> Tensor:
        """sum_w pi_w Q_w [M, T]; Q(eos) where eos is forced."""
        mean = (self.log_pi.exp() * q[..., FIRST_ACTION:]).sum(-1)
        return torch.where(self.forced, q[..., EOS], mean)

    def targets(self, target_tau: float) -> Tensor:
        """Eq. 19 [M, T]."""
        value = (self.expected(self.target_q) + target_tau * self.entropy) * self.mask
        following = torch.zeros_like(value)
        following[:, :-1] = value[:, 1:]
        return (self.rewards.token + following).detach()

    def td_error(self, target_tau: float) -> Tensor:
        """Qhat - Q(y_{<t}, y_t) [M, T], 0 in padding."""
        chosen = self.q.gather(2, self.samples.targets.unsqueeze(2)).squeeze(2)
        return (self.targets(target_tau) - chosen) * self.mask

    def variance(self, form: str) -> Tensor:
        """Over all words, by definition."""
        squares = ((self.q - self.q.mean(-1, keepdim=True)) ** 2).sum(-1) * self.mask
        return squares.sum() / (self.q.shape[-1] - 1 if form == "variance" else 1)

    def policy_loss(self, tau: float, entropy_gradient: str = "exact") -> Tensor:
        """Eq. 20 negated, the critic constant."""
        q = self.q.detach()[..., FIRST_ACTION:]
        log_pi = self.log_pi
        if entropy_gradient == "normalised":
            log_pi = (log_pi / log_pi.norm(dim=-1, keepdim=True)).detach()
        value = (self.log_pi.exp() * (q - tau * log_pi)).sum(-1)
        return -(value * self.mask * ~self.forced).sum()

    def likelihood_loss(self, dropout: bool) -> Tensor:
        """-log pi(y* | x), summed; its own dropout masks."""
        batch, moment, policy = self.problem.batch, self.problem.moment, self.problem.networks.policy
        references = batch.reference
        inputs = torch.cat((torch.full_like(references[:, :1], BOS), references[:, :-1]), 1)
        drawn = moment.dropout_mask("mle dropout", batch, 1, batch.longest_reference, policy)
        assert dropout == (drawn is not None)
        masks = drawn[:, : inputs.shape[1]] if drawn is not None else None
        features = policy.features(policy.encode(batch.source, batch.source_mask), inputs, masks)
        actions = (references - FIRST_ACTION).clamp(min=0)
        chosen = actions_log_pi(policy, features).gather(2, actions.unsqueeze(2)).squeeze(2)
        return -(chosen * batch.reference_mask).sum()


def actions_log_pi(policy: Seq2Seq, features: Tensor) -> Tensor:
    """log pi over the actions alone, [.., V - 2]."""
    logits = features @ policy.output.weight.t() + policy.output.bias
    return torch.log_softmax(logits[..., FIRST_ACTION:], -1)


@pytest.fixture
def textbook() -> type[Textbook]:
    return Textbook


@pytest.fixture
def gradients_of() -> Callable[[Tensor, Problem], dict[str, Tensor | None]]:
    """Gradient of a loss by parameter, as ``Update.gradients``."""

    def gradients(loss: Tensor, problem: Problem) -> dict[str, Tensor | None]:
        named = {
            f"{group}.{name}": parameter
            for group in ("policy", "critic", "target_critic")
            for name, parameter in getattr(problem.networks, group).named_parameters()
        }
        return dict(
            zip(named, torch.autograd.grad(loss, list(named.values()), allow_unused=True), strict=True)
        )

    return gradients
