import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from raysq.losses import Head, cross_entropy, policy_gradient, vocabulary_loss
from raysq.types import EOS, FIRST_ACTION

LN2 = math.log(2)
OPTIONS = [
    {"entropy_coefficient": entropy, "ratio_clip": clip, "restrict_forced_eos": restrict}
    for entropy in (0.0, 0.3)
    for clip in (None, 0.2)
    for restrict in (True, False)
]
every_option = pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def literal_rows(n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """n equal rows with pi = (0, 0, 1/2, 1/4, 1/4), token 3, A = 2; eos is forced in the last."""
    logits = numbers(-1e4, -1e4, 2 * LN2, LN2, LN2).repeat(n, 1)
    forced = torch.arange(n) == n - 1
    return logits, torch.full((n,), 3), torch.full((n,), 2.0, dtype=torch.float64), forced


def test_literal() -> None:
    loss, gradient, values = policy_gradient(*literal_rows(2))
    assert_close(loss, numbers(4 * LN2, 0))
    assert_close(gradient, torch.stack((numbers(0, 0, 1, -1.5, 0.5), torch.zeros(5, dtype=torch.float64))))
    assert values.keys() == {"log_prob", "entropy"}
    assert_close(values["log_prob"], numbers(-2 * LN2, 0))
    assert_close(values["entropy"], numbers(1.5 * LN2, 0))


def test_literal_with_entropy() -> None:
    """d(-H) / d logit_w = pi_w (log pi_w + H) = ln 2 (1/4, -1/8, -1/8)."""
    loss, gradient, _ = policy_gradient(*literal_rows(2), entropy_coefficient=1.0)
    assert_close(loss, numbers(4 * LN2 - 1.5 * LN2, 0))
    assert_close(gradient[0], numbers(0, 0, 1 + LN2 / 4, -1.5 - LN2 / 8, 0.5 - LN2 / 8))
    assert (gradient[1] == 0).all()


def test_literal_clipped() -> None:
    """pi(y) = 1/4 under pi_old(y) = 1/4, 1/8, 1/2: rho = 1, 2, 1/2; A = 2, then -2; eps = 0.2."""
    logits, tokens, advantages, forced = literal_rows(7)
    advantages[3:6] = -2.0
    old = numbers(1 / 4, 1 / 8, 1 / 2, 1 / 4, 1 / 8, 1 / 2, 1).log()
    loss, gradient, values = policy_gradient(logits, tokens, advantages, forced, old, ratio_clip=0.2)
    assert_close(values["ratio"], numbers(1, 2, 0.5, 1, 2, 0.5, 1))
    assert values["clipped"].tolist() == [0, 1, 0, 0, 0, 1, 0]
    assert_close(loss, numbers(-2, -2.4, -1, 2, 4, 1.6, 0))
    factors = numbers(2, 0, 1, -2, -4, 0, 0)
    assert_close(gradient, factors.unsqueeze(1) * numbers(0, 0, 0.5, -0.75, 0.25))


def test_literal_forced_eos_unrestricted() -> None:
    loss, gradient, values = policy_gradient(*literal_rows(2), restrict_forced_eos=False)
    assert_close(loss, numbers(4 * LN2, 4 * LN2))
    assert_close(gradient[1], gradient[0])
    assert_close(values["log_prob"], numbers(-2 * LN2, -2 * LN2))
    assert_close(values["entropy"], numbers(1.5 * LN2, 1.5 * LN2))


def random_rows(n: int = 60, V: int = 9) -> tuple[Tensor, ...]:
    """Rows of which about half have a ratio outside of 0.8 .. 1.2."""
    generator = torch.Generator().manual_seed(n)
    logits = 2 * torch.randn(n, V, generator=generator, dtype=torch.float64)
    logits[:, :FIRST_ACTION] = -1e4
    tokens = torch.randint(FIRST_ACTION, V, (n,), generator=generator)
    advantages, shift = torch.randn(2, n, generator=generator, dtype=torch.float64)
    forced = torch.arange(n) % 3 == 2
    log_prob = torch.log_softmax(logits, 1).gather(1, tokens.unsqueeze(1)).squeeze(1)
    return logits, tokens, advantages, forced, log_prob + 0.3 * shift


def plain(
    logits: Tensor,
    tokens: Tensor,
    advantages: Tensor,
    forced_eos: Tensor,
    old_log_probs: Tensor,
    *,
    entropy_coefficient: float,
    ratio_clip: float | None,
    restrict_forced_eos: bool,
) -> Tensor:
    """The formulas over the actions alone, row after row, differentiable."""
    losses = []
    for row in range(len(logits)):
        log_pi = torch.log_softmax(logits[row, FIRST_ACTION:], 0)
        log_prob = log_pi[tokens[row] - FIRST_ACTION]
        gain = log_prob * advantages[row]
        if ratio_clip is not None:
            ratio = (log_prob - old_log_probs[row]).exp()
            held = min(max(ratio, 1 - ratio_clip), 1 + ratio_clip)
            gain = torch.minimum(ratio * advantages[row], held * advantages[row])
        loss = -gain + entropy_coefficient * (log_pi.exp() * log_pi).sum()
        losses.append(loss * 0 if restrict_forced_eos and forced_eos[row] else loss)
    return torch.stack(losses)


@every_option
def test_gradient_is_that_of_the_formula(options: dict[str, Any]) -> None:
    logits, *others = random_rows()
    logits.requires_grad_()
    expected = plain(logits, *others, **options)
    (expected_gradient,) = torch.autograd.grad(expected.sum(), logits)
    loss, gradient, values = policy_gradient(logits.detach().clone(), *others, **options)
    assert_close(loss, expected.detach(), rtol=0, atol=1e-12)
    assert_close(gradient, expected_gradient, rtol=0, atol=1e-12)
    if options["ratio_clip"]:
        assert 5 < values["clipped"].sum() < 40


@every_option
def test_what_is_handed_in_is_left_alone(options: dict[str, Any]) -> None:
    rows = random_rows()
    before = [row.clone() for row in rows]
    policy_gradient(*rows, **options)
    assert all(torch.equal(row, was) for row, was in zip(rows, before, strict=True))


@every_option
def test_a_row_sums_to_zero_and_forbidden_words_get_nothing(options: dict[str, Any]) -> None:
    _, gradient, _ = policy_gradient(*random_rows(), **options)
    assert_close(gradient.sum(1), torch.zeros(60, dtype=torch.float64), rtol=0, atol=1e-13)
    assert (gradient[:, :FIRST_ACTION] == 0).all()


@pytest.mark.parametrize("entropy_coefficient", [0.0, 0.3])
def test_clipping_at_ratio_1_is_reinforce(entropy_coefficient: float) -> None:
    logits, tokens, advantages, forced, _ = random_rows()
    _, gradient, values = policy_gradient(
        logits, tokens, advantages, forced, entropy_coefficient=entropy_coefficient
    )
    _, clipped, ratios = policy_gradient(
        logits,
        tokens,
        advantages,
        forced,
        values["log_prob"],
        entropy_coefficient=entropy_coefficient,
        ratio_clip=0.2,
    )
    assert_close(clipped, gradient, rtol=0, atol=1e-13)
    assert (ratios["ratio"] == 1).all()
    assert (ratios["clipped"] == 0).all()


def test_advantage_1_is_maximum_likelihood() -> None:
    """But for the rows in which eos was forced."""
    logits, tokens, advantages, forced, _ = random_rows()
    loss, gradient, _ = policy_gradient(logits, tokens, torch.ones_like(advantages), forced)
    expected, expected_gradient, _ = cross_entropy(logits, tokens)
    assert_close(loss, expected.masked_fill(forced, 0.0))
    assert_close(gradient, expected_gradient.masked_fill(forced.unsqueeze(1), 0.0))


def test_in_chunks_by_the_executor(float64: None) -> None:
    head = Head(*(torch.randn(shape, requires_grad=True) for shape in ((60, 4), (9, 4), (9,))))
    rows = random_rows()[1:]
    row_loss = partial(policy_gradient, entropy_coefficient=0.3, ratio_clip=0.2)
    total, values = vocabulary_loss(row_loss, head, rows=rows, chunk_rows=7)
    logits = head.features @ head.weight.t() + head.bias
    loss, gradient, expected = row_loss(logits.detach(), *rows)
    assert values.keys() == {"loss", *expected}
    assert_close(total, loss.sum())
    wanted = torch.autograd.grad(logits, head[:3], gradient)
    for got, want in zip(torch.autograd.grad(total, head[:3]), wanted, strict=True):
        assert_close(got, want, rtol=0, atol=1e-12)


def test_float32_stays_finite_for_a_certain_policy() -> None:
    """pi underflows to 0 for all words but one: 0 log 0 must be 0."""
    logits = torch.tensor([[-1e4, -1e4, 200.0, -200.0, 0.0]])
    rows = torch.tensor([EOS]), torch.tensor([2.0]), torch.tensor([False])
    loss, gradient, values = policy_gradient(logits, *rows, entropy_coefficient=0.5)
    assert loss.item() == 0
    assert (gradient == 0).all()
    assert values["entropy"].item() == 0
