"""The compiled row losses against their plain forms, which float64 still takes."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from raysq import kernels
from raysq.decoding import inverse_cdf
from raysq.losses import actor_critic, cross_entropy, distillation, state_value
from raysq.losses.soft_q import soft_value_residual
from raysq.types import FIRST_ACTION

n = 7
Rows = dict[str, Tensor]


def rows_of(V: int, scale: float, dtype: torch.dtype) -> Rows:
    generator = torch.Generator().manual_seed(V)
    logits, q, target_q = (
        scale * torch.randn(n, V, generator=generator, dtype=torch.float64).to(torch.float32)
        for _ in range(3)
    )
    logits[:, :FIRST_ACTION] -= 1e4
    return {
        "logits": logits.to(dtype),
        "q": q.to(dtype),
        "target_q": target_q.to(dtype),
        "forced": torch.arange(n) == 3,
        "tokens": torch.randint(FIRST_ACTION, V, (n,), generator=generator),
        "incoming": torch.randn(n, generator=generator).to(dtype),
    }


def of_actor_critic(r: Rows, **settings: Any) -> Any:
    given = (r["logits"].clone(), r["q"].clone(), r["target_q"].clone(), r["forced"], r["tokens"])
    return actor_critic(*given, tau=0.3, target_tau=0.2, **settings)


def of_state_value(r: Rows) -> Any:
    values = state_value(r["logits"], r["target_q"], r["forced"], r["tokens"], tau=0.3)
    return values["state_value"], r["logits"].new_zeros(n, 1), values


LOSSES: dict[str, Callable[[Rows], Any]] = {
    "cross_entropy": lambda r: cross_entropy(r["logits"], r["tokens"]),
    "actor_critic": of_actor_critic,
    "actor_critic normalised": partial(of_actor_critic, entropy_gradient="normalised"),
    "actor_critic unrestricted": partial(of_actor_critic, restrict_forced_eos=False),
    "state_value": of_state_value,
    "distillation": lambda r: distillation(r["logits"], r["q"], tau=0.4),
    "soft_value": lambda r: soft_value_residual(r["q"], r["incoming"], r["forced"], ~r["forced"], tau=0.4),
}


@pytest.mark.parametrize("scale", [0.0, 1.0, 20.0])
@pytest.mark.parametrize("V", [4, 8, 129, 1000])
@pytest.mark.parametrize("name", LOSSES)
def test_compiled_rows_are_the_plain_ones(name: str, V: int, scale: float) -> None:
    assert kernels.compiled(torch.zeros(1))
    assert not kernels.compiled(torch.zeros(1), torch.zeros(1, dtype=torch.float64))
    loss, gradient, values = LOSSES[name](rows_of(V, scale, torch.float32))
    expected_loss, expected_gradient, expected = LOSSES[name](rows_of(V, scale, torch.float64))
    size = max(1.0, scale)
    assert loss.dtype == torch.float32
    assert_close(loss.double(), expected_loss, rtol=1e-5, atol=2e-5 * size)
    assert_close(gradient.double(), expected_gradient, rtol=1e-4, atol=2e-6 * size)
    assert values.keys() == expected.keys()
    for key, value in values.items():
        assert_close(value.double(), expected[key], rtol=1e-5, atol=2e-5 * size, msg=key)


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_no_number_shows(name: str) -> None:
    """In its row, and in no other."""
    for strange in (torch.nan, torch.inf):
        rows = rows_of(129, 1.0, torch.float32)
        rows["logits"][2, 77] = rows["q"][2, 77] = strange
        loss, _, values = LOSSES[name](rows)
        found = torch.stack([loss, *values.values()])
        assert not found[:, 2].isfinite().all()
        assert found[:, [0, 1, 3, 4, 5, 6]].isfinite().all()


def test_impossible_words_have_no_mass() -> None:
    """A logit of minus infinity is no strange number."""
    rows = rows_of(300, 1.0, torch.float32)
    rows["logits"][:, 100:200] = -torch.inf
    tokens = torch.full((n,), 250)
    loss, gradient, _ = cross_entropy(rows["logits"], tokens)
    assert loss.isfinite().all()
    assert (gradient[:, 100:200] == 0).all()
    words, _ = inverse_cdf(rows["logits"].repeat(500, 1), torch.rand(500 * n))
    assert ((words < 100) | (words >= 200)).all()


def test_a_draw_from_what_is_no_number_is_a_word() -> None:
    """The update that follows says that the network diverged."""
    words, log_probs = inverse_cdf(torch.full((2, 300), torch.nan), torch.rand(2))
    assert ((words >= 0) & (words < 300)).all()
    assert log_probs.isnan().all()
