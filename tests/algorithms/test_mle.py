from typing import Any

import pytest
import torch
from torch.testing import assert_close

from raysq.algorithms import Mle
from raysq.algorithms.base import reference_samples
from raysq.algorithms.mle import mle_objective


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("input_feeding", [False, True])
def test_the_update_is_the_textbooks(
    make_problem: Any, run: Any, textbook: Any, gradients_of: Any, input_feeding: bool, dropout: float
) -> None:
    problem = make_problem(input_feeding=input_feeding, dropout=dropout)
    update = run(Mle(), problem)
    total = textbook(problem, update.samples, update.rewards, restricted=True).likelihood_loss(dropout > 0)
    (objective,) = update.objectives
    assert (objective.name, objective.per, objective.coefficient) == ("mle", "example", 1.0)
    assert_close(objective.total.detach(), total.detach(), rtol=0, atol=1e-10)
    assert_close(update.loss, total.detach() / 4, rtol=0, atol=1e-10)
    expected = gradients_of(total / 4, problem)
    for name, gradient in update.gradients.items():
        if name.startswith("policy"):
            assert_close(gradient, expected[name], rtol=0, atol=1e-10, msg=name)
        else:
            assert gradient is None
    assert update.metrics["tokens"] == (14.0, 1.0)
    assert update.metrics["nll"] == pytest.approx((total.item(), 14.0))


def test_dropout_matters(make_problem: Any, run: Any) -> None:
    plain, noisy = (run(Mle(), make_problem(dropout=rate)).loss for rate in (0.0, 0.3))
    assert abs(plain - noisy) > 1e-3


def test_a_coefficient_is_carried_along(make_problem: Any) -> None:
    problem = make_problem()
    objective = mle_objective(
        problem.batch, reference_samples(problem.batch), problem.networks, problem.moment, coefficient=0.1
    )
    assert objective.coefficient == 0.1
    plain = mle_objective(problem.batch, reference_samples(problem.batch), problem.networks, problem.moment)
    assert torch.equal(objective.total, plain.total)


def test_descent_lowers_the_loss(make_problem: Any, run: Any) -> None:
    problem, losses = make_problem(), []
    for _ in range(30):
        losses.append(float(run(Mle(), problem).loss))
        with torch.no_grad():
            for parameter in problem.networks.policy.parameters():
                parameter -= 0.3 * parameter.grad
    assert losses[-1] < 0.5 * losses[0]


def test_published_schedule() -> None:
    algorithm = Mle()
    assert algorithm.optimizer == "sgd"
    assert algorithm.learning_rates(update=1000, decays=0) == {"policy": 0.6}
    assert algorithm.learning_rates(update=1000, decays=2) == {"policy": 0.15}
    assert (algorithm.batch_size, algorithm.clip_norm, algorithm.max_epochs, algorithm.max_decays) == (
        50,
        5.0,
        30,
        6,
    )
    assert algorithm.following_rates() == {}
