"""Generalised entropy-regularised policy optimisation (ERPO): one family that holds many algorithms.

Tan et al. (2019) maximise over a free distribution q and the policy p_theta in turn (Eqs. 1 and 2)

    L(q, theta) = E_q[R] - alpha KL(q || p_theta) + beta H(q)
    q(y) ~ exp{(alpha log p_theta(y) + R(y)) / (alpha + beta)},    then    max_theta E_q[log p_theta]

so that an algorithm is a choice of (R, alpha, beta) and of how to draw from q:

    algorithm               R                                                    alpha  beta
    MLE                     1 for y = y*, else -inf (Eq. 6)                          0     1
    RAML                    task metric                                              0   tau
    SPG                     task metric                                              1     0
    policy gradient         log of a positive task metric, without 1 / Z (Eq. 12)    1     0
    one-word noise          1 where one word differs from y*, else -inf              0     1
    unigram noising         log prod_t of (1 - gamma) or gamma u(y_t) (Eq. 9)        0     1
    uniform noise           minus the Hamming distance                               0   tau
    label smoothing         log of the smoothed distribution of the next word        0     1

Noise that may draw the word it replaces gives an unchanged word 1 - gamma + gamma u(y_t) where Eq. 9 has
1 - gamma. Label smoothing is a choice of the next word, all others are choices of a whole sequence.
"""

from __future__ import annotations

import torch
from torch import Tensor


def erpo_log_target(log_probs: Tensor, payoff: Tensor, *, alpha: float, beta: float) -> Tensor:
    """Tan et al. (2019) Eq. 2: log q for q ~ exp{(alpha log p + R) / (alpha + beta)}, the maximiser of Eq. 1.

    Over an enumerated set of sequences it is Eq. 2. Over the next words, with R the words' rewards
    Delta R(w | y_{<t}), it is one factor of Eq. 4 normalised by itself, from which algorithms draw token by
    token; the product of such factors is Eq. 2 only if no normaliser depends on the prefix.

    Args:
        log_probs: [.., K] log p of each choice, finite.
        payoff: [.., K] R of each choice; -inf excludes one, at least one is finite.
        alpha: weight of the KL divergence, >= 0.
        beta: weight of the entropy, >= 0; alpha + beta > 0.

    Returns:
        [.., K] log q, normalised over the last dimension.
    """
    return torch.log_softmax((alpha * log_probs + payoff) / (alpha + beta), dim=-1)


def erpo_objective(
    log_target: Tensor, log_probs: Tensor, payoff: Tensor, *, alpha: float, beta: float
) -> Tensor:
    """Tan et al. (2019) Eq. 1: L(q, theta) = E_q[R] - alpha KL(q || p) + beta H(q), summed over K choices.

    Its maximum over q is (alpha + beta) log sum_y exp{(alpha log p(y) + R(y)) / (alpha + beta)}. A choice
    with q = 0 counts 0, whatever its R; q > 0 where R = -inf gives -inf.

    Args:
        log_target: [.., K] log q, normalised.
        log_probs: [.., K] log p, finite.
        payoff: [.., K] R.
        alpha: weight of the KL divergence.
        beta: weight of the entropy.

    Returns:
        [..]
    """
    gain = payoff + alpha * log_probs - (alpha + beta) * log_target
    return torch.where(torch.isneginf(log_target), 0.0, log_target.exp() * gain).sum(-1)
