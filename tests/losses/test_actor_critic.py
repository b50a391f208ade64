import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from raysq.losses import actor_critic, state_value
from raysq.types import EOS, FIRST_ACTION

LN2 = math.log(2)
OPTIONS = [
    {
        "tau": tau,
        "target_tau": target_tau,
        "entropy_gradient": entropy_gradient,
        "restrict_forced_eos": restrict,
    }
    for tau in (0.0, 0.3)
    for target_tau in (0.0, 0.3)
    for entropy_gradient in ("exact", "normalised")
    for restrict in (True, False)
]


def literal_rows() -> tuple[Tensor, ...]:
    """Two equal rows, eos forced in the second: pi = (0, 0, 1/2, 1/4, 1/4)."""
    logits = torch.tensor([-1e4, -1e4, 2 * LN2, LN2, LN2], dtype=torch.float64).repeat(2, 1)
    q = torch.tensor([9.0, 9.0, 1.0, 2.0, 4.0], dtype=torch.float64).repeat(2, 1)
    target_q = torch.tensor([9.0, 9.0, 0.0, 4.0, 8.0], dtype=torch.float64).repeat(2, 1)
    return logits, q, target_q, torch.tensor([False, True]), torch.tensor([3, EOS])


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_literal() -> None:
    loss, gradient, values = actor_critic(*literal_rows(), tau=1.0, target_tau=0.5)
    # A = Q - log pi = (1 + ln 2, 2 + 2 ln 2, 4 + 2 ln 2), its mean under pi 2 + 1.5 ln 2
    assert_close(loss, numbers(-2 - 1.5 * LN2, 0))
    expected = numbers(0, 0, 0.5 + LN2 / 4, -LN2 / 8, -0.5 - LN2 / 8)
    assert_close(gradient, torch.stack((expected, torch.zeros_like(expected))))
    assert_close(values["online_value"], numbers(2, 1))
    assert_close(values["state_value"], numbers(3 + 0.75 * LN2, 0))
    assert_close(values["entropy"], numbers(1.5 * LN2, 0))
    assert_close(values["log_prob"], numbers(-2 * LN2, 0))


def test_literal_without_entropy() -> None:
    loss, gradient, values = actor_critic(*literal_rows(), tau=0.0, target_tau=0.0)
    assert_close(loss, numbers(-2, 0))
    assert_close(gradient[0], numbers(0, 0, 0.5, 0, -0.5))
    assert_close(values["state_value"], numbers(3, 0))
    assert_close(values["entropy"], numbers(1.5 * LN2, 0))


def test_literal_normalised_entropy() -> None:
    """The norm of log pi over the words is 3 ln 2, so log pi / norm = -(1, 2, 2) / 3."""
    loss, gradient, values = actor_critic(
        *literal_rows(), tau=1.0, target_tau=0.5, entropy_gradient="normalised"
    )
    assert_close(loss, numbers(-2.5, 0))
    assert_close(gradient[0], numbers(0, 0, 7 / 12, -1 / 24, -13 / 24))
    assert_close(values["state_value"], numbers(3 + 0.75 * LN2, 0))  # the value's entropy is never normalised


def test_literal_forced_eos_unrestricted() -> None:
    loss, gradient, values = actor_critic(*literal_rows(), tau=1.0, target_tau=0.5, restrict_forced_eos=False)
    assert_close(loss[1], loss[0])
    assert_close(gradient[1], gradient[0])
    for name in ("online_value", "state_value", "entropy"):
        assert_close(values[name][1], values[name][0])
    assert_close(values["log_prob"], numbers(-2 * LN2, -LN2))


