"""The table of raysq.losses.erpo: each algorithm is ERPO's q for its (R, alpha, beta), and its M-step."""

import math
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from raysq.losses import distillation, erpo_log_target
from raysq.types import EOS, FIRST_ACTION, UNK


def m_step(language: Any, logits: Tensor, log_q: Tensor) -> Tensor:
    """grad E_q[log p_theta] by logits [states, V]."""
    leaf = logits.clone().requires_grad_()
    return torch.autograd.grad((log_q.exp() * language.log_probs(leaf)).sum(), leaf)[0]


def gradient_of(language: Any, logits: Tensor, objective: Any) -> Tensor:
    """grad of a function of log p [sequences], by logits [states, V]."""
    leaf = logits.clone().requires_grad_()
    return torch.autograd.grad(objective(language.log_probs(leaf)), leaf)[0]


def excluded_but(language: Any, payoffs: dict[int, float]) -> Tensor:
    """R [sequences]: -inf but for a few."""
    payoff = torch.full((len(language.prefixes),), -math.inf)
    for sequence, value in payoffs.items():
        payoff[sequence] = value
    return payoff


def close(got: Tensor, want: Tensor) -> None:
    assert_close(got, want, rtol=0, atol=1e-12)


def test_mle(language: Any) -> None:
    """The delta reward; its value at y* does not matter (Eq. 6, footnote 2)."""
    logits, reference = language.random_logits(), len(language.prefixes) - 3
    log_p = language.log_probs(logits)
    for at_reference in (1.0, -7.0):
        payoff = excluded_but(language, {reference: at_reference})
        log_q = erpo_log_target(log_p, payoff, alpha=0.0, beta=1.0)
        assert log_q.exp().tolist() == [float(m == reference) for m in range(len(log_p))]
        likelihood = gradient_of(language, logits, lambda log_probs: log_probs[reference])
        close(m_step(language, logits, log_q), likelihood)


def test_mle_by_token(language: Any) -> None:
    """Delta R = 1 / T* on the reference's path, else -inf: every factor of Eq. 4 is a point mass."""
    reference = language.prefixes[-3]
    T = len(reference) + 1
    for state, words in enumerate(language.prefixes):
        if words != reference[: len(words)]:
            continue
        following = (*reference, EOS)[len(words)]
        reward = torch.full((language.V,), -math.inf)
        reward[following] = 1 / T
        log_pi = torch.log_softmax(language.random_logits()[state], 0)
        target = erpo_log_target(log_pi, reward, alpha=0.0, beta=1.0).exp()
        assert target.tolist() == [float(word == following) for word in range(language.V)]


@pytest.mark.parametrize("tau", [0.4, 1.0])
def test_raml(language: Any, tau: float) -> None:
    """q is Proposition 1's distribution, which the optimal soft Q gives token by token."""
    logits = language.random_logits()
    log_q = erpo_log_target(language.log_probs(logits), language.payoff, alpha=0.0, beta=tau)
    by_token = torch.log_softmax(language.optimal_q(tau) / tau, 1)[language.states, language.rows.tokens]
    whole = torch.zeros(len(language.prefixes)).index_add(0, language.sequences, by_token)
    assert_close(log_q, whole, rtol=1e-10, atol=1e-10)
    weights = torch.softmax(language.payoff / tau, 0)
    close(m_step(language, logits, log_q), gradient_of(language, logits, lambda lp: (weights * lp).sum()))


def test_spg(language: Any) -> None:
    """The M-step's gradient at q ~ p exp(R) is that of log E_p[exp R] (Eq. 8)."""
    logits = language.random_logits()
    log_q = erpo_log_target(language.log_probs(logits), language.payoff, alpha=1.0, beta=0.0)
    exact = gradient_of(language, logits, lambda log_p: torch.logsumexp(log_p + language.payoff, 0))
    close(m_step(language, logits, log_q), exact)
    assert exact.abs().max() > 1e-2


def test_policy_gradient(language: Any) -> None:
    """R = log R_PG, and Z = E_p[R_PG] multiplied back (Eqs. 10 to 12)."""
    logits, metric = language.random_logits(), language.payoff.exp()
    log_p = language.log_probs(logits)
    log_q = erpo_log_target(log_p, metric.log(), alpha=1.0, beta=0.0)
    z = (log_p.exp() * metric).sum()
    exact = gradient_of(language, logits, lambda log_probs: (log_probs.exp() * metric).sum())
    close(z * m_step(language, logits, log_q), exact)


def same_length(language: Any) -> list[int]:
    """Sequences as long as the reference."""
    return [m for m, words in enumerate(language.prefixes) if len(words) == len(language.reference)]


def changes(language: Any, sequence: int) -> list[int]:
    """The words of a sequence that are not the reference's."""
    pairs = zip(language.prefixes[sequence], language.reference, strict=True)
    return [word for word, original in pairs if word != original]


def noise(language: Any, word_probability: Any) -> Tensor:
    """Probability [sequences] under noise that treats each word by itself."""
    probability = torch.zeros(len(language.prefixes))
    for m in same_length(language):
        pairs = zip(language.prefixes[m], language.reference, strict=True)
        probability[m] = math.prod(word_probability(word, original) for word, original in pairs)
    return probability


def noise_target(language: Any, payoffs: dict[int, float], beta: float = 1.0) -> Tensor:
    log_p = language.log_probs(language.random_logits())
    return erpo_log_target(log_p, excluded_but(language, payoffs), alpha=0.0, beta=beta).exp()


