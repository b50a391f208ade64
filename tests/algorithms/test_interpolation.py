from dataclasses import replace
from math import log
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from raysq.algorithms import Interpolation, Mle
from raysq.algorithms.moment import Moment
from raysq.algorithms.on_policy import ended_references
from raysq.config import flatten
from raysq.rewards import SentenceBleu
from raysq.types import EOS, FIRST_ACTION, PAD
from workflows.interpolation import RECIPE

MIXED: dict[str, Any] = {"lambda_model": 0.3, "lambda_reward": 0.3, "lambda_truth": 0.4}
BY_TRUTH: dict[str, Any] = {"lambda_model": 0.0, "lambda_reward": 0.0, "lambda_truth": 1.0}
BY_REWARD: dict[str, Any] = {"lambda_model": 0.0, "lambda_reward": 1.0, "lambda_truth": 0.0}


def anneal(algorithm: Interpolation, decays: int) -> tuple[float, ...]:
    return tuple(round(share, 10) for share in algorithm.mixture(decays))


def test_the_published_schedule() -> None:
    """In the order model, reward, truth."""
    algorithm = Interpolation()
    assert [anneal(algorithm, decays) for decays in range(18)] == [
        (0.04, 0.00, 0.96),
        (0.10, 0.00, 0.90),
        (0.10, 0.06, 0.84),
        (0.10, 0.12, 0.78),
        (0.10, 0.18, 0.72),
        (0.10, 0.24, 0.66),
        (0.16, 0.24, 0.60),
        (0.16, 0.30, 0.54),
        (0.16, 0.36, 0.48),
        (0.16, 0.42, 0.42),
        (0.16, 0.48, 0.36),
        (0.22, 0.48, 0.30),
        (0.22, 0.54, 0.24),
        (0.22, 0.60, 0.18),
        (0.22, 0.66, 0.12),
        (0.22, 0.72, 0.06),
        (0.28, 0.72, 0.00),
        (0.28, 0.72, 0.00),
    ]
    assert algorithm.mixture(16).truth == 0
    for decays in range(17):
        assert sum(algorithm.mixture(decays)) == pytest.approx(1, abs=1e-12)
        assert algorithm.exhausted(evaluations=50, since_best=40, decays=decays) == (decays == 16)


def test_other_schedules() -> None:
    coarse = Interpolation(lambda_step=0.4, reward_steps=1)
    assert [anneal(coarse, decays) for decays in range(4)] == [
        (0.04, 0.0, 0.96),
        (0.44, 0.0, 0.56),
        (0.44, 0.4, 0.16),
        (0.60, 0.4, 0.0),  # the last step is what was left
    ]
    assert [coarse.exhausted(9, 3, decays) for decays in (2, 3)] == [False, True]
    tenths = Interpolation(**BY_TRUTH, lambda_step=0.1)
    assert tenths.mixture(10).truth == 0  # though ten subtractions of 0.1 leave something over
    assert tenths.exhausted(evaluations=12, since_best=1, decays=10)
    assert Interpolation(max_decays=2).exhausted(9, 3, 2)


def test_published_setting() -> None:
    algorithm = Interpolation()
    assert algorithm.restores
    assert algorithm.selection == ("bleu", "max")
    assert (algorithm.optimizer, algorithm.max_decays, algorithm.reward_factor) == ("adam", 16, 1e4)
    assert (algorithm.num_samples, algorithm.batch_size) == (1, 64)
    assert algorithm.learning_rates(update=1000, decays=9) == {"policy": 1e-3}
    assert algorithm.trains == ("policy",)
    fields = flatten(Interpolation())
    preset = RECIPE.presets["tan2019_released"]
    released = {key.removeprefix("interpolation."): value for key, value in preset.items()}
    assert Interpolation(**{**fields, **released}).reward_factor == 1.0


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"lambda_model": 0.04, "lambda_truth": 0.06}, "must sum to 1"),
        ({"lambda_model": 0.94, "lambda_truth": 0.06}, "collapses"),
        ({"lambda_model": 0.95, "lambda_reward": 0.05, "lambda_truth": 0.0}, "collapses"),
        ({"reward_steps": 0}, "collapses"),
    ],
    ids=str,
)
def test_mixtures_that_teach_nothing_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Interpolation(**options)


