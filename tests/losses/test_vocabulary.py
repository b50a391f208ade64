from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from raysq.losses import Head, actor_critic, cross_entropy, state_value, vocabulary, vocabulary_loss
from raysq.losses.vocabulary import vocabulary_values
from raysq.models import products
from raysq.types import FIRST_ACTION

n, H, V = 37, 5, 11
ACTOR_CRITIC = partial(actor_critic, tau=0.3, target_tau=0.2)
Problem = tuple[Head, list[Head], list[Tensor], Tensor]


@pytest.fixture
def problem(float64: None) -> Problem:
    """A policy's head, those of two critics, the rows' forced_eos and tokens, and row weights."""
    policy, *critics = (
        Head(*(torch.randn(shape, requires_grad=True) for shape in ((n, H), (V, H), (V,)))) for _ in range(3)
    )
    forbidden = torch.zeros(V)
    forbidden[:FIRST_ACTION] = -1e4
    policy = policy._replace(bias=(policy.bias.detach() + forbidden).requires_grad_())
    rows = [torch.arange(n) % 7 == 6, torch.randint(FIRST_ACTION, V, (n,))]
    return policy, critics, rows, torch.rand(n)


def plain_cross_entropy(logits: Tensor, rows: list[Tensor]) -> Tensor:
    return -torch.log_softmax(logits, 1)[torch.arange(len(logits)), rows[1]]


def plain_actor_critic(logits: Tensor, q: Tensor, rows: list[Tensor]) -> Tensor:
    pi = torch.softmax(logits[:, FIRST_ACTION:], 1)
    value = (pi * (q[:, FIRST_ACTION:].detach() - 0.3 * pi.log())).sum(1)
    return -value * ~rows[0]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("block_rows", [3, 10, 512])
@pytest.mark.parametrize("chunk_rows", [None, 1, 4, 36, 37, 100])
def test_chunks_change_nothing(
    problem: Problem,
    monkeypatch: pytest.MonkeyPatch,
    chunk_rows: int | None,
    block_rows: int,
    weighted: bool,
) -> None:
    monkeypatch.setattr(vocabulary, "BLOCK_ROWS", block_rows)
    policy, critics, rows, weights = problem
    logits, q = (h.features @ h.weight.t() + h.bias for h in (policy, critics[0]))
    factors = weights if weighted else torch.ones(n)
    given = weights if weighted else None
    for expected, (total, values) in (
        (
            plain_cross_entropy(logits, rows),
            vocabulary_loss(cross_entropy, policy, rows=rows[1:], weights=given, chunk_rows=chunk_rows),
        ),
        (
            plain_actor_critic(logits, q, rows),
            vocabulary_loss(
                ACTOR_CRITIC, policy, frozen=critics, rows=rows, weights=given, chunk_rows=chunk_rows
            ),
        ),
    ):
        assert_close(total, (factors * expected).sum(), rtol=0, atol=1e-11)
        assert_close(values["loss"], expected.detach(), rtol=0, atol=1e-11)
        wanted = torch.autograd.grad((factors * expected).sum(), policy[:3], retain_graph=True)
        for got, want in zip(torch.autograd.grad(total, policy[:3]), wanted, strict=True):
            assert_close(got, want, rtol=0, atol=1e-10)


def test_values_of_rows_come_in_order(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "BLOCK_ROWS", 10)
    policy, critics, rows, _ = problem
    _, values = vocabulary_loss(ACTOR_CRITIC, policy, frozen=critics, rows=rows, chunk_rows=4)
    logits, q, target_q = (h.features @ h.weight.t() + h.bias for h in (policy, *critics))
    _, _, expected = ACTOR_CRITIC(logits.detach(), q.detach(), target_q.detach(), *rows)
    assert values.keys() == {"loss", *expected}
    for name, value in expected.items():
        assert_close(values[name], value, rtol=0, atol=1e-12, msg=name)
        assert not values[name].requires_grad


def test_frozen_heads_get_no_gradient(problem: Problem) -> None:
    policy, critics, rows, _ = problem
    total, _ = vocabulary_loss(ACTOR_CRITIC, policy, frozen=critics, rows=rows)
    total.backward()
    assert all(part.grad is not None for part in policy[:3])
    assert all(part.grad is None for head in critics for part in head[:3])


