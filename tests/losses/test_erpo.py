import math

import pytest
import torch
from torch.testing import assert_close

from raysq.losses import erpo_log_target, erpo_objective

INF = math.inf
every_weight = pytest.mark.parametrize(
    ("alpha", "beta"), [(0.0, 1.0), (0.0, 0.3), (1.0, 0.0), (0.5, 0.2), (3.0, 2.0)]
)


def test_literal() -> None:
    """p = (1/2, 1/4, 1/4), alpha = beta = 1, R = log (2, 1, 4): q ~ sqrt(1, 1/4, 1) = (2/5, 1/5, 2/5)."""
    log_p = torch.tensor([0.5, 0.25, 0.25]).log()
    payoff = torch.tensor([2.0, 1.0, 4.0]).log()
    log_q = erpo_log_target(log_p, payoff, alpha=1.0, beta=1.0)
    assert_close(log_q.exp(), torch.tensor([0.4, 0.2, 0.4]))
    maximum = erpo_objective(log_q, log_p, payoff, alpha=1.0, beta=1.0)
    assert maximum.item() == pytest.approx(2 * math.log(2.5))


def test_the_objective_is_eq_1(float64: None) -> None:
    log_p, log_q = torch.log_softmax(torch.randn(2, 7), 1)
    payoff, q = torch.randn(7), log_q.exp()
    kl = (q * (log_q - log_p)).sum()
    expected = (q * payoff).sum() - 0.7 * kl + 0.4 * -(q * log_q).sum()
    assert_close(erpo_objective(log_q, log_p, payoff, alpha=0.7, beta=0.4), expected, rtol=0, atol=1e-12)


@every_weight
def test_the_target_maximises_the_objective(float64: None, alpha: float, beta: float) -> None:
    """Any other q, near or far, is below by (alpha + beta) KL(q || target)."""
    log_p, payoff = torch.log_softmax(torch.randn(3, 7), 1), torch.randn(3, 7)
    best = erpo_log_target(log_p, payoff, alpha=alpha, beta=beta)
    assert_close(best.exp().sum(1), torch.ones(3))
    maximum = erpo_objective(best, log_p, payoff, alpha=alpha, beta=beta)
    log_z = torch.logsumexp((alpha * log_p + payoff) / (alpha + beta), 1)
    assert_close(maximum, (alpha + beta) * log_z, rtol=0, atol=1e-12)
    for size in (1e-3, 0.1, 1.0, 10.0):
        other = torch.log_softmax(best + size * torch.randn(50, 3, 7), 2)
        below = maximum - erpo_objective(other, log_p, payoff, alpha=alpha, beta=beta)
        assert (below > 0).all()
        kl = (other.exp() * (other - best)).sum(2)
        assert_close(below, (alpha + beta) * kl, rtol=1e-6, atol=1e-12)


def test_limits_of_the_weights(float64: None) -> None:
    """alpha -> infinity is p, beta -> infinity is uniform, both -> 0 is the best choice alone."""
    log_p, payoff = torch.log_softmax(torch.randn(7), 0), torch.randn(7)
    assert_close(erpo_log_target(log_p, payoff, alpha=1e9, beta=1.0), log_p, rtol=0, atol=1e-7)
    uniform = torch.full((7,), -math.log(7))
    assert_close(erpo_log_target(log_p, payoff, alpha=1.0, beta=1e9), uniform, rtol=0, atol=1e-7)
    sharp = erpo_log_target(log_p, payoff, alpha=0.0, beta=1e-4).exp()
    assert_close(sharp, torch.nn.functional.one_hot(payoff.argmax(), 7).double(), rtol=0, atol=1e-7)


def test_what_is_excluded_counts_nothing() -> None:
    log_p = torch.tensor([0.5, 0.25, 0.25]).log()
    payoff = torch.tensor([1.0, -INF, -INF])
    log_q = erpo_log_target(log_p, payoff, alpha=0.0, beta=1.0)
    assert log_q.tolist() == [0.0, -INF, -INF]
    assert erpo_objective(log_q, log_p, payoff, alpha=1.0, beta=1.0).item() == pytest.approx(1 - math.log(2))
    assert erpo_objective(log_p, log_p, payoff, alpha=1.0, beta=1.0).item() == -INF


def test_far_below_what_exp_can_hold() -> None:
    payoff = torch.tensor([0.0, math.log(3)])
    log_q = erpo_log_target(torch.tensor([-1024.0, -1024.0]), payoff, alpha=1.0, beta=0.0)
    assert_close(log_q.exp(), torch.tensor([0.25, 0.75]), rtol=1e-4, atol=0)
