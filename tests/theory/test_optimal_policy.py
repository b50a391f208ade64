"""Proposition 1 and Corollary 1: the optimal soft Q, by backward induction, gives RAML's distribution."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from raysq.losses import state_value, td_targets
from raysq.types import FIRST_ACTION

every_tau = pytest.mark.parametrize("tau", [0.045, 0.5, 3.0])


@every_tau
def test_the_optimal_policy_is_raml(language: Any, tau: float) -> None:
    """prod_t softmax(Q* / tau) = exp(R(y) / tau) / Z for every y."""
    log_pi = torch.log_softmax(language.optimal_q(tau) / tau, 1)[language.states, language.rows.tokens]
    log_probs = torch.zeros(len(language.prefixes)).index_add(0, language.sequences, log_pi)
    assert_close(log_probs, torch.log_softmax(language.payoff / tau, 0), rtol=1e-10, atol=1e-10)
    assert log_probs.exp().sum().item() == pytest.approx(1, abs=1e-12)


@every_tau
def test_the_optimal_value_of_every_prefix(language: Any, tau: float) -> None:
    """V*(s) = tau log sum over y that begin with s of exp(R(y) / tau), minus R(s)."""
    values = tau * torch.logsumexp(language.optimal_q(tau) / tau, 1)
    expected = torch.stack(
        [
            tau * torch.logsumexp(language.payoff[language.within(state)] / tau, 0) - language.payoff[state]
            for state in range(len(language.prefixes))
        ]
    )
    assert_close(values, expected, rtol=1e-10, atol=1e-10)


def test_the_payoff_of_nothing_counts(language: Any) -> None:
    """Rewards telescope to R(y) - R(empty), and eos earns nothing."""
    totals = torch.zeros(len(language.prefixes)).index_add(0, language.sequences, language.row_rewards)
    assert_close(totals, language.payoff - language.payoff[0], rtol=1e-10, atol=1e-10)
    assert (language.row_rewards[language.rows.last] == 0).all()
    assert (language.payoff[0] != 0) == (not language.reference)


@every_tau
def test_it_is_the_fixed_point_of_the_td_target(language: Any, tau: float) -> None:
    """Under the policy softmax(Q* / tau), Eq. 19 gives Q* back."""
    q = language.optimal_q(tau)
    legal = q.clamp(min=-1e3)  # finite, so that pi Q is 0 and not NaN where pi is 0
    logits = (legal / tau).clamp(min=-1e4)
    logits[:, :FIRST_ACTION] = -1e4
    states, rows = language.states, language.rows
    values = state_value(logits[states], legal[states], rows.forced_eos, rows.tokens, tau=tau)["state_value"]
    optimal = (tau * torch.logsumexp(q / tau, 1))[states]
    assert_close(values, optimal, rtol=1e-10, atol=1e-10)
    targets = td_targets(language.row_rewards, values, rows.last)
    assert_close(targets, q[states, rows.tokens], rtol=1e-10, atol=1e-10)
