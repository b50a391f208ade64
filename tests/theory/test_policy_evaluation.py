"""The TD fixed point of Eq. 19 for a fixed policy is the soft value that enumeration gives."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from raysq.losses import state_value


def enumerated_values(language: Any, logits: Tensor, tau: float) -> Tensor:
    """E[R(y) - tau log pi(y | s) | s] - R(s) for every prefix s."""
    log_probs, values = language.log_probs(logits), []
    for state in range(len(language.prefixes)):
        inside = language.within(state)
        given = log_probs[inside] - torch.logsumexp(log_probs[inside], 0)
        earned = language.payoff[inside] - tau * given
        values.append((given.exp() * earned).sum() - language.payoff[state])
    return torch.stack(values)


def values_of(language: Any, logits: Tensor, tau: float) -> Tensor:
    """V(s) [states] of the fixed point."""
    eos = torch.zeros(len(logits), dtype=torch.long)
    return state_value(logits, language.soft_q(logits, tau), language.forced, eos, tau=tau)["state_value"]


@pytest.mark.parametrize("tau", [0.0, 0.045, 0.5, 3.0])
def test_the_fixed_point_is_the_enumerated_soft_value(language: Any, tau: float) -> None:
    logits = language.random_logits()
    values = values_of(language, logits, tau)
    assert_close(values, enumerated_values(language, logits, tau), rtol=1e-10, atol=1e-10)
    log_probs = language.log_probs(logits)
    pi = log_probs.exp()
    assert pi.sum().item() == pytest.approx(1, abs=1e-12)
    whole = (pi * language.payoff).sum() - tau * (pi * log_probs).sum()
    assert_close(values[0] + language.payoff[0], whole, rtol=1e-10, atol=1e-10)


def test_a_policy_that_is_optimal_is_worth_the_optimum(language: Any) -> None:
    """E[R] + tau H <= tau log sum exp(R / tau), with equality for RAML's distribution."""
    bound = 0.5 * torch.logsumexp(language.payoff / 0.5, 0) - language.payoff[0]
    for seed in range(5):
        assert values_of(language, language.random_logits(seed), 0.5)[0] < bound - 1e-3
    logits = language.random_logits()
    for _ in range(5):  # soft policy iteration: from the end backwards one step is right after each
        logits[:] = language.soft_q(logits, 0.5) / 0.5
        logits[:, :2] = -1e4
    assert_close(values_of(language, logits, 0.5)[0], bound, rtol=1e-10, atol=1e-10)
