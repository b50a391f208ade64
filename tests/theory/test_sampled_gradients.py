"""What an algorithm draws averages to its exact gradient, and the error falls like 1 / sqrt(draws).

A *unit* is what is drawn for an example: a sequence, or a group of them. There are few enough to let the
algorithm itself work on each one, so that the expectation is exact. Then the algorithm draws, too.
"""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from raysq.algorithms import Mrt, Networks, Reinforce, ReinforceCritic, Spg
from raysq.algorithms.on_policy import OnPolicy
from raysq.decoding import greedy
from raysq.losses import erpo_log_target, policy_gradient
from raysq.models import StepBaseline
from raysq.rewards import SentenceBleu
from raysq.types import FIRST_ACTION
from tests.theory.tables import MOMENT, Table, gradients_by_example, make_batch, numbers_of, samples_of
from tests.theory.test_erpo import by_token

TAU = 0.7
T = 4
"""Longest sequence, eos counted."""


# -- what is exact


def exact_gradient(logits: Tensor, objective: Any) -> Tensor:
    """Gradient [states * V] of a function of the policy's table, by autograd over all sequences."""
    leaf = logits.clone().requires_grad_()
    return torch.autograd.grad(objective(leaf), leaf)[0].flatten()


def reward_loss(language: Any, leaf: Tensor) -> Tensor:
    """-E[R]"""
    return -language.log_probs(leaf).exp() @ language.payoff


def contest_loss(language: Any, leaf: Tensor) -> Tensor:
    """What two normalised payoffs ascend: how often, about, the policy beats one that stands still."""
    p, R = language.log_probs(leaf).exp(), language.payoff
    distance = R.unsqueeze(1) - R
    return -p @ (distance / (distance.abs() + 2e-4)) @ p.detach()


def entropy_loss(language: Any, leaf: Tensor) -> Tensor:
    """-H of whole sequences."""
    log_p = language.log_probs(leaf)
    return log_p.exp() @ log_p


def steps_entropy_loss(language: Any, leaf: Tensor) -> Tensor:
    """-H of the single steps, the states as they are visited held constant."""
    p = language.log_probs(leaf).exp().detach()
    visits = torch.zeros(len(leaf)).index_add(0, language.states, p[language.sequences])
    log_pi = torch.log_softmax(leaf[:, FIRST_ACTION:], 1)
    return visits @ (log_pi.exp() * log_pi).sum(1).masked_fill(language.forced, 0.0)


# -- units, and draws of the algorithm's own


