import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from raysq.algorithms import ALGORITHMS, ActorCritic, Algorithm, Group, Mle, Networks, Raml, Reinforce
from raysq.algorithms.moment import Moment
from raysq.config import NetworkConfig
from raysq.data.batches import collate
from raysq.data.shards import Corpus
from raysq.rewards import LocalScorer, SentenceBleu
from raysq.rewards.settings import RewardSettings
from raysq.training import noise
from raysq.training.collective import Collective
from raysq.training.noise import Spread, gradient_noise
from raysq.training.samples import LocalSource
from raysq.training.state import make_networks
from raysq.training.step import Step
from raysq.types import Objective

IDS = np.array([3, 14, 15, 9, 2, 6, 5, 35, 8, 7, 11])
MOMENT = Moment(1, "erac", 7)
JOINT = ActorCritic(tau=0.4, lambda_var=0.2, lambda_mle=0.3, max_length=6)
HUGE = 1e9


def row_of(*vectors: list[float]) -> dict[str, Any]:
    spread = Spread()
    for vector in vectors:
        spread.add(torch.tensor(vector, dtype=torch.float32))
    return spread.row()


def test_spread_by_hand() -> None:
    """Means 2 and 2; variances 2 and 8, unbiased; |mean|^2 = 8 is too much by 10 / 2."""
    assert row_of([1, 0], [3, 4]) == pytest.approx(
        {"variance": 10, "mean_squared_norm": 3, "relative": 10 / 3, "draws": 2}
    )


def test_spread_of_what_hardly_differs() -> None:
    """Single precision: squares of 1000 must not swallow a variance of 1e-4."""
    vectors = 1000 + 0.01 * torch.randn(7, 500, dtype=torch.float64)
    spread = Spread()
    for vector in vectors.float():
        spread.add(vector)
    exact = vectors.float().double()
    assert spread.row()["variance"] == pytest.approx(float(exact.var(0).sum()), rel=1e-2)
    assert row_of([0.1, 0.7], [0.1, 0.7], [0.1, 0.7])["variance"] == 0.0


def test_a_ratio_without_meaning_is_none() -> None:
    assert row_of([1], [-1]) == {"variance": 2.0, "mean_squared_norm": -1.0, "relative": None, "draws": 2}
    nothing = {"variance": None, "mean_squared_norm": None, "relative": None, "draws": 2}
    assert row_of([1], [math.nan]) == row_of([1], [math.inf]) == nothing


class Linear(Mle):
    """Loss w . u summed over examples, u uniform in [0, 1) for each of them; beside it 2 sum w as ``mle``."""

    def objectives(self, batch: Any, samples: Any, rewards: Any, networks: Any, moment: Moment) -> Any:
        (w,) = networks.policy.parameters()
        u = moment.uniforms("toy", batch, 1, len(w)).sum(0)
        likelihood = Objective("mle", w.sum() * len(batch.example_ids), "example", 2.0)
        return [Objective("policy", (w * u).sum(), "example"), likelihood], {}


def batch_parts(corpus: Corpus, collective: Collective, parts: int = 1) -> list[Any]:
    rank, world_size = collective.rank, collective.world_size
    split = corpus.splits["train"]
    return [collate(split, IDS, rank * parts + k, world_size * parts) for k in range(parts)]


def test_a_linear_loss_has_the_noise_it_was_given(small_corpus: Corpus, float64: None) -> None:
    """Of 2000 parameters: variance 1 / 12 / 11 each, |E g|^2 (1 / 2)^2 each; with the term mle (5 / 2)^2."""
    policy: Any = nn.ParameterList([torch.randn(2000)])
    parts = batch_parts(small_corpus, Collective())
    found = gradient_noise(Linear(), Networks(policy), RewardSettings(), Collective(), parts, MOMENT)
    assert (found["examples"], found["draws"]) == (11, 16)
    for row, squared in ((found, 2.5**2), (found["without_mle"], 0.25)):
        assert row["variance"] == pytest.approx(2000 / 12 / 11, rel=0.05)
        assert row["mean_squared_norm"] == pytest.approx(2000 * squared, rel=0.02)
        assert row["relative"] == row["variance"] / row["mean_squared_norm"]


@pytest.fixture
def make_networks_of(small_corpus: Corpus, float64: None) -> Callable[..., Networks]:
    """The networks of an algorithm; target critic and critic are told apart."""

    def made(algorithm: Algorithm, dropout: float = 0.3) -> Networks:
        network = NetworkConfig(embedding_size=6, hidden_size=6, init_range=0.7, dropout=dropout)
        parents: dict[Group, Path | None] = {"policy": None, "critic": None}
        networks = make_networks(small_corpus, network, algorithm, parents, seed=1, stage="x", device="cpu")
        if networks.target_critic is not None:
            networks.target_critic.initialise(torch.Generator().manual_seed(5), 0.7)
        return networks

    return made


@pytest.fixture
def measure(small_corpus: Corpus) -> Callable[..., dict[str, Any]]:
    def measured(
        algorithm: Algorithm, networks: Networks, parts: int = 1, group: Collective | None = None
    ) -> dict[str, Any]:
        collective = group or Collective()
        slices = batch_parts(small_corpus, collective, parts)
        return gradient_noise(algorithm, networks, RewardSettings(), collective, slices, MOMENT)

    return measured


