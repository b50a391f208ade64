"""VAML's student with the exact Q*: Eq. 17 has RAML's gradient, and its target tends to MLE's."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from raysq.algorithms import Networks, Vaml
from raysq.algorithms.moment import Moment
from raysq.losses import cross_entropy, distillation
from raysq.types import FIRST_ACTION
from tests.theory.tables import Table, earned, make_batch

FORBIDDEN = -1e4


def gradient_of(language: Any, logits: Tensor, q: Tensor, algorithm: Vaml, update: int = 0) -> Tensor:
    """Of the loss of every sequence, weighted by softmax(R / temperature), by logits [states, V]."""
    logits = logits.detach().requires_grad_()
    networks: Any = Networks(Table(language, logits), Table(language, q))  # type: ignore[arg-type]
    objectives, _ = algorithm.objectives(
        make_batch(language, 1),
        language.samples,
        earned(language, language.samples),
        networks,
        Moment(seed=1, stage="test", update=update),
    )
    (gradient,) = torch.autograd.grad(torch.stack([o.total for o in objectives]).sum(), logits)
    return gradient


def finite(q: Tensor) -> Tensor:
    """Q* [states, V] with a number so low that its share is 0 where a word is not legal."""
    return q.masked_fill(torch.isneginf(q), FORBIDDEN)


@pytest.mark.parametrize("tau", [0.2, 0.5, 3.0])
@pytest.mark.parametrize("vaml_coeff", [0.0, 1.0])
def test_the_gradient_is_that_of_the_divergence_from_raml(
    language: Any, tau: float, vaml_coeff: float
) -> None:
    """Eq. 17 over y ~ P_RAML, with P_Q = softmax(Q* / tau), is KL(P_RAML || p) up to a constant: exactly."""
    logits = language.random_logits().requires_grad_()
    raml = torch.log_softmax(language.payoff / tau, 0)
    divergence = (raml.exp() * (raml - language.log_probs(logits))).sum()
    (expected,) = torch.autograd.grad(divergence, logits)
    algorithm = Vaml(tau=tau, temperature=tau, vaml_coeff=vaml_coeff)
    gradient = gradient_of(language, logits, finite(language.optimal_q(tau)), algorithm)
    assert_close(gradient, expected, rtol=0, atol=1e-12)
    assert expected.abs().max() > 0.01


def test_any_share_of_it_has_that_gradient_on_average(language_with_reference: Any) -> None:
    """With each token's target drawn at random: the mean of 300 updates is as near as their spread allows."""
    language, tau = language_with_reference, 0.5
    logits, q = language.random_logits(), finite(language.optimal_q(tau))
    exact = gradient_of(language, logits, q, Vaml(tau=tau, temperature=tau, vaml_coeff=1.0))
    algorithm = Vaml(tau=tau, temperature=tau, vaml_coeff=0.4)
    drawn = torch.stack([gradient_of(language, logits, q, algorithm, update) for update in range(300)])
    error, spread = (drawn.mean(0) - exact).norm(), drawn.std(0).norm()
    assert error < 2 * spread / 300**0.5
    assert spread > 0.1 * exact.norm()


def test_another_q_has_another_gradient(language: Any) -> None:
    tau = 0.5
    algorithm = Vaml(tau=tau, temperature=tau, vaml_coeff=1.0)
    logits, q = language.random_logits(), finite(language.optimal_q(tau))
    moved = q.clone()
    moved[0, FIRST_ACTION] += 1.0
    gradient, other = (gradient_of(language, logits, table, algorithm) for table in (q, moved))
    assert (gradient - other)[0].abs().max() > 1e-3
    assert_close(gradient[1:], other[1:], rtol=0, atol=1e-12)


def test_tau_to_0_gives_the_references_next_word(language_with_reference: Any) -> None:
    """On the prefixes of y* the target tends to MLE's delta, and the loss to the likelihood."""
    language = language_with_reference
    (m,) = [i for i, words in enumerate(language.prefixes) if words == language.reference]
    of_reference = (language.sequences == m) & ~language.rows.forced_eos
    states, tokens = language.states[of_reference], language.rows.tokens[of_reference]
    logits = language.random_logits()[states]
    likelihood, gradient = cross_entropy(logits, tokens)[:2]
    distances = []
    for tau in (1.0, 0.3, 0.1, 0.01):
        q = finite(language.optimal_q(tau))[states]
        loss, slope, _ = distillation(logits, q, tau=tau)
        distances.append(max((loss - likelihood).abs().max().item(), (slope - gradient).abs().max().item()))
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 0.1
    assert distances[-1] < 1e-6