def units_of(language: Any, log_p: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """All groups of 1 or 2 sequences [units, group], and the probability of drawing each [units]."""
    numbers = torch.arange(len(log_p))
    units = torch.cartesian_prod(*[numbers] * group).view(-1, group)
    return units, log_p[units].sum(1).exp()


def check_draws(estimates: dict[int, Tensor], variance: Tensor, exact: Tensor) -> None:
    """Estimates [repeats, parameters] by draws lie about the exact one as one draw's variance says."""
    for draws, found in estimates.items():
        errors = found - exact
        z = errors.mean(0) / (variance / (draws * len(errors))).sqrt()
        assert z[variance > 1e-20].abs().max() < 5
        assert errors[:, variance <= 1e-20].abs().max() < 1e-10
        size = errors.square().sum(1).mean().sqrt().item()
        assert size == pytest.approx((variance.sum().item() / draws) ** 0.5, rel=0.4)


def check(
    language: Any,
    algorithm: OnPolicy,
    exact: Tensor,
    *,
    log_drawn: Tensor | None = None,
    draws: bool = True,
    **parts: Any,
) -> None:
    """The algorithm's gradients average to the exact one: over all units, and over those it draws.

    ``log_drawn`` [sequences]: what it draws from, where that is not the policy.
    """
    logits = language.random_logits()
    log_p = language.log_probs(logits)
    units, probabilities = units_of(
        language, log_p if log_drawn is None else log_drawn, algorithm.num_samples
    )
    if isinstance(algorithm, Reinforce) and algorithm.baseline == "greedy":
        policy: Any = Table(language, logits)
        best = greedy(policy, policy.encode(torch.zeros(1, 1), None), T)
        units = torch.cat((units, numbers_of(language, best).expand(len(units), 1)), 1)
    gradients = gradients_by_example(
        language, algorithm, samples_of(language, units, logits), logits, **parts
    )
    assert exact.norm() > 1e-2
    assert_close(probabilities.sum(), torch.tensor(1.0))
    assert_close(probabilities @ gradients, exact, rtol=0, atol=1e-12)
    if draws:
        networks: Any = Networks(Table(language, logits))  # type: ignore[arg-type]
        batch = make_batch(language, 20_000)
        drawn = algorithm.draw(batch, networks, SentenceBleu(match_unknown=True), MOMENT)
        found = gradients_by_example(language, algorithm, drawn, logits, **parts)
        estimates = {n: found.unflatten(0, (-1, n)).mean(1) for n in (50, 500, 5000)}
        check_draws(estimates, probabilities @ (gradients - exact).square(), exact)


# -- algorithms that draw from the policy


@pytest.mark.parametrize(
    "extra", [{}, {"ratio_clip": 0.2}, {"tau": TAU}, {"tau": TAU, "future_entropy": False}]
)
@pytest.mark.parametrize(
    "baseline", ["none", "whole payoff", "learned", "greedy", "leave_one_out", "group_normalised"]
)
def test_reinforce(language: Any, baseline: str, extra: dict[str, Any]) -> None:
    """-grad (E[R] + tau H), whatever is subtracted that does not depend on the token.

    Samples of the policy itself have ratios of 1. One that normalises has a gradient of its own.
    """
    credit = (
        {"baseline": "none", "credit": "sequence"} if baseline == "whole payoff" else {"baseline": baseline}
    )
    group = 2 if baseline in ("leave_one_out", "group_normalised") else 1
    algorithm = Reinforce(**credit | extra, num_samples=group, max_length=T)
    earned = contest_loss if baseline == "group_normalised" else reward_loss
    entropy = entropy_loss if algorithm.future_entropy else steps_entropy_loss
    exact = exact_gradient(
        language.random_logits(),
        lambda leaf: earned(language, leaf) + algorithm.tau * entropy(language, leaf),
    )
    learned = StepBaseline(T, language.V)
    torch.nn.init.normal_(learned.weight)
    check(language, algorithm, exact, draws=not extra and language.V == 5, baseline=learned)


def test_the_entropy_of_the_step_alone_is_another_gradient(language: Any) -> None:
    logits = language.random_logits()
    whole, steps = (
        exact_gradient(logits, lambda leaf, loss=loss: loss(language, leaf))
        for loss in (entropy_loss, steps_entropy_loss)
    )
    assert (whole - steps).abs().max() > 0.01


def test_the_entropy_of_sequences_as_a_reward(language: Any) -> None:
    """The other form of ``policy_gradient``: all surprise in the rewards, that of the step itself too."""
    logits = language.random_logits()
    log_pi, rows = language.row_log_probs(logits), language.rows
    surprise = (language.row_rewards - TAU * log_pi).tolist()
    to_go = torch.tensor(surprise)
    for row in reversed(range(len(surprise) - 1)):
        if not rows.last[row]:
            to_go[row] += to_go[row + 1]
    _, gradient, _ = policy_gradient(logits[language.states], rows.tokens, to_go, rows.forced_eos)
    p = language.log_probs(logits).exp()[language.sequences].unsqueeze(1)
    got = torch.zeros_like(logits).index_add(0, language.states, p * gradient)
    exact = exact_gradient(
        logits, lambda leaf: reward_loss(language, leaf) + TAU * entropy_loss(language, leaf)
    )
    assert_close(got.flatten(), exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize("tau", [0.0, TAU])
def test_reinforce_with_a_critic(language: Any, tau: float) -> None:
    """Whatever the critic says."""
    exact = exact_gradient(
        language.random_logits(),
        lambda leaf: reward_loss(language, leaf) + tau * entropy_loss(language, leaf),
    )
    algorithm = ReinforceCritic(tau=tau, max_length=T)
    check(
        language, algorithm, exact, draws=language.V == 5, q=torch.randn(len(language.prefixes), language.V)
    )


def test_spg(language: Any) -> None:
    """-grad log E_p[exp R], by likelihood on draws from q ~ p exp R."""
    logits = language.random_logits()
    log_q = erpo_log_target(language.log_probs(logits), language.payoff, alpha=1.0, beta=0.0)
    exact = exact_gradient(
        logits, lambda leaf: -torch.logsumexp(language.log_probs(leaf) + language.payoff, 0)
    )
    check(language, Spg(), exact, log_drawn=log_q, draws=False)


def test_spg_as_it_draws(language_with_reference: Any) -> None:
    """From the factors of Eq. 4: likelihood under their product."""
    language = language_with_reference
    logits = language.random_logits()
    log_q = by_token(language, torch.log_softmax(logits, 1), 1.0, 0.0)
    scale = language.rewards.scale[0].item()
    algorithm = Spg(reward_factor=scale, drop_rate=0.0, eos_penalty=0.0, repetition_penalty=0.0, max_length=T)
    exact = exact_gradient(logits, lambda leaf: -log_q.exp() @ language.log_probs(leaf))
    check(language, algorithm, exact, log_drawn=log_q)


def risk(language: Any, log_p: Tensor, candidates: Tensor, sharpness: float) -> Tensor:
    """-E_Q[R] of candidate sets [.., K], Q ~ p^sharpness."""
    return -(torch.softmax(sharpness * log_p[candidates], -1) * language.payoff[candidates]).sum(-1)


@pytest.mark.parametrize("sharpness", [1.0, 0.3])
def test_minimum_risk(language: Any, sharpness: float) -> None:
    """Sets of two drawn from p (twice the same is one candidate, without a gradient), held constant."""
    logits = language.random_logits()
    sets, probabilities = units_of(language, language.log_probs(logits), 2)
    exact = exact_gradient(
        logits, lambda leaf: probabilities @ risk(language, language.log_probs(leaf), sets, sharpness)
    )
    algorithm = Mrt(num_samples=2, sharpness=sharpness, max_length=T)
    check(language, algorithm, exact, draws=language.V == 5)


@pytest.mark.parametrize("sharpness", [1.0, 0.3])
def test_minimum_risk_of_all_sequences(language: Any, sharpness: float) -> None:
    """Some of them twice, which counts once; at sharpness 1 it is -grad E[R]."""
    logits, everything = language.random_logits(), torch.arange(len(language.prefixes))
    candidates = torch.cat((everything, everything[::3]))
    algorithm = Mrt(num_samples=len(candidates), sharpness=sharpness)
    samples = samples_of(language, candidates.unsqueeze(0), logits)
    (got,) = gradients_by_example(language, algorithm, samples, logits)
    exact = exact_gradient(
        logits, lambda leaf: risk(language, language.log_probs(leaf), everything, sharpness)
    )
    assert_close(got, exact, rtol=0, atol=1e-12)
    if sharpness == 1:
        assert_close(exact, exact_gradient(logits, lambda leaf: reward_loss(language, leaf)))
