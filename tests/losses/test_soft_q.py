import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from raysq.losses import Head, residual_soft_q_loss, soft_value_residual
from raysq.types import EOS, FIRST_ACTION

LN2 = math.log(2)
V, H = 9, 4
LENGTHS = (3, 1, 4, 5)
n = sum(LENGTHS)
LAST = torch.tensor([t == length - 1 for length in LENGTHS for t in range(length)])
FORCED = torch.arange(n) == n - 1
"""eos is forced at the end of the last sequence."""


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_literal_row() -> None:
    """tau = 2, Q / tau = (ln 2, ln 1, ln 1): V = 2 ln 4, P = (1/2, 1/4, 1/4); then first, then eos forced."""
    q = numbers(-1e4, -1e4, 2 * LN2, 0, 0).repeat(3, 1)
    incoming, forced = numbers(4 * LN2 + 3, 7, 5), torch.tensor([False, False, True])
    first = torch.tensor([False, True, False])
    loss, gradient, values = soft_value_residual(q, incoming, forced, first, tau=2.0)
    assert_close(values["state_value"], numbers(4 * LN2, 4 * LN2, 2 * LN2))
    assert_close(loss, numbers(9, 0, (5 - 2 * LN2) ** 2))
    assert_close(gradient[0], numbers(0, 0, -3, -1.5, -1.5))
    assert (gradient[1] == 0).all()
    assert_close(gradient[2], numbers(0, 0, -2 * (5 - 2 * LN2), 0, 0))


def test_literal_sequence() -> None:
    """Two steps, the second eos: (Q1 - r1 - V2)^2 + (Q2 - r2)^2 for V2 = ln(1 + 2 + 1)."""
    head = Head(torch.eye(2), torch.zeros(5, 2), torch.zeros(5))
    head.weight[:, 0] = torch.tensor([-1e4, -1e4, 9.0, 3.0, 9.0])
    head.weight[:, 1] = torch.tensor([-1e4, -1e4, LN2, 0.0, 0.0])
    total, values = residual_soft_q_loss(
        head,
        torch.tensor([3, EOS]),
        torch.tensor([False, False]),
        torch.tensor([1.0, 0.5]),
        torch.tensor([False, True]),
        tau=1.0,
    )
    assert_close(values["td_error"], torch.tensor([2 - 2 * LN2, LN2 - 0.5]))
    assert_close(values["q"], torch.tensor([3, LN2]))
    assert_close(values["state_value"][1].item(), 2 * LN2)
    assert_close(total.item(), (2 - 2 * LN2) ** 2 + (LN2 - 0.5) ** 2)


@pytest.fixture
def head(float64: None) -> Head:
    bias = torch.randn(V)
    bias[:FIRST_ACTION] = -1e4
    return Head(torch.randn(n, H).requires_grad_(), torch.randn(V, H).requires_grad_(), bias.requires_grad_())


@pytest.fixture
def rows(float64: None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    tokens = torch.randint(EOS + 1, V, (n,)).masked_fill(LAST, EOS)
    return tokens, FORCED, torch.randn(n).masked_fill(LAST, 0.0), LAST


def plain(head: Head, rows: tuple[Tensor, ...], tau: float) -> tuple[Tensor, Tensor]:
    """Eq. 16 sequence after sequence, over the actions of full tensors; the errors and their squares' sum."""
    q = (head.features @ head.weight.t() + head.bias)[:, FIRST_ACTION:]
    tokens, forced, rewards, last = rows
    errors = []
    for row in range(n):
        target = rewards[row]
        if not last[row]:
            following = q[row + 1, : 1 if forced[row + 1] else None]
            target = target + tau * torch.logsumexp(following / tau, 0)
        errors.append(q[row, tokens[row] - FIRST_ACTION] - target)
    return torch.stack(errors), torch.stack(errors).square().sum()


@pytest.mark.parametrize("tau", [0.1, 0.4, 3.0])
def test_value_and_gradient_are_those_of_the_textbook(
    head: Head, rows: tuple[Tensor, ...], tau: float
) -> None:
    errors, expected = plain(head, rows, tau)
    total, values = residual_soft_q_loss(head, *rows, tau=tau)
    assert_close(total, expected, rtol=1e-12, atol=1e-10)
    assert_close(values["td_error"], errors.detach(), rtol=0, atol=1e-10)
    assert values.keys() == {"td_error", "q", "state_value"}
    assert not any(value.requires_grad for value in values.values())
    wanted = torch.autograd.grad(expected, head[:3])
    for got, want in zip(torch.autograd.grad(total, head[:3]), wanted, strict=True):
        assert_close(got, want, rtol=1e-10, atol=1e-10)


def test_the_gradient_flows_through_both(head: Head, rows: tuple[Tensor, ...]) -> None:
    """A semi-gradient, which holds V constant, is something else."""
    total, values = residual_soft_q_loss(head, *rows, tau=0.4)
    (full,) = torch.autograd.grad(total, head.bias)
    tokens = rows[0]
    semi = torch.zeros(V).index_add(0, tokens, 2 * values["td_error"])
    through_value = full - semi
    assert through_value[FIRST_ACTION:].abs().min() > 0.1
    errors = values["td_error"].masked_fill(LAST, 0.0)  # each V's gradient sums to -2 td_error over the words
    assert_close(through_value.sum(), -2 * errors.sum())


def test_sequences_do_not_touch_each_other(head: Head, rows: tuple[Tensor, ...]) -> None:
    """Alone, each has its part of the sum and of the gradient."""
    total, _ = residual_soft_q_loss(head, *rows, tau=0.4)
    start, parts = 0, []
    for length in LENGTHS:
        part = slice(start, start + length)
        alone = head._replace(features=head.features[part])
        parts.append(residual_soft_q_loss(alone, *(row[part] for row in rows), tau=0.4)[0])
        start += length
    assert_close(torch.stack(parts).sum(), total)
    wanted = torch.autograd.grad(total, head[:3])
    for got, want in zip(torch.autograd.grad(torch.stack(parts).sum(), head[:3]), wanted, strict=True):
        assert_close(got, want, rtol=0, atol=1e-11)


def test_forbidden_words_get_no_gradient(head: Head, rows: tuple[Tensor, ...]) -> None:
    total, _ = residual_soft_q_loss(head, *rows, tau=0.4)
    weight, bias = torch.autograd.grad(total, (head.weight, head.bias))
    assert (weight[:FIRST_ACTION] == 0).all()
    assert (bias[:FIRST_ACTION] == 0).all()


def test_without_rows() -> None:
    head = Head(torch.zeros(0, H), torch.randn(V, H, requires_grad=True), torch.zeros(V))
    none = torch.zeros(0)
    total, values = residual_soft_q_loss(head, none.long(), none.bool(), none, none.bool(), tau=0.4)
    total.backward()
    assert total.item() == 0
    assert {name: len(value) for name, value in values.items()} == dict.fromkeys(values, 0)
