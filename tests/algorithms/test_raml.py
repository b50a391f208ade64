import math
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.testing import assert_close

from raysq.algorithms import Raml
from raysq.proposals import HammingReplacement, NgramReplacement
from raysq.proposals.settings import ProposalSettings
from raysq.rewards import SentenceBleu
from raysq.rewards.base import pack
from raysq.rewards.scoring import LocalScorer
from raysq.types import FIRST_ACTION, Samples

HAMMING = ProposalSettings(name="hamming", hamming=HammingReplacement(rate=0.5))
WEIGHTINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.3},
    {"weighting": "uniform", "keep_reference": False, "proposal": ProposalSettings(name="edit")},
    {"weighting": "importance", "keep_reference": False, "proposal": HAMMING},
]


def draw(algorithm: Raml, problem: Any) -> Samples:
    return algorithm.draw(problem.batch, problem.networks, SentenceBleu(), problem.moment)


def textbook_weights(algorithm: Raml, samples: Samples, payoffs: Tensor) -> Tensor:
    """[M]"""
    weight = torch.exp(payoffs / algorithm.temperature)
    if algorithm.weighting == "importance":
        weight = weight / samples.log_proposal.exp()
    elif algorithm.weighting == "uniform":
        weight = torch.ones_like(payoffs)
    weight = weight.view(-1, samples.num_per_example)
    return (weight / weight.sum(1, keepdim=True)).flatten()


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("input_feeding", [False, True])
@pytest.mark.parametrize("options", WEIGHTINGS, ids=str)
def test_the_update_is_the_textbooks(
    make_problem: Any,
    run: Any,
    textbook: Any,
    gradients_of: Any,
    options: dict[str, Any],
    input_feeding: bool,
    dropout: float,
) -> None:
    algorithm = Raml(num_samples=3, **options)
    problem = make_problem(input_feeding=input_feeding, dropout=dropout)
    update = run(algorithm, problem)
    samples, policy = update.samples, problem.networks.policy
    T = samples.mask.shape[1]
    masks = problem.moment.dropout_mask("mle dropout", problem.batch, 3, 6, policy)
    if masks is not None:
        masks = torch.cat((masks, masks.new_ones(12, max(0, T - 6), 6)), 1)[:, :T]
    teacher_forced = replace(samples, dropout_mask=masks)
    log_pi = textbook(problem, teacher_forced, update.rewards, restricted=True).log_pi
    actions = (samples.targets - FIRST_ACTION).clamp(min=0)
    chosen = (log_pi.gather(2, actions.unsqueeze(2)).squeeze(2) * samples.mask).sum(1)
    weights = textbook_weights(algorithm, samples, update.rewards.sequence)
    loss = -(weights * chosen).sum() / 4
    (objective,) = update.objectives
    assert (objective.name, objective.per, objective.coefficient) == ("mle", "example", 1.0)
    assert_close(update.loss, loss.detach(), rtol=0, atol=1e-10)
    expected = gradients_of(loss, problem)
    for name, gradient in update.gradients.items():
        if name.startswith("policy"):
            assert_close(gradient, expected[name], rtol=0, atol=1e-10, msg=name)
        else:
            assert gradient is None, name
    metrics = update.metrics
    assert metrics["tokens"] == (float(samples.mask.sum()), 1.0)
    assert metrics["nll"] == pytest.approx((4 * loss.item(), float(weights @ samples.mask.sum(1).double())))
    assert metrics["payoff"] == pytest.approx((update.rewards.sequence.sum().item(), 12.0))
    assert metrics["effective"] == pytest.approx((sum(1 / (w @ w).item() for w in weights.view(4, 3)), 4.0))


def test_weights_literal(make_problem: Any) -> None:
    """Two examples with two samples each: softmax within each, never across."""
    samples = replace(
        draw(Raml(num_samples=2), make_problem(slice_of=(0, 2))),
        log_proposal=torch.tensor([0.5, 0.25, 0.1, 0.3]).log(),
    )
    payoffs = torch.tensor([0.0, math.log(2), 5.0, 5.0])
    expected = {
        "reward": [1 / 5, 4 / 5, 1 / 2, 1 / 2],
        "uniform": [1 / 2] * 4,
        "importance": [1 / 9, 8 / 9, 3 / 4, 1 / 4],
    }
    for weighting, weights in expected.items():
        temperature = 1.0 if weighting == "uniform" else 0.5
        algorithm = Raml(temperature=temperature, weighting=weighting, keep_reference=weighting == "reward")
        assert_close(algorithm.weights(samples, payoffs), torch.tensor(weights))
        assert_close(algorithm.weights(samples, payoffs + 7.0), torch.tensor(weights))