@pytest.mark.parametrize("more_padding", [0, 7])
@pytest.mark.parametrize("input_feeding", [False, True])
def test_by_the_reference_alone_it_is_mle(
    make_problem: Any, run: Any, input_feeding: bool, more_padding: int
) -> None:
    mle, interpolation = (
        run(algorithm, make_problem(input_feeding=input_feeding, more_padding=more_padding))
        for algorithm in (Mle(), Interpolation(**BY_TRUTH))
    )
    assert_close(interpolation.loss, mle.loss, rtol=0, atol=1e-12)
    for name, gradient in mle.gradients.items():
        if gradient is None:
            assert interpolation.gradients[name] is None
        else:
            assert_close(interpolation.gradients[name], gradient, rtol=0, atol=1e-12, msg=name)
    assert interpolation.metrics["from_truth"] == (14.0, 14.0)
    assert "reward_entropy" not in interpolation.metrics


def likelihood(textbook: Any, problem: Any, update: Any) -> Tensor:
    """-log pi of what was drawn, forced eos apart."""
    book, samples = textbook(problem, update.samples, update.rewards, restricted=True), update.samples
    actions = (samples.targets - FIRST_ACTION).clamp(min=0)
    chosen = book.log_pi.gather(2, actions.unsqueeze(2)).squeeze(2)
    return -(chosen * samples.mask * ~samples.forced_eos).sum()


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"extra_length": 0},
        {"per_step_z": True},
        {"force_first_token": True},
        {"reward_factor": 1.0},
        {"num_samples": 2},
    ],
    ids=str,
)
def test_the_update_is_the_textbooks(
    make_problem: Any, run: Any, textbook: Any, gradients_of: Any, options: dict[str, Any], dropout: float
) -> None:
    problem = make_problem(dropout=dropout, input_feeding=bool(dropout))
    update = run(Interpolation(**MIXED | options), problem)
    assert (update.samples.dropout_mask is not None) == (dropout > 0)
    total = likelihood(textbook, problem, update)
    (objective,) = update.objectives
    N = update.samples.num_per_example
    assert (objective.name, objective.per, objective.coefficient) == ("mle", "example", 1 / N)
    assert_close(update.loss, total.detach() / (4 * N), rtol=0, atol=1e-10)
    for name, gradient in gradients_of(total / (4 * N), problem).items():
        if name.startswith("policy"):
            assert_close(update.gradients[name], gradient, rtol=0, atol=1e-10, msg=name)
        else:
            assert update.gradients[name] is None


def test_eos_that_was_forced_teaches_nothing(make_problem: Any, run: Any, textbook: Any) -> None:
    problem = make_problem()
    with torch.no_grad():
        problem.networks.policy.output.bias[EOS] = -9.0
    algorithm = Interpolation(
        lambda_model=0.8, lambda_reward=0.2, lambda_truth=0.0, reward_factor=0.0, extra_length=0
    )
    update = run(algorithm, problem)
    assert update.samples.forced_eos.any()
    total = likelihood(textbook, problem, update).item() / 4
    assert update.loss.item() == pytest.approx(total)


def test_each_token_is_its_experts(make_problem: Any, run: Any) -> None:
    """The reference's where it has the say, past its end eos; shares are counted; pad is never learned."""
    problem, algorithm = make_problem(more_padding=3), Interpolation(**MIXED, eos_penalty=0.0)
    spoke = torch.zeros(3)
    for seed in range(12):
        problem = replace(problem, moment=replace(problem.moment, seed=seed))
        update = run(algorithm, problem)
        samples, width = update.samples, update.samples.mask.shape[1]
        by_policy, by_reward = (
            where[:, :width] for where in algorithm.experts(problem.batch, problem.moment)
        )
        assert not (by_policy & by_reward).any()
        by_truth = samples.mask & ~by_policy & ~by_reward
        truth = ended_references(problem.batch, 1, width)
        assert torch.equal(samples.targets[by_truth], truth[by_truth])
        assert (samples.targets[samples.mask] >= FIRST_ACTION).all()
        counts = [float((where & samples.mask).sum()) for where in (by_policy, by_reward, by_truth)]
        found = [update.metrics[name] for name in ("from_model", "from_reward", "from_truth")]
        assert found == [(number, sum(counts)) for number in counts]
        spoke += torch.tensor(counts)
    assert (spoke > 30).all()


def test_ended_references_literal(make_problem: Any) -> None:
    """Eos wherever the released code has pad."""
    problem = make_problem(more_padding=2)
    assert problem.batch.reference[1].tolist() == [7, EOS, PAD, PAD, PAD, PAD, PAD]
    assert ended_references(problem.batch, 1, 9)[1].tolist() == [7] + 8 * [EOS]
    assert ended_references(problem.batch, 2, 4)[7].tolist() == [6, 6, 5, 7]


