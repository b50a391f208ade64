"""Residual soft Q-learning (Eq. 16) has its only zero at Q*, and descent finds it."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from raysq.losses import Head, residual_soft_q_loss
from raysq.types import FIRST_ACTION

every_tau = pytest.mark.parametrize("tau", [0.1, 0.5, 3.0])


def of_table(
    language: Any, q: Tensor, tau: float, sequences: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a table [states, V], as an output layer over states in one-hot form."""
    rows = slice(None) if sequences is None else torch.isin(language.sequences, sequences)
    bias = torch.zeros(language.V)
    bias[:FIRST_ACTION] = -1e4
    head = Head(torch.eye(len(q))[language.states[rows]], q.t(), bias)
    given = (language.rows.tokens, language.rows.forced_eos, language.row_rewards, language.rows.last)
    return residual_soft_q_loss(head, *(row[rows] for row in given), tau=tau)


def optimum(language: Any, tau: float) -> Tensor:
    """Q* [states, V], 0 where a word is not legal: no bias and no forced eos is in the table."""
    q = language.optimal_q(tau)
    return q.masked_fill(torch.isneginf(q), 0.0)


@every_tau
def test_q_star_has_no_residual_and_no_gradient(language: Any, tau: float) -> None:
    q = optimum(language, tau).requires_grad_()
    total, values = of_table(language, q, tau)
    (gradient,) = torch.autograd.grad(total, q)
    assert_close(values["td_error"], torch.zeros_like(values["td_error"]), rtol=0, atol=1e-11)
    assert_close(gradient, torch.zeros_like(q), rtol=0, atol=1e-10)
    assert total.item() < 1e-20
    tables = torch.logsumexp(language.optimal_q(tau) / tau, 1) * tau
    assert_close(values["state_value"], tables[language.states], rtol=1e-11, atol=1e-11)


@every_tau
def test_nothing_else_has_none(language: Any, tau: float) -> None:
    """Each legal entry counts: moved alone, it costs."""
    q = optimum(language, tau)
    for state, token in {*zip(language.states.tolist(), language.rows.tokens.tolist(), strict=True)}:
        moved = q.clone()
        moved[state, token] += 0.1
        assert of_table(language, moved, tau)[0] > 0.005


def test_gradient_descent_reaches_q_star(language: Any) -> None:
    """From a random table, wherever the sequences lead; each state steps by the average of its visits."""
    expected = optimum(language, 1.0)
    q = torch.randn_like(expected).requires_grad_()
    begun = q.detach().clone()
    visits = torch.bincount(language.states).unsqueeze(1)
    for _ in range(1000):
        total, _ = of_table(language, q, 1.0)
        (gradient,) = torch.autograd.grad(total, q)
        q.data -= 0.3 * gradient / visits
    legal = torch.zeros_like(q, dtype=torch.bool)
    legal[language.states, language.rows.tokens] = True
    assert_close(q[legal], expected[legal], rtol=0, atol=1e-4)
    assert torch.equal(q[~legal], begun[~legal])


def test_on_fewer_sequences_q_star_still_has_no_residual(language: Any) -> None:
    """Off-policy: which sequences were drawn, and how often, does not move the solution."""
    sequences = torch.arange(len(language.prefixes))[::3]
    q = optimum(language, 0.5).requires_grad_()
    total, _ = of_table(language, q, 0.5, sequences)
    (gradient,) = torch.autograd.grad(total, q)
    assert total.item() < 1e-20
    assert gradient.abs().max() < 1e-10
