import math

import torch
from torch.testing import assert_close

from raysq.losses import cross_entropy, distillation
from raysq.types import FIRST_ACTION


def test_literal() -> None:
    """pi = (1/8, 1/4, 5/8) against P_Q = (1/4, 1/2, 1/4), which is softmax(Q / 2)."""
    logits = torch.tensor([[1.0, 2.0, 5.0]], dtype=torch.float64).log()
    q = 2 * torch.tensor([[1.0, 2.0, 1.0]], dtype=torch.float64).log()
    loss, gradient, values = distillation(logits, q, tau=2.0)
    expected = 0.25 * math.log(8) + 0.5 * math.log(4) + 0.25 * math.log(8 / 5)
    assert_close(loss, torch.tensor([expected], dtype=torch.float64))
    assert_close(gradient, torch.tensor([[-0.125, -0.25, 0.375]], dtype=torch.float64))
    assert values == {}


def test_gradient_is_that_of_the_formula(float64: None) -> None:
    logits, q = torch.randn(7, 9, requires_grad=True), torch.randn(7, 9)
    plain = torch.nn.functional.cross_entropy(logits, torch.softmax(q / 0.4, 1), reduction="none")
    (expected,) = torch.autograd.grad(plain.sum(), logits)
    given, given_q = logits.detach().clone(), q.clone()
    loss, gradient, _ = distillation(given, given_q, tau=0.4)
    assert_close(loss, plain.detach(), rtol=0, atol=1e-12)
    assert_close(gradient, expected, rtol=0, atol=1e-12)
    assert torch.equal(given, logits)
    assert torch.equal(given_q, q)


def test_tau_to_0_is_cross_entropy_against_the_best_word(float64: None) -> None:
    logits, q = torch.randn(7, 9), torch.randn(7, 9)
    limit = cross_entropy(logits, q.argmax(1))[:2]
    distances = []
    for tau in (1.0, 0.3, 0.1, 0.001):
        near = distillation(logits, q, tau=tau)[:2]
        distances.append(max((a - b).abs().max().item() for a, b in zip(near, limit, strict=True)))
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 0.1
    assert distances[-1] < 1e-10


def test_a_student_that_is_the_oracle_has_no_gradient(float64: None) -> None:
    q = torch.randn(7, 9)
    loss, gradient, _ = distillation(q / 0.4 + 3, q, tau=0.4)
    pi = torch.softmax(q / 0.4, 1)
    assert_close(gradient, torch.zeros(7, 9), rtol=0, atol=1e-14)
    assert_close(loss, -(pi * pi.log()).sum(1), rtol=0, atol=1e-12)


def test_forbidden_words_get_nothing_in_float32() -> None:
    """The biases that forbid pad and bos are added to both networks' outputs."""
    logits, q = torch.randn(2, 5, 9)
    logits[:, :FIRST_ACTION] -= 1e4
    q[:, :FIRST_ACTION] -= 1e4
    loss, gradient, _ = distillation(logits, q, tau=0.4)
    without, gradient_without, _ = distillation(logits[:, FIRST_ACTION:], q[:, FIRST_ACTION:], tau=0.4)
    assert (gradient[:, :FIRST_ACTION] == 0).all()
    assert_close(loss, without)
    assert_close(gradient[:, FIRST_ACTION:], gradient_without)
