import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from raysq.algorithms import ActorCritic, Algorithm, CriticTraining, Group, Mle, Networks
from raysq.algorithms.moment import Moment
from raysq.config import NetworkConfig
from raysq.data.batches import collate
from raysq.data.shards import Corpus
from raysq.rewards import LocalScorer, SentenceBleu
from raysq.rewards.scoring import ScoredRewards
from raysq.training.collective import Collective
from raysq.training.samples import LocalSource
from raysq.training.state import make_networks
from raysq.training.step import Diverged, Step
from raysq.types import MetricSums, Rewards, Samples

IDS = np.array([3, 14, 15, 9, 2, 6, 5, 35, 8, 7, 11])
NETWORK = NetworkConfig(embedding_size=6, hidden_size=6, init_range=0.7, dropout=0.3)
LOCAL = LocalScorer(SentenceBleu())
JOINT: dict[str, Any] = {"tau": 0.4, "lambda_var": 0.2, "lambda_mle": 0.3, "max_length": 6}
HUGE = 1e6
"""A norm that no gradient here reaches."""


class Run:
    """Networks, a step over them and the update to be made."""

    def __init__(
        self,
        corpus: Corpus,
        algorithm: Algorithm,
        scorer: Any = LOCAL,
        collective: Collective | None = None,
    ) -> None:
        parents: dict[Group, Path | None] = {"policy": None, "critic": None}
        self.corpus, self.collective = corpus, collective or Collective()
        self.networks: Networks = make_networks(
            corpus, NETWORK, algorithm, parents, seed=1, stage="test", device="cpu"
        )
        if (
            self.networks.target_critic is not None
        ):  # not the critic's copy: so that the two can be told apart
            self.networks.target_critic.initialise(torch.Generator().manual_seed(5), 0.7)
        source = LocalSource(algorithm, self.networks, SentenceBleu(), scorer)
        self.step = Step(algorithm, self.networks, source, self.collective)

    def update(self, number: int = 7, decays: int = 0, parts: int = 1) -> MetricSums:
        rank, world_size = self.collective.rank, self.collective.world_size
        slices = [
            collate(self.corpus.splits["train"], IDS, rank * parts + k, world_size * parts)
            for k in range(parts)
        ]
        return self.step.run(slices, Moment(1, "erac", number, decays=decays))

    def parameters(self) -> dict[str, Tensor]:
        """A copy of every parameter, by ``policy.output.weight``."""
        return {
            f"{group}.{name}": parameter.detach().clone()
            for group in ("policy", "critic", "target_critic")
            if getattr(self.networks, group) is not None
            for name, parameter in getattr(self.networks, group).named_parameters()
        }


@pytest.fixture
def make_run(small_corpus: Corpus, float64: None) -> Callable[..., Run]:
    return lambda algorithm, *arguments: Run(small_corpus, algorithm, *arguments)


def moved(before: dict[str, Tensor], after: dict[str, Tensor], group: str) -> float:
    """L2 norm of a network's change."""
    parts = [(after[k] - before[k]).flatten() for k in before if k.startswith(f"{group}.")]
    return float(torch.cat(parts).norm())


@pytest.mark.parametrize(
    "algorithm",
    [
        Mle(),
        Mle(optimizer="adam", clip_norm=0.1),
        CriticTraining(num_samples=2, max_length=6),
        ActorCritic(**JOINT, target_rate=0.3, clip_norm=0.1, learning_rate=0.01, critic_learning_rate=0.02),
    ],
    ids=lambda algorithm: f"{type(algorithm).__name__} {algorithm.optimizer}",
)
@pytest.mark.parametrize(("world_size", "parts"), [(1, 3), (2, 1), (3, 1), (2, 2)])
def test_ranks_and_parts_make_the_update_of_one(
    make_run: Any, run_ranks: Any, algorithm: Algorithm, world_size: int, parts: int
) -> None:
    def two_updates(run: Run, parts: int = 1) -> tuple[list[MetricSums], dict[str, Tensor]]:
        return [run.update(number, parts=parts) for number in (0, 1)], run.parameters()

    alone_metrics, alone = two_updates(make_run(algorithm))
    ranks = run_ranks(world_size, lambda group: two_updates(make_run(algorithm, LOCAL, group), parts))
    for metrics, parameters in ranks:
        for name, value in alone.items():
            assert_close(parameters[name], value, rtol=0, atol=1e-10, msg=name)
        for mine, expected in zip(metrics, alone_metrics, strict=True):
            assert mine.keys() == expected.keys()
            for name in mine.keys() - {"waited", "tokens"}:
                (total, weight), (expected_total, expected_weight) = mine[name], expected[name]
                assert total / weight == pytest.approx(expected_total / expected_weight, rel=1e-9), name
            assert mine["tokens"][0] == expected["tokens"][0]


