import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.testing import assert_close

from raysq.algorithms import AlphaDimt, Raml
from raysq.proposals import BoundedHamming
from raysq.rewards import SentenceBleu
from raysq.types import FIRST_ACTION, Samples

RELEASED: dict[str, Any] = {
    "num_samples": 1,
    "normalise_over": "batch",
    "p_norm": "length",
    "q0_correction": False,
}
FORMS: list[dict[str, Any]] = [
    {},
    {"alpha": 0.0},
    {"alpha": 1.0},
    {"q0_correction": False},
    {"p_norm": "length"},
    {"normalise_over": "batch"},
    RELEASED,
]


def dimt(**options: Any) -> AlphaDimt:
    """Three samples of which most differ from the reference."""
    return AlphaDimt(**{"num_samples": 3, "proposal": BoundedHamming(max_share=1.0)} | options)


def draw(algorithm: AlphaDimt, problem: Any) -> Samples:
    return algorithm.draw(problem.batch, problem.networks, SentenceBleu(), problem.moment)


def textbook_weights(algorithm: AlphaDimt, samples: Samples, log_p: Tensor, payoffs: Tensor) -> Tensor:
    """Eq. 15 [M], with probabilities instead of their logarithms."""
    if algorithm.p_norm == "length":
        log_p = log_p / samples.mask.sum(1)
    weight = log_p.exp() ** algorithm.alpha
    weight = weight * torch.exp(payoffs / algorithm.temperature) ** (1 - algorithm.alpha)
    if algorithm.q0_correction:
        weight = weight / samples.log_proposal.exp()
    if algorithm.normalise_over == "batch":
        return weight / weight.sum() * (len(weight) / samples.num_per_example)
    weight = weight.view(-1, samples.num_per_example)
    return (weight / weight.sum(1, keepdim=True)).flatten()


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("options", FORMS, ids=str)
def test_the_update_is_the_textbooks(
    make_problem: Any, run: Any, textbook: Any, gradients_of: Any, options: dict[str, Any], dropout: float
) -> None:
    algorithm, problem = dimt(**options), make_problem(dropout=dropout)
    update = run(algorithm, problem)
    samples, N = update.samples, algorithm.num_samples
    masks = problem.moment.dropout_mask("mle dropout", problem.batch, N, 6, problem.networks.policy)
    if masks is not None:
        masks = masks[:, : samples.mask.shape[1]]
    teacher_forced = replace(samples, dropout_mask=masks)
    log_pi = textbook(problem, teacher_forced, update.rewards, restricted=True).log_pi
    actions = (samples.targets - FIRST_ACTION).clamp(min=0)
    log_p = (log_pi.gather(2, actions.unsqueeze(2)).squeeze(2) * samples.mask).sum(1)
    weights = textbook_weights(algorithm, samples, log_p.detach(), update.rewards.sequence)
    loss = -(weights * log_p).sum() / 4
    (objective,) = update.objectives
    assert (objective.name, objective.per, objective.coefficient) == ("mle", "example", 1.0)
    assert_close(update.loss, loss.detach(), rtol=0, atol=1e-10)
    expected = gradients_of(loss, problem)
    for name, gradient in update.gradients.items():
        if name.startswith("policy"):
            assert_close(gradient, expected[name], rtol=0, atol=1e-10, msg=name)
        else:
            assert gradient is None, name
    groups = weights.view(4, N) if algorithm.normalise_over == "source" else [weights]
    effective = [w.sum() ** 2 / (w @ w) for w in groups]
    assert update.metrics["effective"] == pytest.approx((float(sum(effective)), 4.0))
    lengths = samples.mask.sum(1).double()
    assert update.metrics["nll"] == pytest.approx((4 * loss.item(), float(weights @ lengths)))
    assert update.metrics["payoff"] == pytest.approx((update.rewards.sequence.sum().item(), 4.0 * N))
    assert update.metrics["alpha"] == (algorithm.alpha, 1.0)


