"""VAML's student: cross entropy against the oracle's distribution, by row."""

from __future__ import annotations

import torch
from torch import Tensor

from raysq import kernels


def distillation(logits: Tensor, q: Tensor, *, tau: float) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Dai et al. (2018) Eq. 17 by token: cross entropy of the policy against P_Q = softmax(Q / tau).

        loss = -sum_w P_Q(w) log pi_w,   pi = softmax(logits);   d loss / d logit_w = pi_w - P_Q(w)

    As tau -> 0 it tends to ``cross_entropy`` with the target argmax_w Q_w. With tau = 1 and Q the logarithm
    of any distribution it is the cross entropy against that one (label smoothing, say).

    Args:
        logits: [n, V] policy.
        q: [n, V] oracle's Q (constant), from an output layer with ``policy_bias``: P_Q(pad) = P_Q(bos) = 0.
        tau: temperature the oracle was trained with, > 0.

    Returns:
        Loss [n], gradient [n, V], no further values.
    """
    if kernels.compiled(logits, q):
        loss, gradient = torch.empty_like(logits[:, 0]), torch.empty_like(logits)
        kernels.distillation_rows(
            kernels.array(logits), kernels.array(q), tau, kernels.array(loss), kernels.array(gradient)
        )
        return loss, gradient, {}
    target = torch.softmax(q / tau, dim=1)
    log_pi = torch.log_softmax(logits, dim=1)
    loss = -torch.linalg.vecdot(target, log_pi)
    return loss, log_pi.exp_().sub_(target), {}
