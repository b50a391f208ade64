"""Eq. 20 with the exact soft Q is the gradient of E[R] + tau H(pi(Y)), and only with the future entropy."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from raysq.losses import Head, actor_critic, vocabulary_loss


def exact_gradient(language: Any, logits: Tensor, tau: float) -> Tensor:
    """d (E[R] + tau H) / d logits by autograd through the enumeration."""
    leaf = logits.clone().requires_grad_()
    log_probs = language.log_probs(leaf)
    (gradient,) = torch.autograd.grad((log_probs.exp() * (language.payoff - tau * log_probs)).sum(), leaf)
    return gradient


def expected_update(language: Any, logits: Tensor, tau: float, target_tau: float, **options: Any) -> Tensor:
    """What the algorithm descends, over all sequences instead of samples, each weighed by its probability.

    The tables are output layers over states in one-hot form, so that the executor runs as in training.
    """
    one_hot = torch.eye(len(logits))[language.states]
    table = logits.t().clone().requires_grad_()
    q = language.soft_q(logits, target_tau)
    no_bias = torch.zeros(language.V)
    total, _ = vocabulary_loss(
        partial(actor_critic, tau=tau, target_tau=target_tau, **options),
        Head(one_hot, table, no_bias),
        frozen=[Head(one_hot, q.t(), no_bias)] * 2,
        rows=(language.rows.forced_eos, language.rows.tokens),
        weights=language.log_probs(logits).exp()[language.sequences],
        chunk_rows=7,
    )
    (gradient,) = torch.autograd.grad(total, table)
    return -gradient.t()


@pytest.mark.parametrize("tau", [0.0, 0.045, 0.5, 3.0])
def test_eq_20_is_the_exact_gradient(language: Any, tau: float) -> None:
    logits = language.random_logits()
    exact = exact_gradient(language, logits, tau)
    assert_close(expected_update(language, logits, tau, tau), exact, rtol=0, atol=1e-10)
    assert exact.abs().max() > 1e-2


def test_without_future_entropy_it_is_not(language: Any) -> None:
    """The ablation of Table 4 ascends something else."""
    logits = language.random_logits()
    exact = exact_gradient(language, logits, 0.5)
    ablated = expected_update(language, logits, 0.5, 0.0)
    assert (ablated - exact).abs().max() > 0.05 * exact.abs().max()


def test_normalised_or_unrestricted_it_is_not(language: Any) -> None:
    """The released code's forms are departures from the exact gradient."""
    logits = language.random_logits()
    exact = exact_gradient(language, logits, 0.5)
    for option in ({"entropy_gradient": "normalised"}, {"restrict_forced_eos": False}):
        other = expected_update(language, logits, 0.5, 0.5, **option)
        assert (other - exact).abs().max() > 0.005 * exact.abs().max(), option


def test_ascent_reaches_the_optimum(language: Any) -> None:
    """Following it leads to the maximum tau log sum exp(R / tau) of Proposition 1."""
    logits = language.random_logits()
    for _ in range(200):
        logits = logits + 4 * expected_update(language, logits, 1.0, 1.0)
    log_probs = language.log_probs(logits)
    reached = (log_probs.exp() * (language.payoff - log_probs)).sum()
    assert reached.item() == pytest.approx(torch.logsumexp(language.payoff, 0).item(), abs=1e-3)