def test_unigram_noising(language_with_reference: Any) -> None:
    """Eq. 9 is noise that never draws the word it replaces, each word by itself."""
    language, gamma = language_with_reference, 0.3
    unigram = {UNK + i: share for i, share in enumerate((0.5, 0.3, 0.2)) if UNK + i < language.V}
    payoffs = {}
    for m in same_length(language):
        changed = changes(language, m)
        kept = len(language.reference) - len(changed)
        payoffs[m] = math.log(
            gamma ** len(changed) * (1 - gamma) ** kept * math.prod(unigram[word] for word in changed)
        )

    def word_probability(word: int, original: int) -> float:
        everything = sum(unigram.values()) - unigram[original]
        kept = (1 - gamma) / (1 - gamma + gamma * everything)
        return kept if word == original else (1 - kept) * unigram[word] / everything

    expected = noise(language, word_probability)
    assert expected.sum().item() == pytest.approx(1)
    close(noise_target(language, payoffs), expected)


def test_uniform_noising_is_hamming_raml(language_with_reference: Any) -> None:
    """Each word changes with rho = r / (1 + r), r = (K - 1) exp(-1 / tau), into any of the K - 1 others."""
    language, tau = language_with_reference, 0.7
    K = language.V - UNK
    r = (K - 1) * math.exp(-1 / tau)
    rho = r / (1 + r)
    expected = noise(language, lambda word, original: 1 - rho if word == original else rho / (K - 1))
    payoffs = {m: -float(len(changes(language, m))) for m in same_length(language)}
    close(noise_target(language, payoffs, beta=tau), expected)


def test_one_word_noise(language_with_reference: Any) -> None:
    """A position and one of the other words, both uniform (section 3.5)."""
    language = language_with_reference
    one = [m for m in same_length(language) if len(changes(language, m)) == 1]
    target = noise_target(language, dict.fromkeys(one, 1.0))
    assert len(one) == len(language.reference) * (language.V - UNK - 1)
    close(target[one], torch.full((len(one),), 1 / len(one)))
    close(target.sum(), torch.tensor(1.0))


def test_label_smoothing(float64: None) -> None:
    """R = the log of the smoothed distribution; and a reward of 1 for the right word smooths uniformly."""
    K, epsilon = 6, 0.2
    logits, labels = torch.randn(4, K, requires_grad=True), torch.tensor([0, 5, 2, 2])
    smooth = torch.nn.functional.one_hot(labels, K) * (1 - epsilon) + epsilon / K
    torch_loss = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=epsilon, reduction="none")
    (expected,) = torch.autograd.grad(torch_loss.sum(), logits)
    tau = 1 / math.log(K / epsilon - K + 1)  # the temperature at which K / (exp(1 / tau) + K - 1) = epsilon
    right = torch.nn.functional.one_hot(labels, K).double()
    for payoff, beta in ((smooth.log(), 1.0), (right, tau)):
        log_q = erpo_log_target(torch.log_softmax(logits.detach(), 1), payoff, alpha=0.0, beta=beta)
        close(log_q.exp(), smooth)
        loss, gradient, _ = distillation(logits.detach(), log_q, tau=1.0)
        close(loss, torch_loss.detach())
        close(gradient, expected)


def by_token(language: Any, log_pi: Tensor, alpha: float, beta: float) -> Tensor:
    """log of the product of Eq. 4's factors [sequences], each normalised by itself."""
    reward = torch.full((len(language.prefixes), language.V), -math.inf)
    reward[language.states, language.rows.tokens] = language.row_rewards
    log_q = erpo_log_target(log_pi, reward, alpha=alpha, beta=beta)[language.states, language.rows.tokens]
    return torch.zeros(len(language.prefixes)).index_add(0, language.sequences, log_q)


def test_token_by_token_is_an_approximation(language: Any) -> None:
    """The factors of Eq. 4 ignore what the next words can still earn: another distribution, same support."""
    logits = language.random_logits()
    log_pi = torch.log_softmax(logits, 1)
    log_p = language.log_probs(logits)
    for alpha, beta in ((1.0, 0.0), (0.5, 0.5)):
        whole = erpo_log_target(log_p, language.payoff, alpha=alpha, beta=beta)
        approximate = by_token(language, log_pi, alpha, beta)
        assert approximate.exp().sum().item() == pytest.approx(1)
        assert (approximate - whole).abs().max() > 0.05


def test_token_by_token_is_exact_where_no_normaliser_depends_on_the_prefix(float64: None) -> None:
    """Rewards and probabilities of independent words."""
    log_p = torch.log_softmax(torch.randn(3, 4), 1)
    reward = torch.randn(3, 4)
    factors = erpo_log_target(log_p, reward, alpha=0.6, beta=0.2)
    sequences = list(product(range(4), repeat=3))
    steps = torch.arange(3)
    totals = [
        torch.stack([part[steps, list(y)].sum() for y in sequences]) for part in (log_p, reward, factors)
    ]
    close(erpo_log_target(totals[0], totals[1], alpha=0.6, beta=0.2), totals[2])


def test_pad_and_bos_stay_out(language: Any) -> None:
    """Their log pi is -1e4, finite: alpha = 0 needs their reward to exclude them, alpha > 0 does not."""
    log_pi = torch.log_softmax(language.random_logits(), 1)
    target = erpo_log_target(log_pi, torch.zeros_like(log_pi), alpha=0.5, beta=0.5).exp()
    assert (target[:, :FIRST_ACTION] == 0).all()
