from typing import Any

import pytest
import torch
from torch.testing import assert_close

from raysq.algorithms import CriticTraining
from raysq.algorithms.rows import Rows
from raysq.rewards import SentenceBleu
from raysq.types import EOS, PAD, Samples

OPTIONS: list[dict[str, Any]] = [
    {},
    {"tau": 0.0},
    {"variance": "sum"},
    {"lambda_var": 0.0},
    {"forced_eos": "unrestricted"},
    {"num_samples": 1},
    {"sample_dropout": False},
]


def critic_training(**options: Any) -> CriticTraining:
    """Entropy and penalty large enough to matter, samples short enough for eos to be forced."""
    return CriticTraining(**{"tau": 0.4, "lambda_var": 0.2, "max_length": 4} | options)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("input_feeding", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_update_is_the_textbooks(
    make_problem: Any,
    run: Any,
    textbook: Any,
    gradients_of: Any,
    options: dict[str, Any],
    input_feeding: bool,
    dropout: float,
) -> None:
    algorithm = critic_training(**options)
    problem = make_problem(input_feeding=input_feeding, dropout=dropout)
    update = run(algorithm, problem)
    assert update.samples.forced_eos.any()
    assert not update.samples.mask.all()
    masks = update.samples.dropout_mask
    assert (masks is None or bool((masks == 1).all())) == (dropout == 0 or not algorithm.sample_dropout)
    book = textbook(problem, update.samples, update.rewards, restricted=algorithm.forced_eos == "restricted")
    terms = {"td": (book.td_error(algorithm.tau) ** 2).sum(), "variance": book.variance(algorithm.variance)}
    loss = terms["td"] + algorithm.lambda_var * terms["variance"]
    loss = loss / (4 * algorithm.num_samples)
    names = ["td", "variance"] if algorithm.lambda_var else ["td"]
    assert [objective.name for objective in update.objectives] == names
    for objective in update.objectives:
        assert objective.per == "sequence"
        expected = terms[objective.name].detach()
        assert_close(objective.total.detach(), expected, rtol=0, atol=1e-10, msg=objective.name)
    assert_close(update.loss, loss.detach(), rtol=0, atol=1e-10)
    for name, gradient in gradients_of(loss, problem).items():
        if name.startswith("critic"):
            assert_close(update.gradients[name], gradient, rtol=0, atol=1e-10, msg=name)
        else:
            assert update.gradients[name] is None


def test_metrics(make_problem: Any, run: Any, textbook: Any) -> None:
    problem = make_problem()
    update = run(critic_training(), problem)
    book = textbook(problem, update.samples, update.rewards, restricted=True)
    n, M = float(update.samples.mask.sum()), 8.0
    q = book.q.gather(2, update.samples.targets.unsqueeze(2)).squeeze(2) * book.mask
    expected = {
        "tokens": (n, 1.0),
        "td_error": (book.td_error(0.4).abs().sum().item(), n),
        "entropy": ((book.entropy * book.mask).sum().item(), n),
        "q": (q.sum().item(), n),
        "reward": (1.5 * update.rewards.sequence.sum().item(), M),
        "payoff": (update.rewards.sequence.sum().item(), M),
        "sample_length": (n - M, M),
        "forced_eos": (float((update.samples.mask.sum(1) == 4).sum()), M),
    }
    assert update.metrics.keys() == expected.keys()
    for name, pair in expected.items():
        assert update.metrics[name] == pytest.approx(pair), name


@pytest.mark.parametrize(("max_length", "extra_length", "T"), [(50, 5, 11), (50, 0, 6), (7, 5, 7), (2, 5, 2)])
def test_the_maximum_length_of_a_sample(
    make_problem: Any, max_length: int, extra_length: int, T: int
) -> None:
    """min(L + extra, max), L the longest reference counted with bos and eos."""
    problem = make_problem()
    with torch.no_grad():
        problem.networks.policy.output.bias[EOS] = -30.0
    algorithm = CriticTraining(max_length=max_length, extra_length=extra_length)
    samples = algorithm.draw(problem.batch, problem.networks, SentenceBleu(), problem.moment)
    assert samples.targets.shape == (8, T)
    assert samples.mask.all()
    assert (samples.targets[:, -1] == EOS).all()
    assert samples.forced_eos[:, -1].all()
    assert not samples.forced_eos[:, :-1].any()


def test_samples_of_an_example_stand_together(make_problem: Any) -> None:
    """Sequence m belongs to example m // N: where a source makes eos likely, its samples are often empty."""
    problem = make_problem()
    problem.networks.policy.initialise(torch.Generator().manual_seed(2), init_range=2.0)
    algorithm = CriticTraining(num_samples=50)
    samples = algorithm.draw(problem.batch, problem.networks, SentenceBleu(), problem.moment)
    assert samples.num_per_example == 50
    policy, batch = problem.networks.policy, problem.batch
    memory = policy.encode(batch.source, batch.source_mask)
    first = torch.full((4,), 1)
    features, _ = policy.step(memory, policy.initial_state(memory), first)
    ends = torch.softmax(policy.output.logits(features), 1)[:, EOS]
    uniforms = problem.moment.uniforms("samples", batch, 50, 11)[:, 0].view(4, 50)
    empty = (samples.targets[:, 0] == EOS).view(4, 50)
    assert torch.equal(empty, uniforms < ends.unsqueeze(1))  # eos comes first in the inverse CDF
    assert ends.std() > 0.1


def test_dropout_may_be_off_while_sampling(make_problem: Any) -> None:
    problem = make_problem(dropout=0.3)
    for sample_dropout in (True, False):
        algorithm = CriticTraining(sample_dropout=sample_dropout)
        samples = algorithm.draw(problem.batch, problem.networks, SentenceBleu(), problem.moment)
        assert samples.dropout_mask is not None  # ones are no dropout: none is drawn for the loss either
        assert bool((samples.dropout_mask == 1).all()) == (not sample_dropout)


def test_rows_literal() -> None:
    targets = torch.tensor([[4, 5, EOS], [EOS, PAD, PAD], [6, EOS, PAD]])
    mask = targets != PAD
    forced = torch.tensor([[False, False, True], [False] * 3, [False] * 3])
    rows = Rows.of(Samples(targets, targets, mask, forced, 1))
    assert rows.tokens.tolist() == [4, 5, EOS, EOS, 6, EOS]
    assert rows.forced_eos.tolist() == [False, False, True, False, False, False]
    assert rows.last.tolist() == [False, False, True, True, False, True]


def test_published_setting() -> None:
    algorithm = CriticTraining()
    assert (algorithm.optimizer, algorithm.beta1, algorithm.beta2) == ("adam", 0.9, 0.999)
    assert algorithm.learning_rates(update=5, decays=2) == {"critic": 2.5e-4}
    assert (algorithm.num_samples, algorithm.extra_length, algorithm.max_length) == (2, 5, 50)
    assert (algorithm.tau, algorithm.target_tau()) == (0.045, 0.045)
    assert (algorithm.target_rate, algorithm.following_rates()) == (1e-3, {"target_critic": 1e-3})
    assert (algorithm.lambda_var, algorithm.variance, algorithm.forced_eos) == (
        1e-3,
        "variance",
        "restricted",
    )
    assert (algorithm.max_epochs, algorithm.max_decays, algorithm.batch_size) == (20, 5, 50)
    assert algorithm.selection == ("td_error", "min")