def plain(
    logits: Tensor,
    q: Tensor,
    target_q: Tensor,
    forced_eos: Tensor,
    tokens: Tensor,
    *,
    tau: float,
    target_tau: float,
    entropy_gradient: str,
    restrict_forced_eos: bool,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The formulas over the actions alone, row after row, differentiable."""
    losses, values = [], []
    for row in range(len(logits)):
        actions = logits[row, FIRST_ACTION:]
        forced = restrict_forced_eos and bool(forced_eos[row])
        pi = torch.softmax(actions, 0)
        log_pi = pi.log()
        entropy = -(pi * log_pi).sum()
        online_value = (pi * q[row, FIRST_ACTION:]).sum()
        state = (pi * target_q[row, FIRST_ACTION:]).sum() + target_tau * entropy
        held = (log_pi / log_pi.norm()).detach() if entropy_gradient == "normalised" else log_pi
        loss = -(online_value - tau * (pi * held).sum())
        log_prob = log_pi[tokens[row] - FIRST_ACTION]
        if forced:
            zero = actions.sum() * 0
            loss, entropy, log_prob = zero, zero, zero
            state, online_value = target_q[row, EOS], q[row, EOS]
        losses.append(loss)
        values.append({"state_value": state, "online_value": online_value})
        values[-1] |= {"entropy": entropy, "log_prob": log_prob}
    return torch.stack(losses), {k: torch.stack([v[k] for v in values]).detach() for k in values[0]}


def random_rows(n: int = 8, V: int = 9) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(n)
    logits = 2 * torch.randn(n, V, generator=generator, dtype=torch.float64)
    logits[:, :FIRST_ACTION] = -1e4
    q, target_q = torch.randn(2, n, V, generator=generator, dtype=torch.float64)
    tokens = torch.randint(FIRST_ACTION, V, (n,), generator=generator)
    return logits, q, target_q, torch.arange(n) % 3 == 2, tokens


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(map(str, options.values())))
def test_gradient_and_values_are_those_of_the_formula(options: dict[str, Any]) -> None:
    logits, *others = random_rows()
    logits.requires_grad_()
    expected, expected_values = plain(logits, *others, **options)
    (expected_gradient,) = torch.autograd.grad(expected.sum(), logits)
    loss, gradient, values = actor_critic(logits.detach().clone(), *others, **options)
    assert_close(loss, expected.detach(), rtol=0, atol=1e-10)
    assert_close(gradient, expected_gradient, rtol=0, atol=1e-10)
    assert values.keys() == expected_values.keys()
    for name, value in values.items():
        assert_close(value, expected_values[name], rtol=0, atol=1e-10, msg=name)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(map(str, options.values())))
def test_forbidden_words_get_no_gradient_whatever_their_q(options: dict[str, Any]) -> None:
    logits, q, target_q, *others = random_rows()
    loss, gradient, values = actor_critic(logits.clone(), q, target_q, *others, **options)
    assert (gradient[:, :FIRST_ACTION] == 0).all()
    q[:, :FIRST_ACTION], target_q[:, :FIRST_ACTION] = 1e3, -1e3
    again, gradient_again, values_again = actor_critic(logits.clone(), q, target_q, *others, **options)
    assert torch.equal(loss, again)
    assert torch.equal(gradient, gradient_again)
    assert all(torch.equal(values[name], values_again[name]) for name in values)


@pytest.mark.parametrize("tau", [0.0, 0.3])
def test_the_critics_are_left_alone(tau: float) -> None:
    """The released code edits Q in place before the variance term reads it."""
    logits, q, target_q, *others = random_rows()
    before = q.clone(), target_q.clone()
    actor_critic(logits, q, target_q, *others, tau=tau, target_tau=tau)
    assert torch.equal(q, before[0])
    assert torch.equal(target_q, before[1])


def test_the_gradient_of_a_row_sums_to_zero() -> None:
    _, gradient, _ = actor_critic(*random_rows(50), tau=0.3, target_tau=0.3)
    assert_close(gradient.sum(1), torch.zeros(50, dtype=torch.float64), rtol=0, atol=1e-13)


def test_the_optimal_policy_has_no_gradient() -> None:
    """softmax(Q / tau) maximises E[Q] + tau H, which is then tau logsumexp(Q / tau)."""
    _, q, _, _, tokens = random_rows()
    q[:, :FIRST_ACTION] = -1e6
    none_forced = torch.zeros(len(q), dtype=torch.bool)
    loss, gradient, _ = actor_critic(q / 0.3, q, q, none_forced, tokens, tau=0.3, target_tau=0.3)
    assert_close(gradient, torch.zeros_like(q), rtol=0, atol=1e-12)
    assert_close(-loss, 0.3 * torch.logsumexp(q / 0.3, 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("restrict", [True, False])
def test_state_value_agrees_with_actor_critic(restrict: bool) -> None:
    logits, q, target_q, forced_eos, tokens = random_rows()
    alone = state_value(logits, target_q, forced_eos, tokens, tau=0.3, restrict_forced_eos=restrict)
    _, _, values = actor_critic(
        logits, q, target_q, forced_eos, tokens, tau=0.7, target_tau=0.3, restrict_forced_eos=restrict
    )
    assert alone.keys() == {"state_value", "entropy", "log_prob"}
    for name, value in alone.items():
        assert torch.equal(value, values[name]), name


def test_float32_stays_finite_for_a_certain_policy() -> None:
    """pi underflows to 0 for all words but one: 0 log 0 must be 0."""
    logits = torch.tensor([[-1e4, -1e4, 200.0, -200.0, 0.0]])
    q = torch.tensor([[0.0, 0.0, 3.0, 1e3, 1.0]])
    for form in ("exact", "normalised"):
        loss, gradient, values = actor_critic(
            logits.clone(), q, q, torch.tensor([False]), torch.tensor([EOS]), tau=0.1, target_tau=0.1,
            entropy_gradient=form,
        )  # fmt: skip
        assert_close(loss, torch.tensor([-3.0]))
        assert_close(gradient, torch.zeros(1, 5))
        assert values["entropy"].item() == 0