@pytest.mark.parametrize("trained", [(0,), (1,), (2,), (0, 2)])
def test_parts_that_need_no_gradient_get_none(problem: Problem, trained: tuple[int, ...]) -> None:
    policy, critics, rows, _ = problem
    total, _ = vocabulary_loss(ACTOR_CRITIC, policy, frozen=critics, rows=rows)
    expected = torch.autograd.grad(total, policy[:3])
    parts = Head(*(part.detach().requires_grad_(i in trained) for i, part in enumerate(policy[:3])))
    vocabulary_loss(ACTOR_CRITIC, parts, frozen=critics, rows=rows)[0].backward()
    for i, part in enumerate(parts[:3]):
        assert part.grad is None if i not in trained else torch.equal(part.grad, expected[i])  # type: ignore[arg-type]


def test_the_gradient_is_scaled_by_what_comes_in(problem: Problem) -> None:
    policy, critics, rows, _ = problem
    (policy_gradient, scaled), total = (
        [
            torch.autograd.grad(
                factor * vocabulary_loss(ACTOR_CRITIC, policy, frozen=critics, rows=rows)[0], policy[:3]
            )
            for factor in (1.0, -2.5 / 7)
        ],
        vocabulary_loss(ACTOR_CRITIC, policy, frozen=critics, rows=rows)[0],
    )
    for got, want in zip(scaled, policy_gradient, strict=True):
        assert_close(got, -2.5 / 7 * want, rtol=1e-14, atol=0)
    torch.autograd.grad(total, policy[:3], retain_graph=True)
    with pytest.raises(RuntimeError, match="once"):
        torch.autograd.grad(total, policy[:3])