def test_each_network_is_clipped_by_its_own_norm(make_run: Any) -> None:
    """SGD moves by rate * gradient: a network whose norm is beneath the bound keeps it, the other is cut."""
    settings: dict[str, Any] = JOINT | {
        "optimizer": "sgd",
        "learning_rate": 0.5,
        "critic_learning_rate": 0.25,
    }
    free = make_run(ActorCritic(**settings, clip_norm=HUGE))
    before, metrics = free.parameters(), free.update()
    norms = {group: metrics[f"gradient_norm_{group}"][0] for group in ("policy", "critic")}
    for group, rate in (("policy", 0.5), ("critic", 0.25)):
        assert moved(before, free.parameters(), group) == pytest.approx(rate * norms[group])
    bound = (norms["policy"] + norms["critic"]) / 2
    larger, smaller = sorted(norms, key=lambda group: -norms[group])
    assert norms[smaller] < 0.9 * bound
    clipped = make_run(ActorCritic(**settings, clip_norm=bound))
    metrics = clipped.update()
    rates = {"policy": 0.5, "critic": 0.25}
    after = clipped.parameters()
    assert moved(before, after, smaller) == pytest.approx(rates[smaller] * norms[smaller])
    assert moved(before, after, larger) == pytest.approx(rates[larger] * bound, rel=1e-5)
    assert metrics[f"gradient_norm_{larger}"] == pytest.approx((norms[larger], 1.0))  # before it was clipped


@dataclass
class BrokenScorer:
    """Rewards that are no numbers, or far too large."""

    factor: float

    def submit(self, samples: Samples, references: Sequence[Any]) -> ScoredRewards:
        rewards = LOCAL.submit(samples, references).result()
        return ScoredRewards(Rewards(rewards.sequence, rewards.token * self.factor, rewards.scale), 0.0)

    def warm_up(self) -> None:
        pass


@pytest.mark.parametrize(
    ("factor", "said"), [(math.nan, "nan"), (math.inf, "(nan|inf)"), (1e9, r"\d.*e\+1\d")]
)
def test_a_loss_that_is_no_number(make_run: Any, factor: float, said: str) -> None:
    run = make_run(ActorCritic(**JOINT))
    run.update(0)
    run.step.source = LocalSource(run.step.algorithm, run.networks, SentenceBleu(), BrokenScorer(factor))
    before = run.parameters()
    with pytest.raises(Diverged, match=f"^loss term td is {said}$"):
        run.update(7)
    for name, value in run.parameters().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("group", ["policy", "critic"])
@pytest.mark.parametrize("value", ["nan", "inf", "1e+06"])
def test_a_gradient_that_is_no_number(make_run: Any, group: str, value: str) -> None:
    """Whichever network it is, neither changes; a number may be too large, too."""
    run = make_run(ActorCritic(**JOINT))
    run.update(0)
    bias = getattr(run.networks, group).output.bias
    share = float(value) / len(bias) ** 0.5
    bias.register_hook(lambda gradient: gradient + share)
    before = run.parameters()
    with pytest.raises(
        Diverged, match=f"^gradient norm of the {group} is {re.escape(value)}, not under 10000$"
    ):
        run.update(7)
    for name, parameter in run.parameters().items():
        assert torch.equal(parameter, before[name]), name


@pytest.mark.parametrize("algorithm", [CriticTraining(target_rate=0.25), ActorCritic(target_rate=0.25)])
def test_the_target_follows_the_updated_critic(make_run: Any, algorithm: Algorithm) -> None:
    run = make_run(algorithm)
    before = run.parameters()
    run.update()
    after = run.parameters()
    assert moved(before, after, "critic") > 0
    for name, old in before.items():
        if name.startswith("target_critic."):
            critic = after[name.removeprefix("target_")]
            assert_close(after[name], 0.25 * critic + 0.75 * old, rtol=0, atol=1e-14, msg=name)


def test_a_rate_of_one_is_no_target_network(make_run: Any) -> None:
    run = make_run(CriticTraining(target_rate=1.0))
    run.update()
    after = run.parameters()
    for name in (name for name in after if name.startswith("critic.")):
        assert torch.equal(after[f"target_{name}"], after[name]), name