def test_limits_of_the_temperature(make_problem: Any) -> None:
    """To 0: all weight, in equal parts, on what earns most; to infinity: the same for all."""
    samples = draw(Raml(num_samples=3), make_problem(slice_of=(0, 2)))
    payoffs = torch.tensor([0.9, 0.2, 0.9, 0.1, 0.0, 0.3])
    coldest = Raml(temperature=1e-6).weights(samples, payoffs)
    assert coldest.tolist() == [0.5, 0.0, 0.5, 0.0, 0.0, 1.0]
    hottest = Raml(temperature=1e9).weights(samples, payoffs)
    assert_close(hottest, torch.full((6,), 1 / 3), rtol=0, atol=1e-8)


def test_the_samples(make_problem: Any) -> None:
    batch = make_problem().batch
    with_reference = draw(Raml(num_samples=4), make_problem())
    assert torch.equal(with_reference.targets[::4], batch.reference)
    assert with_reference.log_proposal is None
    without = draw(Raml(num_samples=4, weighting="importance", keep_reference=False), make_problem())
    assert not torch.equal(without.targets[::4], batch.reference)
    assert without.log_proposal is not None
    assert torch.isfinite(without.log_proposal).all()
    longer = draw(Raml(num_samples=9, proposal=ProposalSettings(name="edit")), make_problem())
    assert longer.lengths.view(4, 9).unique(dim=1).shape[1] > 1  # words come and go


@pytest.mark.parametrize("weighting", ["reward", "importance"])
@pytest.mark.parametrize("proposal", ["ngram", "hamming"])
def test_what_the_weights_estimate(make_problem: Any, weighting: str, proposal: str) -> None:
    """Weighted frequencies of 100,000 draws against the enumerated target on what the proposal can draw.

    With importance weights that is RAML's q ~ exp(R / tau), else q0 exp(R / tau). BLEU, four words.
    """
    ngram = ProposalSettings(ngram=NgramReplacement(max_ngram=4, protect_last=False))
    algorithm = Raml(
        proposal=HAMMING if proposal == "hamming" else ngram,
        num_samples=100_000,
        keep_reference=False,
        weighting=weighting,
        temperature=0.2,
    )
    problem = make_problem(slice_of=(3, 4))
    samples = draw(algorithm, problem)
    scorer = LocalScorer(SentenceBleu())
    weights = algorithm.weights(samples, scorer.submit(samples, problem.batch.references).result().sequence)
    number = torch.tensor([64, 16, 4, 1])
    drawn = (samples.targets[:, :4] - 4) @ number
    frequencies = torch.zeros(256).index_add(0, drawn, weights)

    rows = np.array(list(product(range(4, 8), repeat=4)), np.int32)
    reference = problem.batch.references[0][0]
    payoff = torch.tensor(
        SentenceBleu().prefix_scores(rows, np.full(256, 4), pack([[reference]] * 256))[:, -1]
    )
    target = torch.exp(payoff / 0.2)
    if weighting == "reward":
        q0 = algorithm.proposal.make().log_density(list(rows), reference, problem.batch.word_counts)
        target = target * torch.from_numpy(q0).exp()
    target = target / target.sum()
    assert (frequencies - target).abs().sum() / 2 < 0.05
    assert frequencies[target.argmax()].item() == pytest.approx(target.max().item(), rel=0.1)


def test_importance_weights_need_draws_alone() -> None:
    with pytest.raises(ValidationError, match="`keep_reference` must be false with `weighting` importance"):
        Raml(weighting="importance")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"weighting": "uniform", "temperature": 0.5},
            "`temperature` has no effect with `weighting` uniform",
        ),
        ({"num_samples": 1, "keep_reference": False}, "`num_samples` must be above 1"),
    ],
    ids=str,
)
def test_settings_without_effect_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Raml(**options)
    assert Raml(num_samples=1, keep_reference=False, weighting="uniform").num_samples == 1


def test_published_setting() -> None:
    """Dai et al.'s student without the oracle."""
    algorithm = Raml()
    assert algorithm.optimizer == "sgd"
    assert algorithm.learning_rates(update=1000, decays=1) == {"policy": 0.3}
    assert (algorithm.batch_size, algorithm.max_epochs, algorithm.max_decays) == (42, 30, 6)
    assert (algorithm.num_samples, algorithm.temperature, algorithm.weighting) == (5, 1.0, "reward")
    assert algorithm.proposal.make() == NgramReplacement(protect_last=False)
    assert (algorithm.trains, algorithm.model_free, algorithm.uses_rewards) == (("policy",), True, True)
