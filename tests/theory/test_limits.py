"""tau -> 0: entropy-regularised actor-critic becomes actor-critic, and VAML's target the likelihood's."""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.testing import assert_close

from raysq.losses import actor_critic, cross_entropy
from raysq.types import EOS, FIRST_ACTION


def erac(language: Any, tau: float) -> tuple[Tensor, Tensor]:
    """The policy's gradient by row under the exact soft Q, and that Q."""
    logits = language.random_logits()
    q = language.soft_q(logits, tau)
    rows = [language.rows.forced_eos, language.rows.tokens]
    of_rows = partial(actor_critic, tau=tau, target_tau=tau)
    _, gradient, _ = of_rows(logits[language.states], q[language.states], q[language.states], *rows)
    return gradient, q


def test_erac_tends_to_actor_critic(language: Any) -> None:
    """In proportion to tau, and to nothing else."""
    limit = erac(language, 0.0)
    for tau in (1e-2, 1e-5, 1e-8):
        near = erac(language, tau)
        tenth = erac(language, tau / 10)
        for at_tau, at_tenth, at_zero in zip(near, tenth, limit, strict=True):
            assert_close((at_tau - at_zero) / tau, (at_tenth - at_zero) / (tau / 10), rtol=1e-5, atol=1e-6)
    for at_tau, at_zero in zip(erac(language, 1e-11), limit, strict=True):
        assert_close(at_tau, at_zero, rtol=0, atol=1e-10)


def test_actor_critic_is_the_plain_policy_gradient(language: Any) -> None:
    """At tau = 0: Q is the expected return to come, the gradient -pi (Q - V)."""
    gradient, q = erac(language, 0.0)
    pi = torch.softmax(language.random_logits(), 1)
    plain = -pi * (q - (pi * q).sum(1, keepdim=True))
    expected = plain[language.states].masked_fill(language.rows.forced_eos.unsqueeze(1), 0.0)
    assert_close(gradient, expected, rtol=0, atol=1e-12)


def test_vamls_target_on_the_reference_tends_to_the_likelihoods(language_with_reference: Any) -> None:
    """y* alone maximises R, so on its prefixes P_Q tends to the delta on its next word."""
    language = language_with_reference
    best = language.payoff.argmax()
    assert language.prefixes[best] == language.reference
    assert (language.payoff == language.payoff[best]).sum() == 1
    on_reference = language.sequences == best
    states, tokens = language.states[on_reference], language.rows.tokens[on_reference]
    assert tokens.tolist() == [*language.reference, EOS]
    logits = language.random_logits()[states]
    _, likelihood, _ = cross_entropy(logits.clone(), tokens)
    distances = []
    for tau in (1.0, 0.1, 0.03, 0.01):
        target = torch.softmax(language.optimal_q(tau) / tau, 1)[states]
        assert (target[:, :FIRST_ACTION] == 0).all()
        student = torch.softmax(logits, 1) - target
        distances.append((student - likelihood).abs().max().item())
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 0.1
    assert distances[-1] < 1e-10