def test_second_derivatives_are_refused(problem: Problem) -> None:
    """The closed form is a constant to autograd: a second derivative would silently be 0."""
    policy, _, rows, _ = problem
    total, _ = vocabulary_loss(cross_entropy, policy, rows=rows[1:])
    (gradient,) = torch.autograd.grad(total**2, policy.weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_gradient_reaches_what_the_head_was_made_of(problem: Problem) -> None:
    """Features are selected rows of a bigger tensor, and the bias is a sum, as the algorithms have it."""
    policy, _, rows, _ = problem
    wide = torch.randn(2 * n, H, requires_grad=True)
    chosen = torch.arange(2 * n) % 2 == 1
    head = Head(wide[chosen], policy.weight, policy.bias + 1)
    total, _ = vocabulary_loss(cross_entropy, head, rows=rows[1:], chunk_rows=5)
    expected = plain_cross_entropy(head.features @ head.weight.t() + head.bias, rows).sum()
    leaves = (wide, policy.weight, policy.bias)
    wanted = torch.autograd.grad(expected, leaves, retain_graph=True)
    for got, want in zip(torch.autograd.grad(total, leaves), wanted, strict=True):
        assert_close(got, want, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("row_loss", "num_frozen", "num_rows"), [(cross_entropy, 0, 1), (ACTOR_CRITIC, 2, 2)]
)
def test_differences(problem: Problem, row_loss: Callable[..., Any], num_frozen: int, num_rows: int) -> None:
    """The gradient along random directions is the central difference of the loss."""
    policy, critics, rows, weights = problem

    def total(*head: Tensor) -> Tensor:
        return vocabulary_loss(
            row_loss,
            Head(*head),
            frozen=critics[:num_frozen],
            rows=rows[2 - num_rows :],
            weights=weights,
            chunk_rows=5,
        )[0]

    gradients = torch.autograd.grad(total(*policy[:3]), policy[:3])
    for _ in range(20):
        directions = [torch.randn_like(part) for part in policy[:3]]
        ahead, behind = (
            total(*(part + step * along for part, along in zip(policy[:3], directions, strict=True)))
            for step in (1e-6, -1e-6)
        )
        slope = sum((g * along).sum() for g, along in zip(gradients, directions, strict=True))
        assert_close((ahead - behind) / 2e-6, slope, rtol=1e-6, atol=1e-6)


def test_without_rows(problem: Problem) -> None:
    policy, critics, rows, _ = problem
    none = slice(0, 0)
    features = policy.features[none].detach().requires_grad_()
    frozen = [head._replace(features=head.features[none]) for head in critics]
    head = policy._replace(features=features)
    total, values = vocabulary_loss(ACTOR_CRITIC, head, frozen=frozen, rows=[row[none] for row in rows])
    total.backward()
    assert total.item() == 0
    assert features.grad is not None
    assert features.grad.shape == (0, H)
    for part in (policy.weight, policy.bias):
        assert part.grad is not None
        assert (part.grad == 0).all()
    names = {"loss", "state_value", "online_value", "entropy", "log_prob"}
    assert {name: tuple(value.shape) for name, value in values.items()} == dict.fromkeys(names, (0,))


@pytest.mark.parametrize("chunk_rows", [None, 1, 4, 100])
def test_vocabulary_values_in_chunks(problem: Problem, chunk_rows: int | None) -> None:
    policy, critics, rows, _ = problem
    row_values = partial(state_value, tau=0.2)
    values = vocabulary_values(row_values, (policy, critics[1]), rows=rows, chunk_rows=chunk_rows)
    logits, target_q = (h.features @ h.weight.t() + h.bias for h in (policy, critics[1]))
    expected = row_values(logits.detach(), target_q.detach(), *rows)
    assert values.keys() == expected.keys()
    for name, value in expected.items():
        assert_close(values[name], value, rtol=0, atol=1e-12)
        assert not values[name].requires_grad


def test_vocabulary_values_without_rows(problem: Problem) -> None:
    heads = [head._replace(features=head.features[:0]) for head in (problem[0], problem[1][1])]
    values = vocabulary_values(partial(state_value, tau=0.2), heads, rows=[row[:0] for row in problem[2]])
    assert {name: len(value) for name, value in values.items()} == dict.fromkeys(
        ("state_value", "entropy", "log_prob"), 0
    )


def test_chunks_follow_the_vocabulary(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row loss gets CHUNK_ELEMENTS logits of a head at once, of one block, of at least one row."""
    seen: list[int] = []

    def row_loss(logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        seen.append(len(logits))
        return cross_entropy(logits, tokens)

    for elements, block_rows, expected in (
        (20 * V, 512, [20, 17]),
        (16 * V + V - 1, 20, [16, 3, 16, 2]),  # blocks of 19 and 18
        (1, 512, [1] * n),
        (1 << 18, 512, [n]),
    ):
        monkeypatch.setattr(products, "CHUNK_ELEMENTS", elements)
        monkeypatch.setattr(vocabulary, "BLOCK_ROWS", block_rows)
        seen.clear()
        vocabulary_loss(row_loss, problem[0], rows=problem[2][1:])
        assert seen == expected


@pytest.mark.parametrize("columns", [1, 4, 11])
def test_columns_of_a_product_change_nothing(
    problem: Problem, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setattr(products, "COLUMNS", columns)
    policy, critics, rows, _ = problem
    total, values = vocabulary_loss(ACTOR_CRITIC, policy, frozen=critics, rows=rows)
    logits, q, target_q = (h.features @ h.weight.t() + h.bias for h in (policy, *critics))
    losses, _, expected = ACTOR_CRITIC(logits.detach(), q.detach(), target_q.detach(), *rows)
    assert_close(total, losses.sum(), rtol=0, atol=1e-12)
    assert_close(values["state_value"], expected["state_value"], rtol=0, atol=1e-12)


def test_products_in_bfloat16(problem: Problem) -> None:
    """Operands are rounded to 8 bits; what the row loss reads is not rounded after the bias is added."""
    policy, _, rows, _ = problem
    exact = torch.autograd.grad(vocabulary_loss(cross_entropy, policy, rows=rows[1:])[0], policy[:3])
    seen: list[Tensor] = []

    def row_loss(logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        seen.append(logits)
        return cross_entropy(logits, tokens)

    total, _ = vocabulary_loss(row_loss, policy._replace(product_type=torch.bfloat16), rows=rows[1:])
    assert all(logits.dtype == torch.float64 for logits in seen)
    assert (torch.cat(seen)[:, 0] < -9e3).all()
    expected = policy.features.bfloat16() @ policy.weight.bfloat16().t()
    assert_close(torch.cat(seen), expected.double() + policy.bias, rtol=0, atol=1e-12)
    for got, want in zip(torch.autograd.grad(total, policy[:3]), exact, strict=True):
        assert got.dtype == want.dtype
        error = (got - want).norm() / want.norm()
        assert 1e-5 < error < 0.02
