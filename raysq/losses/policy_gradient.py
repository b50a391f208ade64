"""The policy gradient from one drawn token a row: REINFORCE, with an entropy term and with clipped ratios."""

from __future__ import annotations

import torch
from torch import Tensor


def policy_gradient(
    logits: Tensor,
    tokens: Tensor,
    advantages: Tensor,
    forced_eos: Tensor,
    old_log_probs: Tensor | None = None,
    *,
    entropy_coefficient: float = 0.0,
    ratio_clip: float | None = None,
    restrict_forced_eos: bool = True,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """REINFORCE (Williams 1992) by row, or its clipped form (PPO, Schulman et al. 2017; GRPO).

    With pi = softmax(logits), A the advantage (constant) and c the entropy coefficient,

        loss = -A log pi(y) - c H(pi),   H(pi) = -sum_w pi_w log pi_w
        d loss / d logit_w = A (pi_w - [w = y]) + c pi_w (log pi_w + H)

    With ``ratio_clip`` eps and rho = pi(y) / pi_old(y) the first term becomes
    -min(rho A, clip(rho, 1 - eps, 1 + eps) A): the factor A of the gradient becomes rho A, or 0 where the
    clipped side is the smaller one. At rho = 1 that is REINFORCE's gradient.

    The entropy of whole sequences in Koyamada et al. (2017) Eq. 3 is E[sum_t H(pi(.|s_t))]. The term here
    has its gradient with the visited states held constant (Mnih et al. 2016). All of Eq. 3's gradient, with
    temperature tau, is the expectation of either form: every token's reward is r_t - tau log pi(y_t), its
    advantage their sum from t on, and c = 0; or that advantage without the token's own -tau log pi(y_t), and
    c = tau.

    Args:
        logits: [n, V] policy.
        tokens: [n] the tokens taken.
        advantages: [n] what each token weighs: return minus baseline.
        forced_eos: [n] bool; such a row was no choice: loss, gradient, ``log_prob`` and ``entropy`` are 0.
        old_log_probs: [n] log pi_old of the tokens, 0 where eos is forced; read with ``ratio_clip`` only.
        entropy_coefficient: c.
        ratio_clip: eps; None is REINFORCE.
        restrict_forced_eos: False treats forced rows as all others.

    Returns:
        Loss [n], gradient [n, V], and the values ``log_prob`` and ``entropy`` (nats), with ``ratio_clip``
        also ``ratio`` and ``clipped`` (1 where A gives no gradient, else 0), each [n], detached.
    """
    log_pi = torch.log_softmax(logits, dim=1)
    pi = log_pi.exp()
    column = tokens.unsqueeze(1)
    log_prob = log_pi.gather(1, column).squeeze(1)
    entropy = -torch.linalg.vecdot(pi, log_pi)
    if restrict_forced_eos:
        log_prob = log_prob.masked_fill(forced_eos, 0.0)
        entropy = entropy.masked_fill(forced_eos, 0.0)
        advantages = advantages.masked_fill(forced_eos, 0.0)
    values = {"log_prob": log_prob, "entropy": entropy}
    if ratio_clip is None:
        loss, factor = -advantages * log_prob, advantages
    else:
        assert old_log_probs is not None
        ratio = torch.exp(log_prob - old_log_probs)
        gain, bound = ratio * advantages, ratio.clamp(1 - ratio_clip, 1 + ratio_clip) * advantages
        clipped = bound < gain
        loss, factor = -torch.minimum(gain, bound), gain.masked_fill(clipped, 0.0)
        values |= {"ratio": ratio, "clipped": clipped.to(ratio.dtype)}
    slope = factor.unsqueeze(1)
    if entropy_coefficient:
        loss = loss - entropy_coefficient * entropy
        slope = log_pi.add_(entropy.unsqueeze(1)).mul_(entropy_coefficient).add_(slope)
    gradient = pi.mul_(slope).scatter_add_(1, column, -factor.unsqueeze(1))
    if restrict_forced_eos and entropy_coefficient:
        gradient = gradient.masked_fill_(forced_eos.unsqueeze(1), 0.0)
    return loss, gradient, values
