import math

import torch
from torch import Tensor
from torch.testing import assert_close

from raysq.losses import Head, cross_entropy, negative_log_likelihoods
from raysq.types import FIRST_ACTION


def test_literal() -> None:
    logits = torch.tensor([[1.0, 2.0, 5.0], [3.0, 3.0, 2.0]], dtype=torch.float64).log()  # pi in eighths
    loss, gradient, values = cross_entropy(logits, torch.tensor([1, 2]))
    assert_close(loss, torch.tensor([math.log(4), math.log(4)], dtype=torch.float64))
    expected = [[0.125, -0.75, 0.625], [0.375, 0.375, -0.75]]
    assert_close(gradient, torch.tensor(expected, dtype=torch.float64))
    assert values == {}


def test_gradient_is_that_of_the_formula(float64: None) -> None:
    logits, targets = torch.randn(7, 9, requires_grad=True), torch.tensor([2, 3, 4, 5, 6, 7, 8])
    plain = torch.stack([-(row[y] - row.exp().sum().log()) for row, y in zip(logits, targets, strict=True)])
    (expected,) = torch.autograd.grad(plain.sum(), logits)
    loss, gradient, _ = cross_entropy(logits.detach().clone(), targets)
    assert_close(loss, plain.detach(), rtol=0, atol=1e-12)
    assert_close(gradient, expected, rtol=0, atol=1e-12)


def test_forbidden_words_get_nothing_and_change_nothing(float64: None) -> None:
    actions = torch.randn(6, 5)
    targets = torch.tensor([2, 3, 4, 5, 6, 2])
    loss, gradient, _ = cross_entropy(_with_forbidden(actions), targets)
    without, gradient_without, _ = cross_entropy(actions.clone(), targets - FIRST_ACTION)
    assert (gradient[:, :FIRST_ACTION] == 0).all()
    assert_close(loss, without, rtol=0, atol=1e-12)
    assert_close(gradient[:, FIRST_ACTION:], gradient_without, rtol=0, atol=1e-12)


def test_float32_is_finite_for_extreme_logits() -> None:
    loss, gradient, _ = cross_entropy(torch.tensor([[-1e4, 300.0, -300.0]]), torch.tensor([2]))
    assert_close(loss, torch.tensor([600.0]))
    assert_close(gradient, torch.tensor([[0.0, 1.0, -1.0]]))


def _with_forbidden(actions: Tensor) -> Tensor:
    """Logits with pad and bos in front, as the policy's bias leaves them."""
    return torch.cat((torch.full_like(actions[:, :FIRST_ACTION], -1e4), actions), dim=1)


def test_the_likelihoods_alone(float64: None) -> None:
    """-log softmax of each target, over several chunks, and no graph."""
    features, weight = torch.randn(700, 3, requires_grad=True), torch.randn(9, 3)
    targets = torch.randint(9, (700,))
    found = negative_log_likelihoods(Head(features, weight, torch.arange(9.0)), targets)
    log_pi = torch.log_softmax(features @ weight.t() + torch.arange(9.0), 1)
    torch.testing.assert_close(found, -log_pi.detach()[torch.arange(700), targets], rtol=0, atol=1e-12)
    assert not found.requires_grad
