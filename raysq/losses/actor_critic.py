"""The policy's side of (entropy-regularised) actor-critic, by row."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from raysq import kernels
from raysq.types import EOS, FIRST_ACTION

EntropyGradient = Literal["exact", "normalised"]


def actor_critic(
    logits: Tensor,
    q: Tensor,
    target_q: Tensor,
    forced_eos: Tensor,
    tokens: Tensor,
    *,
    tau: float,
    target_tau: float,
    entropy_gradient: EntropyGradient = "exact",
    restrict_forced_eos: bool = True,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Policy loss of Dai et al. (2018) Eq. 20 and the state value of Eq. 19, from one pass over the rows.

    With pi = softmax(logits) and the critics held constant,

        loss = -[sum_w pi_w Q_w + tau H(pi)],   H(pi) = -sum_w pi_w log pi_w
        d loss / d logit_w = -pi_w [A_w - sum_v pi_v A_v],   A_w = Q_w - tau log pi_w
        state_value = sum_w pi_w [Qbar_w - target_tau log pi_w]

    The sums run over all words; pad and bos have pi = 0 by the policy's bias. Where eos is forced
    (Corollary 1 allows nothing else) pi is the point mass on eos: state_value = Qbar(eos), loss and gradient
    are 0.

    Args:
        logits: [n, V] policy.
        q: [n, V] online critic (constant here).
        target_q: [n, V] target critic (constant).
        forced_eos: [n] bool.
        tokens: [n] the tokens taken, for the value ``log_prob``.
        tau: entropy temperature of the policy's gradient.
        target_tau: temperature in the state value; 0 is the ablation "without future entropy" (Table 4).
        entropy_gradient: "exact"; "normalised" divides log pi by its L2 norm over the words before it is
            multiplied by tau and holds it constant (the released code, about 3e-4 per word at V = 22,822).
        restrict_forced_eos: False uses the full pi in forced rows too (the released code).

    Returns:
        Loss [n], gradient [n, V], and the values ``state_value``, ``online_value`` (sum_w pi_w Q_w),
        ``entropy`` (nats) and ``log_prob`` (log pi of the token taken), each [n], detached.
    """
    forced = forced_eos if restrict_forced_eos else torch.zeros_like(forced_eos)
    if kernels.compiled(logits, q, target_q):
        found, gradient = logits.new_empty(len(logits), 5), torch.empty_like(logits)
        kernels.actor_critic_rows(
            *map(kernels.array, (logits, q, target_q, forced, tokens)),
            tau,
            entropy_gradient == "normalised",
            *map(kernels.array, (found, gradient)),
        )
        regularised_value, target_value, online_value, entropy, log_prob = found.unbind(1)
    else:
        log_pi = torch.log_softmax(logits, dim=1)
        pi = log_pi.exp()
        entropy = -torch.linalg.vecdot(pi, log_pi)
        online_value = torch.linalg.vecdot(pi, q)
        target_value = torch.linalg.vecdot(pi, target_q)
        temperature = torch.full_like(entropy, tau)
        if entropy_gradient == "normalised":
            temperature /= torch.linalg.vector_norm(log_pi[:, FIRST_ACTION:], dim=1)
        regularised_value = (online_value + temperature * entropy).masked_fill(forced, 0.0)
        log_prob = log_pi.gather(1, tokens.unsqueeze(1)).squeeze(1).masked_fill(forced, 0.0)
        disadvantage = log_pi.mul_(temperature.unsqueeze(1)).sub_(q).add_(regularised_value.unsqueeze(1))
        gradient = pi.mul_(disadvantage).masked_fill_(forced.unsqueeze(1), 0.0)
        entropy = entropy.masked_fill(forced, 0.0)
        target_value = torch.where(forced, target_q[:, EOS], target_value)
        online_value = torch.where(forced, q[:, EOS], online_value)
    values = {
        "state_value": target_value + target_tau * entropy,
        "online_value": online_value,
        "entropy": entropy,
        "log_prob": log_prob,
    }
    return -regularised_value, gradient, values


def state_value(
    logits: Tensor,
    target_q: Tensor,
    forced_eos: Tensor,
    tokens: Tensor,
    *,
    tau: float,
    restrict_forced_eos: bool = True,
) -> dict[str, Tensor]:
    """The state value of Eq. 19 alone, for a policy that is not trained: no gradient, no online critic.

    Arguments and values (``state_value``, ``entropy``, ``log_prob``) as in ``actor_critic``, whose
    ``target_tau`` is ``tau`` here.
    """
    forced = forced_eos if restrict_forced_eos else torch.zeros_like(forced_eos)
    if kernels.compiled(logits, target_q):
        found = logits.new_empty(len(logits), 3)
        kernels.state_value_rows(*map(kernels.array, (logits, target_q, forced, tokens, found)))
        value, entropy, log_prob = found.unbind(1)
    else:
        log_pi = torch.log_softmax(logits, dim=1)
        pi = log_pi.exp()
        entropy = -torch.linalg.vecdot(pi, log_pi).masked_fill(forced, 0.0)
        log_prob = log_pi.gather(1, tokens.unsqueeze(1)).squeeze(1).masked_fill(forced, 0.0)
        value = torch.where(forced, target_q[:, EOS], torch.linalg.vecdot(pi, target_q))
    return {"state_value": value + tau * entropy, "entropy": entropy, "log_prob": log_prob}
