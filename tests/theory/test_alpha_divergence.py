"""RAML and alpha-DiMT: their weighted likelihood is the gradient of a divergence, proposals and all."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from raysq.algorithms import AlphaDimt, Networks, Raml
from raysq.proposals import BoundedHamming, NgramReplacement
from raysq.proposals.settings import ProposalSettings
from raysq.rewards import SentenceBleu
from raysq.types import EOS
from tests.theory.conftest import make_language
from tests.theory.tables import MOMENT, gradients_by_example, make_batch, samples_of
from tests.theory.test_sampled_gradients import check_draws, entropy_loss, exact_gradient, reward_loss

TAU = 0.7


def ending_policy(language: Any) -> Tensor:
    """A policy that ends after three words by itself: to a proposal eos is never forced."""
    logits = language.random_logits()
    logits[language.forced, EOS + 1 :] = -1e4
    return logits


def on_everything(language: Any, algorithm: Raml | AlphaDimt, logits: Tensor) -> Tensor:
    """Its gradient when every sequence was drawn once, from a uniform proposal."""
    everything = torch.arange(len(language.prefixes))
    samples = samples_of(language, everything.unsqueeze(0), logits)
    samples = replace(samples, log_probs=None, log_proposal=torch.zeros(len(everything)))
    return gradients_by_example(language, algorithm, samples, logits)[0]


def log_mixture(language: Any, log_p: Tensor, alpha: float) -> Tensor:
    """log p^alpha q^(1 - alpha), q ~ exp(R / tau): Koyamada et al. (2017) Eq. 14, not normalised."""
    return alpha * log_p + (1 - alpha) * torch.log_softmax(language.payoff / TAU, 0)


def divergence(language: Any, leaf: Tensor, alpha: float) -> Tensor:
    """tau D^(alpha)(p || q), Koyamada et al. (2017) Eqs. 5 and 7."""
    log_p = language.log_probs(leaf)
    return TAU * (1 - log_mixture(language, log_p, alpha).exp().sum()) / (alpha * (1 - alpha))


def raml_loss(language: Any, leaf: Tensor) -> Tensor:
    """Koyamada et al. (2017) Eq. 4."""
    return -torch.softmax(language.payoff / TAU, 0) @ language.log_probs(leaf)


def alpha_dimt(language: Any, logits: Tensor, alpha: float) -> Tensor:
    """Its gradient on everything times tau / (1 - alpha) Z, the factor that Eq. 15 drops."""
    algorithm = AlphaDimt(alpha=alpha, temperature=TAU, num_samples=len(language.prefixes))
    z = log_mixture(language, language.log_probs(logits), alpha).exp().sum()
    return TAU / (1 - alpha) * z * on_everything(language, algorithm, logits)


def test_raml(language: Any) -> None:
    logits = ending_policy(language)
    algorithm = Raml(temperature=TAU, num_samples=len(language.prefixes))
    exact = exact_gradient(logits, lambda leaf: raml_loss(language, leaf))
    assert_close(on_everything(language, algorithm, logits), exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.7])
def test_the_gradient_of_the_alpha_divergence(language: Any, alpha: float) -> None:
    """Eqs. 13 and 14."""
    logits = ending_policy(language)
    exact = exact_gradient(logits, lambda leaf: divergence(language, leaf, alpha))
    assert_close(alpha_dimt(language, logits, alpha), exact, rtol=0, atol=1e-12)
    assert exact.norm() > 1e-2


@pytest.mark.parametrize("limit", [0, 1])
def test_limits_of_alpha(language: Any, limit: int) -> None:
    """To 0 it is tau times RAML's gradient, to 1 that of E[R] + tau H (Eqs. 10 and 12), as fast as alpha."""
    logits = ending_policy(language)
    at_0 = exact_gradient(logits, lambda leaf: TAU * raml_loss(language, leaf))
    at_1 = exact_gradient(
        logits, lambda leaf: reward_loss(language, leaf) + TAU * entropy_loss(language, leaf)
    )
    near = [alpha_dimt(language, logits, abs(limit - distance)) for distance in (1e-1, 1e-3, 1e-5)]
    errors = [(found - (at_0, at_1)[limit]).norm().item() for found in near]
    assert errors[0] > 1e-3
    assert errors[2] < 1e-4
    assert errors[1] / errors[2] == pytest.approx(100, rel=0.1)


@pytest.fixture
def corrupted(float64: None) -> Any:
    """The language around 5 3 4; 4 and 5 are proposed, and 3, which is unk, may stand where it stood."""
    return make_language(3, (5, 3, 4))


def log_q0(language: Any, proposal: Any) -> Tensor:
    """log q0 [sequences]; -inf for what is never proposed."""
    sequences = [np.array(words, np.int32) for words in language.prefixes]
    reference, counts = np.array(language.reference, np.int32), np.ones(language.V, np.int64)
    density = torch.from_numpy(proposal.log_density(sequences, reference, counts))
    assert_close(density.exp().sum(), torch.tensor(1.0))
    return density