def followed(corpus: Corpus, algorithm: Algorithm, networks: Networks, draw: int) -> Tensor:
    """The policy's gradient that a real update at another moment leaves in its parameters."""
    source = LocalSource(algorithm, networks, SentenceBleu(), LocalScorer(SentenceBleu()))
    moment = replace(MOMENT, stage=f"erac, gradient noise {draw}")
    Step(algorithm, networks, source, Collective()).run(batch_parts(corpus, Collective()), moment)
    return torch.cat([p.grad.flatten() for p in networks.policy.parameters() if p.grad is not None])


def test_it_is_the_noise_of_the_gradients_that_updates_follow(
    small_corpus: Corpus, make_networks_of: Any, measure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variances by hand over real updates from one state; without likelihood those of lambda_mle = 0."""
    monkeypatch.setattr(noise, "DRAWS", 4)
    algorithm = JOINT.model_copy(update={"clip_norm": HUGE})
    found = measure(algorithm, make_networks_of(algorithm))
    for row, lambda_mle in ((found, 0.3), (found["without_mle"], 0.0)):
        real = algorithm.model_copy(update={"lambda_mle": lambda_mle})
        g = torch.stack([followed(small_corpus, real, make_networks_of(real), k) for k in range(4)])
        variance = float(g.var(0).sum())
        squared = float(g.mean(0).square().sum()) - variance / 4
        assert row["variance"] == pytest.approx(variance, rel=1e-9)
        assert row["mean_squared_norm"] == pytest.approx(squared, rel=1e-9)


@pytest.mark.parametrize(
    "kind", [kind for kind in ALGORITHMS if "policy" in kind().trains], ids=lambda kind: kind.__name__
)
def test_terms_add_up_to_the_gradient_of_an_update(
    small_corpus: Corpus, make_networks_of: Any, kind: type[Algorithm]
) -> None:
    algorithm = kind(clip_norm=HUGE)
    networks = make_networks_of(algorithm)
    source = LocalSource(algorithm, networks, SentenceBleu(), LocalScorer(SentenceBleu()))
    step, parts = Step(algorithm, networks, source, Collective()), batch_parts(small_corpus, Collective())
    by_term = step.policy_gradients(parts, replace(MOMENT, stage="erac, gradient noise 0"))
    assert not {"td", "variance", "baseline"} & by_term.keys()
    expected = followed(small_corpus, algorithm, networks, 0)
    assert_close(torch.stack([*by_term.values()]).sum(0), expected, rtol=0, atol=1e-12)


def test_likelihood_without_dropout_has_no_noise(
    small_corpus: Corpus, make_networks_of: Any, measure: Any
) -> None:
    algorithm = Mle(clip_norm=HUGE)
    still = measure(algorithm, make_networks_of(algorithm, dropout=0.0))
    assert (still["variance"], still["relative"]) == (0.0, 0.0)
    gradient = followed(small_corpus, algorithm, make_networks_of(algorithm, dropout=0.0), 0)
    assert still["mean_squared_norm"] == pytest.approx(float(gradient.square().sum()))
    assert "without_mle" not in still
    assert measure(algorithm, make_networks_of(algorithm))["variance"] > 0


def test_proposals_are_drawn_anew(make_networks_of: Any, measure: Any) -> None:
    """In training they are drawn once an epoch, whatever the update."""
    algorithm = Raml(num_samples=3)
    assert measure(algorithm, make_networks_of(algorithm, dropout=0.0))["variance"] > 0


@pytest.mark.parametrize("algorithm", [JOINT, Raml(num_samples=3)], ids=["ERAC", "RAML"])
def test_learners_and_parts_do_not_matter(
    make_networks_of: Any, measure: Any, run_ranks: Any, monkeypatch: pytest.MonkeyPatch, algorithm: Algorithm
) -> None:
    monkeypatch.setattr(noise, "DRAWS", 3)
    alone = measure(algorithm, make_networks_of(algorithm))
    for parts in (1, 2):
        many = run_ranks(
            2, lambda group, parts=parts: measure(algorithm, make_networks_of(algorithm), parts, group)
        )
        for of_rank in [*many, measure(algorithm, make_networks_of(algorithm), 3)]:
            expected = dict(alone)
            if "without_mle" in alone:
                assert of_rank.pop("without_mle") == pytest.approx(expected.pop("without_mle"), rel=1e-9)
            assert of_rank == pytest.approx(expected, rel=1e-9)


def test_nothing_is_left_behind(make_networks_of: Any, measure: Any) -> None:
    """Neither in the networks nor in torch's own generator; and what lags behind has no say."""
    algorithm = Reinforce(num_samples=2, max_length=6)
    networks = make_networks_of(algorithm)
    before = [p.detach().clone() for p in networks.policy.parameters()]
    random_state = torch.get_rng_state()
    found = measure(algorithm, networks)
    for parameter, value in zip(networks.policy.parameters(), before, strict=True):
        assert torch.equal(parameter, value)
        assert parameter.grad is None
    assert torch.equal(torch.get_rng_state(), random_state)
    assert measure(algorithm, networks) == found
    late = make_networks_of(algorithm).policy
    late.initialise(torch.Generator().manual_seed(9), 0.7)
    assert measure(algorithm, replace(networks, delayed_policy=late)) == found
