from typing import Any

import pytest
import torch
from torch.testing import assert_close

from raysq.algorithms import ActorCritic, ReinforceCritic
from raysq.types import FIRST_ACTION

OPTIONS: list[dict[str, Any]] = [
    {},
    {"tau": 0.4},
    {"tau": 0.4, "future_entropy": False},
    {"num_samples": 3, "lambda_mle": 0.3},
    {"lambda_var": 0.0},
]


def reinforce_critic(**options: Any) -> ReinforceCritic:
    """A penalty large enough to matter, samples short enough for eos to be forced."""
    return ReinforceCritic(**{"lambda_var": 0.2, "max_length": 4} | options)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_update_is_the_textbooks(
    make_problem: Any, run: Any, textbook: Any, gradients_of: Any, options: dict[str, Any], dropout: float
) -> None:
    algorithm, problem = reinforce_critic(**options), make_problem(dropout=dropout)
    update = run(algorithm, problem)
    samples, token = update.samples, update.rewards.token
    assert samples.forced_eos.any()
    book = textbook(problem, samples, update.rewards, restricted=True)
    log_pi = book.log_pi.gather(2, (samples.targets - FIRST_ACTION).clamp(min=0).unsqueeze(2)).squeeze(2)
    free = samples.mask & ~samples.forced_eos
    drawn = log_pi.detach()
    M, T = samples.mask.shape
    target_tau = algorithm.tau if algorithm.future_entropy else 0.0
    returns = torch.zeros(M, T)
    for i in range(M):
        for t in range(T):
            later = sum(float(token[i, k] - target_tau * drawn[i, k] * free[i, k]) for k in range(t + 1, T))
            returns[i, t] = token[i, t] + later
    advantages = (returns - book.expected(book.q)).detach()
    policy = -((advantages * log_pi + algorithm.tau * book.entropy) * free).sum()
    loss = (policy + (book.td_error(target_tau) ** 2).sum()) / M
    loss = loss + algorithm.lambda_var / M * book.variance("variance")
    loss = loss + algorithm.lambda_mle / 4 * book.likelihood_loss(dropout > 0)
    assert_close(update.loss, loss.detach(), rtol=0, atol=1e-10)
    for name, gradient in gradients_of(loss, problem).items():
        if name.startswith("target_critic"):
            assert update.gradients[name] is None
        else:
            assert_close(update.gradients[name], gradient, rtol=0, atol=1e-10, msg=name)


def test_the_critic_is_trained_as_in_actor_critic(make_problem: Any, run: Any) -> None:
    options = {"tau": 0.4, "lambda_mle": 0.0, "lambda_var": 0.2, "max_length": 4}
    one, other = (run(kind(**options), make_problem()) for kind in (ReinforceCritic, ActorCritic))
    for name, gradient in other.gradients.items():
        if name.startswith("critic"):
            assert_close(one.gradients[name], gradient, rtol=0, atol=1e-12)
    assert one.metrics.keys() == other.metrics.keys()
    for name, pair in other.metrics.items():
        assert one.metrics[name] == pytest.approx(pair), name


def test_published_setting() -> None:
    algorithm = ReinforceCritic()
    assert (algorithm.tau, algorithm.lambda_mle, algorithm.num_samples) == (0.0, 0.0, 1)
    assert algorithm.following_rates() == {"target_critic": 1e-3}
    assert algorithm.trains == ("policy", "critic")
    assert not {"entropy_gradient", "delayed_policy_rate"} & ReinforceCritic.model_fields.keys()