@pytest.mark.parametrize("temperature", [3.0, 0.5])
def test_at_alpha_0_it_is_raml_with_importance_weights(make_problem: Any, temperature: float) -> None:
    samples = draw(dimt(), make_problem())
    payoffs = torch.randn(12, generator=torch.Generator().manual_seed(2))
    got = dimt(temperature=temperature).weights(samples, torch.randn(12), payoffs, alpha=0.0)
    raml = Raml(weighting="importance", keep_reference=False, temperature=temperature)
    assert_close(got, raml.weights(samples, payoffs), rtol=0, atol=1e-12)
    assert got.max() > 0.5


def test_at_alpha_1_draws_of_the_policy_weigh_the_same(make_problem: Any) -> None:
    log_p = -20 * torch.rand(12)
    samples = replace(draw(dimt(), make_problem()), log_proposal=log_p.double())
    weights = dimt().weights(samples, log_p, torch.randn(12), alpha=1.0)
    assert_close(weights, torch.full((12,), 1 / 3).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("normalise_over", ["source", "batch"])
def test_weights_far_down(make_problem: Any, normalise_over: str) -> None:
    """exp(-300) is no float32: ratios of e^0.5 and 1 must survive."""
    samples = draw(dimt(), make_problem(slice_of=(0, 1)))
    algorithm = dimt(q0_correction=False, normalise_over=normalise_over)
    log_p = torch.tensor([-300.0, -301.0, -301.0], dtype=torch.float32)
    weights = algorithm.weights(samples, log_p, torch.zeros(3), alpha=0.5)
    ratio = math.exp(-0.5)
    assert_close(weights, torch.tensor([1, ratio, ratio]).double() / (1 + 2 * ratio))
    lowest = algorithm.weights(samples, torch.tensor([-300.0, -3000.0, -3000.0]), torch.zeros(3), alpha=0.5)
    assert lowest.tolist() == [1.0, 0.0, 0.0]


def test_weights_over_the_batch(make_problem: Any) -> None:
    """They sum to the number of examples, whatever each example has."""
    samples = draw(dimt(**RELEASED), make_problem())
    algorithm = dimt(**RELEASED | {"p_norm": "none"}, temperature=1.0)
    payoffs = 2 * torch.tensor([0.0, math.log(2), math.log(2), math.log(5)])
    weights = algorithm.weights(samples, torch.zeros(4), payoffs, alpha=0.5)
    assert_close(weights, torch.tensor([0.4, 0.8, 0.8, 2.0]).double())


def test_a_constant_in_the_payoff_changes_nothing(make_problem: Any) -> None:
    samples, log_p, payoffs = draw(dimt(), make_problem()), -9 * torch.rand(12), torch.randn(12)
    expected = dimt().weights(samples, log_p, payoffs, alpha=0.5)
    assert_close(dimt().weights(samples, log_p, payoffs - 40, alpha=0.5), expected, rtol=0, atol=1e-12)
    of_one = dimt().weights(samples, log_p, payoffs * 1.5, alpha=0.5)
    assert (of_one - expected).abs().max() > 1e-3


def test_the_samples_are_all_drawn(make_problem: Any) -> None:
    """Up to half of the words are replaced; eos is not."""
    samples = draw(dimt(num_samples=400, proposal=BoundedHamming(max_share=0.5)), make_problem())
    references = make_problem().batch.reference.repeat_interleave(400, 0)
    assert torch.equal(samples.mask, references != 0)
    epochs = [replace(make_problem(), moment=replace(make_problem().moment, epoch=i)) for i in range(3)]
    first = torch.stack([draw(dimt(), problem).targets[::3] for problem in epochs])
    assert (first != make_problem().batch.reference).any()
    changed = (samples.targets != references).sum(1).view(4, 400)
    for distances, most in zip(changed, (1, 0, 1, 2), strict=True):
        counts = torch.bincount(distances)
        assert len(counts) == most + 1
        assert (counts > 0.8 * 400 / len(counts)).all()


def test_schedule() -> None:
    """Halved down to 0.05; ends after more than 10 evaluations, 5 of them no better."""
    algorithm = AlphaDimt()
    rates = [algorithm.learning_rates(update=0, decays=decays)["policy"] for decays in range(7)]
    assert rates == [1.0, 0.5, 0.25, 0.125, 0.0625, 0.05, 0.05]
    assert not algorithm.exhausted(evaluations=10, since_best=9, decays=9)
    assert not algorithm.exhausted(evaluations=30, since_best=4, decays=9)
    assert algorithm.exhausted(evaluations=11, since_best=5, decays=0)
    assert AlphaDimt(learning_rate=4e-3).learning_rates(0, decays=9) == {"policy": pytest.approx(2e-4)}
    linear = AlphaDimt(linear_decay=True, max_updates=100)
    assert linear.learning_rates(update=25, decays=1) == {"policy": 0.375}


def test_alpha_grows_with_decays(make_problem: Any, run: Any) -> None:
    algorithm = dimt(alpha=0.3, alpha_increase=0.25, alpha_max=0.7)
    assert [algorithm.alpha_after(decays) for decays in range(4)] == [0.3, 0.55, 0.7, 0.7]
    problem = make_problem()
    later = replace(problem, moment=replace(problem.moment, decays=2))
    got, expected = run(algorithm, later), run(dimt(alpha=0.7), problem)
    assert got.loss == expected.loss != run(algorithm, problem).loss
    assert got.metrics["alpha"] == (0.7, 1.0)


class Decoder:
    """Stands for an evaluator; notes how it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool, int | None]] = []
        """For samples and perplexity too."""
        self.decoded: list[tuple[str, int | None]] = []

    def policy_scores(
        self, policy: Any, split_name: str, *, closing: bool = False, beam_size: int | None = None
    ) -> tuple[dict[str, Any], list[str]]:
        self.asked.append((split_name, closing, beam_size))
        scores, hypotheses = self.decoded_scores(policy, split_name, beam_size)
        return scores | {"perplexity": 9.0}, hypotheses

    def decoded_scores(
        self, policy: Any, split_name: str, beam_size: int | None = None
    ) -> tuple[dict[str, Any], list[str]]:
        self.decoded.append((split_name, beam_size))
        score = 20.0 if beam_size == 1 else 30.0
        return {"bleu": score, "length_ratio": score / 100}, [f"beam {beam_size}"]


def test_it_is_selected_by_greedy_decoding(make_problem: Any) -> None:
    decoder, networks = Decoder(), make_problem().networks
    algorithm = AlphaDimt()
    scores, texts = algorithm.scores(decoder, networks, "dev", closing=False)
    assert (scores, texts) == ({"greedy_bleu": 20.0, "length_ratio": 0.2, "perplexity": 9.0}, ["beam 1"])
    assert algorithm.selection == ("greedy_bleu", "max")
    scores, texts = algorithm.scores(decoder, networks, "test", closing=True)
    assert scores == {"bleu": 30.0, "length_ratio": 0.3, "perplexity": 9.0, "greedy_bleu": 20.0}
    assert texts == ["beam None"]
    assert decoder.asked == [("dev", False, 1), ("test", True, None)]
    assert decoder.decoded == [("dev", 1), ("test", 1), ("test", None)]


def test_published_setting() -> None:
    algorithm = AlphaDimt()
    assert (algorithm.optimizer, algorithm.learning_rate, algorithm.decay) == ("sgd", 1.0, 0.5)
    assert (algorithm.batch_size, algorithm.clip_norm) == (128, 5.0)
    assert (algorithm.alpha, algorithm.temperature, algorithm.proposal.max_share) == (0.5, 3.0, 0.2)
    assert (algorithm.trains, algorithm.model_free, algorithm.uses_rewards) == (("policy",), True, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 1}, "`num_samples` must be above 1 with `normalise_over` source"),
        ({"alpha_max": 0.4}, "`alpha` must not be above `alpha_max`"),
    ],
)
def test_what_does_not_go_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AlphaDimt(**options)