@pytest.mark.parametrize("algorithm", [Mle(), CriticTraining(), ActorCritic()])
def test_what_is_declared_is_trained_and_nothing_else(make_run: Any, algorithm: Algorithm) -> None:
    run = make_run(algorithm)
    assert tuple(run.step.optimizers) == algorithm.trains
    for group, optimizer in run.step.optimizers.items():
        (only,) = optimizer.param_groups
        expected = list(getattr(run.networks, group).parameters())
        assert list(map(id, only["params"])) == list(map(id, expected))
    before = run.parameters()
    run.update()
    for group in ("policy", "critic"):
        if getattr(run.networks, group) is not None:
            assert (moved(before, run.parameters(), group) > 0) == (group in algorithm.trains)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_optimisers_are_the_algorithms(make_run: Any, optimizer: Any) -> None:
    run = make_run(ActorCritic(optimizer=optimizer, beta1=0.3, beta2=0.7))
    for made in run.step.optimizers.values():
        (only,) = made.param_groups
        if optimizer == "adam":
            assert isinstance(made, torch.optim.Adam)
            assert only["betas"] == (0.3, 0.7)
        else:
            assert isinstance(made, torch.optim.SGD)
            assert only["momentum"] == 0  # whatever beta1 says
        assert only["weight_decay"] == 0


def test_learning_rates_are_those_of_the_update(make_run: Any) -> None:
    """The policy waits 2 updates, warms up over 4 and halves at every decay; the critic's rate stands."""
    algorithm = ActorCritic(
        **JOINT, optimizer="sgd", clip_norm=HUGE, learning_rate=0.8, critic_learning_rate=0.3,
        decay=0.5, critic_only_updates=2, warmup_updates=4,
    )  # fmt: skip
    for number, decays, policy_rate in ((1, 0, 0.0), (2, 0, 0.2), (4, 1, 0.3), (500, 2, 0.2)):
        run = make_run(algorithm)
        before, metrics = run.parameters(), run.update(number, decays)
        for group, rate in (("policy", policy_rate), ("critic", 0.3)):
            assert metrics[f"learning_rate_{group}"] == pytest.approx((rate, 1.0))
            distance = rate * metrics[f"gradient_norm_{group}"][0]
            assert moved(before, run.parameters(), group) == pytest.approx(distance, rel=1e-9)


def test_every_term_is_divided_by_its_units_in_the_global_batch(make_run: Any) -> None:
    """loss = sum of coefficient * total / number of units: the update of SGD is its gradient."""
    algorithm = Mle(clip_norm=HUGE, learning_rate=1.0)
    run, twin = make_run(algorithm), make_run(algorithm)
    before = run.parameters()
    run.update()
    batch = collate(twin.corpus.splits["train"], IDS)
    moment = Moment(1, "erac", 7)
    samples = algorithm.draw(batch, twin.networks, SentenceBleu(), moment)
    ((objective,), _) = algorithm.objectives(batch, samples, None, twin.networks, moment)
    (objective.total / 11).backward()
    for name, parameter in twin.networks.policy.named_parameters():
        assert parameter.grad is not None
        moved_by = before[f"policy.{name}"] - run.parameters()[f"policy.{name}"]
        assert_close(moved_by, parameter.grad, rtol=0, atol=1e-12, msg=name)


def test_a_term_by_the_token_is_divided_by_the_tokens_of_all_parts(
    make_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SGD on the mean over tokens: examples and tokens are spread unevenly over the parts."""
    objectives = Mle.objectives

    def by_token(self: Mle, *arguments: Any) -> Any:
        (found,), metrics = objectives(self, *arguments)
        return [replace(found, per="token")], metrics

    monkeypatch.setattr(Mle, "objectives", by_token)
    algorithm = Mle(clip_norm=HUGE, learning_rate=1.0)
    run, twin = make_run(algorithm), make_run(algorithm)
    before, metrics = run.parameters(), run.update(parts=3)
    batch = collate(twin.corpus.splits["train"], IDS)
    moment = Moment(1, "erac", 7)
    samples = algorithm.draw(batch, twin.networks, SentenceBleu(), moment)
    ((objective,), _) = algorithm.objectives(batch, samples, None, twin.networks, moment)
    tokens = int(samples.mask.sum())
    (objective.total / tokens).backward()
    assert metrics["loss_mle"] == pytest.approx((float(objective.total.detach()), tokens))
    for name, parameter in twin.networks.policy.named_parameters():
        moved_by = before[f"policy.{name}"] - run.parameters()[f"policy.{name}"]
        assert_close(moved_by, parameter.grad, rtol=0, atol=1e-12, msg=name)


@pytest.mark.parametrize("parts", [1, 2])
def test_parts_do_not_hold_on_to_their_encoders_graphs(
    make_run: Any, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    """A batch in one piece is encoded once for drawing and learning."""
    run, kept = make_run(ActorCritic(**JOINT)), []
    objectives = ActorCritic.objectives
    monkeypatch.setattr(
        ActorCritic,
        "objectives",
        lambda algorithm, batch, samples, *others: (
            kept.append(samples.memory is not None),
            objectives(algorithm, batch, samples, *others),
        )[1],
    )
    run.update(parts=parts)
    assert kept == [parts == 1] * parts