def log_target(language: Any, log_p: Tensor, alpha: float, density: Tensor, corrected: bool) -> Tensor:
    """log of what self-normalised weights tend to, over what is proposed [sequences]."""
    log_w = log_mixture(language, log_p, alpha) + (0.0 if corrected else density)
    return torch.log_softmax(log_w.masked_fill(density.isneginf(), -torch.inf), 0)


def on_support(language: Any, logits: Tensor, alpha: float, density: Tensor, corrected: bool) -> Tensor:
    """Gradient of the alpha-divergence's log, or RAML's cross entropy, over what is proposed alone."""
    target = log_target(language, language.log_probs(logits), alpha, density, corrected).exp()
    proposed = ~density.isneginf()

    def loss(leaf: Tensor) -> Tensor:
        log_p = language.log_probs(leaf)
        if alpha == 0:
            return -target @ log_p
        log_w = log_mixture(language, log_p, alpha) + (0.0 if corrected else density)
        return -torch.logsumexp(log_w[proposed], 0) / alpha

    return exact_gradient(logits, loss)


def likelihood_gradients(language: Any, logits: Tensor) -> Tensor:
    """-grad log p(y) [sequences, states * V]."""
    leaf = logits.clone().requires_grad_()
    log_p = -language.log_probs(leaf)
    every = [torch.autograd.grad(each, leaf, retain_graph=True)[0].flatten() for each in log_p]
    return torch.stack(every)


NGRAM = ProposalSettings(ngram=NgramReplacement(protect_last=False))
BOUNDED = BoundedHamming(max_share=0.7)


@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize("algorithm", ["raml", "alpha-DiMT 0", "alpha-DiMT 0.5", "alpha-DiMT 1"])
def test_by_a_proposal(corrupted: Any, algorithm: str, corrected: bool) -> None:
    """With q0 divided out, what is proposed alone counts; as released, q0 stays in the target."""
    logits = ending_policy(corrupted)
    alpha = 0.0 if algorithm == "raml" else float(algorithm.split()[1])
    raml = {"weighting": "importance" if corrected else "reward", "keep_reference": False, "proposal": NGRAM}

    def with_samples(num: int) -> Raml | AlphaDimt:
        if algorithm == "raml":
            return Raml(temperature=TAU, num_samples=num, **raml)
        return AlphaDimt(
            alpha=alpha, temperature=TAU, num_samples=num, q0_correction=corrected, proposal=BOUNDED
        )

    density = log_q0(corrupted, NGRAM.make() if algorithm == "raml" else BOUNDED)
    exact = on_support(corrupted, logits, alpha, density, corrected)
    assert (exact - on_support(corrupted, logits, alpha, density, not corrected)).norm() > 0.01
    estimates = {}
    for num in (200, 2000, 8000):
        one = with_samples(num)
        drawn = one.draw(make_batch(corrupted, 20), Networks(None), SentenceBleu(), MOMENT)  # type: ignore[arg-type]
        estimates[num] = gradients_by_example(corrupted, one, drawn, logits)
    target = log_target(corrupted, corrupted.log_probs(logits), alpha, density, corrected).exp()
    spread = (likelihood_gradients(corrupted, logits) - exact).square()
    proposed = ~density.isneginf()
    variance = (target.square() / density.exp())[proposed] @ spread[proposed]
    check_draws(estimates, variance, exact)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_self_normalised_weights_are_biased_by_1_over_n(corrupted: Any, alpha: float) -> None:
    """To first order by -E_q0[w^2 (g - E[w g])] / N, which the mean over many estimates shows."""
    logits = ending_policy(corrupted)
    density, log_p = log_q0(corrupted, BOUNDED), corrupted.log_probs(logits)
    log_w = log_target(corrupted, log_p, alpha, density, corrected=True)
    log_w = torch.where(density.isneginf(), -torch.inf, log_w - density)
    exact = on_support(corrupted, logits, alpha, density, corrected=True)
    likelihood = likelihood_gradients(corrupted, logits) - exact
    first_order = -(density + 2 * log_w).exp() @ likelihood
    direction = likelihood @ first_order / first_order.square().sum()
    generator = torch.Generator().manual_seed(1)
    for num in (50, 200):
        units = torch.multinomial(
            density.exp().expand(10_000, -1), num, replacement=True, generator=generator
        )
        drawn = replace(corrupted.samples, num_per_example=num, log_proposal=density[units].flatten())
        algorithm = AlphaDimt(alpha=alpha, temperature=TAU, num_samples=num)
        payoffs = corrupted.payoff[units].flatten()
        weights = algorithm.weights(drawn, log_p[units].flatten(), payoffs, alpha).view(units.shape)
        noise = log_w.exp()[units] / num  # of mean 0 times g - E[w g]: without it the bias stands out
        bias = num * ((weights - noise) * direction[units]).sum(1)
        assert bias.mean().item() == pytest.approx(1, abs=0.05 + 10 / num)