def wide(problem: Any, times: int) -> Any:
    """The same four examples many times over."""
    batch = problem.batch
    names = ("example_ids", "source", "source_mask", "reference", "reference_mask")
    tensors = {
        name: getattr(batch, name).repeat(times, *[1] * (getattr(batch, name).dim() - 1)) for name in names
    }
    references = list(batch.references) * times
    return replace(batch, **tensors, references=references, global_size=4 * times)


def test_experts_are_chosen_by_the_mixture(make_problem: Any) -> None:
    """Each token by itself: shares over all tokens, and no two sequences agree."""
    problem, algorithm = make_problem(), Interpolation()
    batch = wide(problem, 500)
    for decays in (0, 5, 16):
        by_policy, by_reward = algorithm.experts(batch, replace(problem.moment, decays=decays))
        assert by_policy.shape == (2000, 16)
        mixture = algorithm.mixture(decays)
        for where, share in ((by_policy, mixture.model), (by_reward, mixture.reward)):
            assert where.double().mean().item() == pytest.approx(share, abs=0.012)
            for one in (where.double().mean(0), where[:1000].double().mean(0)):  # at every step alike
                assert (one - share).abs().max() < 0.06
    assert len(torch.unique(by_policy, dim=0)) > 1000


def test_experts_have_random_numbers_of_their_own(make_problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who draws says nothing about the word that is drawn."""
    problem, purposes, uniforms = make_problem(dropout=0.3), set(), Moment.uniforms
    monkeypatch.setattr(Moment, "uniforms", lambda *of: (purposes.add(of[1]), uniforms(*of))[1])
    Interpolation().draw(problem.batch, problem.networks, SentenceBleu(), problem.moment)
    assert purposes == {"samples", "experts", "sample dropout"}


@pytest.mark.parametrize(("of_eos", "of_repetition"), [(0.0, 3.0), (3.0, 0.0), (3.0, 3.0)])
def test_penalties(make_problem: Any, of_eos: float, of_repetition: float) -> None:
    """The reward ends no sequence too early and repeats no word if that costs more than words can earn."""
    algorithm = Interpolation(**BY_REWARD, eos_penalty=of_eos, repetition_penalty=of_repetition)
    short, again = 0, 0
    for seed in range(10):
        problem = make_problem()
        moment = replace(problem.moment, seed=seed)
        samples = algorithm.draw(problem.batch, problem.networks, SentenceBleu(brevity_penalty=False), moment)
        short += int((samples.lengths < torch.tensor([3, 1, 2, 4])).sum())
        again += int(((samples.targets[:, 1:] == samples.targets[:, :-1]) & samples.mask[:, 1:]).sum())
    assert (short > 0) == (of_eos == 0)
    assert (again > 0) == (of_repetition == 0)


def test_one_expert_a_step(make_problem: Any) -> None:
    """All sequences agree, those of other ranks too; steps do not."""
    whole, second = make_problem(), make_problem(slice_of=(2, 4))
    algorithm = Interpolation(**MIXED, per_step_z=True)
    for problem in (whole, second):
        by_policy, by_reward = algorithm.experts(problem.batch, problem.moment)
        assert len(torch.unique(torch.cat((by_policy, by_reward), 1), dim=0)) == 1
    expected, found = (algorithm.experts(p.batch, p.moment)[0][0] for p in (whole, second))
    assert torch.equal(expected, found)
    assert expected.any()
    assert not expected.all()
    apart = Interpolation(**MIXED).experts(whole.batch, whole.moment)[0]
    assert len(torch.unique(apart, dim=0)) > 1


def test_the_first_token_is_the_references(make_problem: Any, run: Any) -> None:
    algorithm = Interpolation(**BY_REWARD, force_first_token=True, reward_factor=0.0)
    update = run(algorithm, make_problem())
    assert update.samples.targets[:, 0].tolist() == [4, 7, 3, 6]
    assert update.metrics["from_truth"][0] == 4
    assert update.metrics["from_reward"][0] > 4


def test_entropy_of_the_rewards_draws(make_problem: Any, run: Any) -> None:
    """Uniform over eos and four words at c = 0, never unk; less with a large c, for the same draws."""
    entropy = {}
    for scale in (0.0, 1e4):
        update = run(Interpolation(**BY_REWARD, reward_factor=scale), make_problem())
        total, weight = update.metrics["reward_entropy"]
        assert weight == float((update.samples.mask & ~update.samples.forced_eos).sum())
        entropy[scale] = total / weight
    assert entropy[0.0] == pytest.approx(log(5))
    assert entropy[1e4] < 1
