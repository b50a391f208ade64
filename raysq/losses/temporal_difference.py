"""The critic's side: TD targets, squared TD error and variance penalty; none of it needs [tokens, V]."""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.profiler import record_function

from raysq.losses.vocabulary import scaled_once

VarianceForm = Literal["variance", "sum"]
BLOCK_WORDS = 1024
"""Words of a product, so that what is made of them stays in cache."""


def td_targets(rewards: Tensor, state_values: Tensor, last: Tensor) -> Tensor:
    """Dai et al. (2018) Eq. 19: Qhat(y_{<t}, y_t) = r_t + Vbar(y_{1:t}), Vbar = 0 after eos.

    Args:
        rewards: [n] r_t, rows of one sequence in order and sequences one after another.
        state_values: [n] Vbar(y_{<t}) of the state each row starts from.
        last: [n] bool, True at the last row (eos) of each sequence.

    Returns:
        [n] targets; the caller detaches (they are constants of the critic's loss).
    """
    following = torch.cat((state_values[1:], state_values.new_zeros(1)))
    return rewards + following.masked_fill(last, 0.0)


def chosen_q(features: Tensor, weight: Tensor, bias: Tensor, tokens: Tensor) -> Tensor:
    """Q(y_{<t}, y_t) [n] for critic features [n, H] and tokens [n]: one dot product a row."""
    return torch.linalg.vecdot(features, weight[tokens]) + bias[tokens]


def squared_td_error(q: Tensor, targets: Tensor) -> Tensor:
    """Dai et al. (2018) Eq. 18 by row: (Qhat - Q)^2 [n] for q, targets [n]; the target is held constant.

    The released code's gradient is that of half of it.
    """
    return (targets.detach() - q) ** 2


def q_variance(features: Tensor, weight: Tensor, bias: Tensor, form: VarianceForm = "variance") -> Tensor:
    """Sum over rows of the variance of Q over all words (Dai et al. 2018, section 4.2), as a quadratic form.

    With Wd = W - mean_w W and bd = b - mean_w b, the squared deviations of row h sum to

        sum_w (Q_w - mean Q)^2 = h' Wd' Wd h + 2 h' Wd' bd + bd' bd

    so that over n rows the cost is two products of V H^2 (Wd' Wd, and Wd S for the gradient, S = sum_h h h')
    instead of three of n V H.

    Args:
        features: [n, H] critic features.
        weight: [V, H]
        bias: [V]
        form: "variance" divides by V - 1 (the released code, what lambda_var = 1e-3 is meant for); "sum"
            does not (the paper's formula).
    """
    with record_function("vocabulary"):
        total = cast(Tensor, _SquaredDeviations.apply(features, weight, bias))
    return total / (len(bias) - 1) if form == "variance" else total


class _SquaredDeviations(torch.autograd.Function):
    """D = sum over rows h of |Wd h + bd|^2, centred over words, with its gradient in closed form.

    dD/dW = 2 (Wd S + bd s'), dD/db = 2 (Wd s + n bd), dD/dh = 2 (Wd' Wd h + Wd' bd), s = sum h: the first
    two are centred already: centring W and b needs no gradient of its own.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        n, H = features.shape
        needs_features, needs_weight, needs_bias = ctx.needs_input_grad
        outer, summed = features.t() @ features, features.sum(0)
        mean, centred_bias = weight.mean(0), bias - bias.mean()
        gram, along_bias = features.new_zeros(H, H), features.new_zeros(H)
        d_weight = torch.empty_like(weight) if needs_weight else None
        d_bias = torch.empty_like(bias) if needs_bias else None
        for first in range(0, len(weight), BLOCK_WORDS):
            words = slice(first, first + BLOCK_WORDS)
            centred = weight[words] - mean
            gram.addmm_(centred.t(), centred)
            along_bias.addmv_(centred.t(), centred_bias[words])
            if d_weight is not None:
                part = torch.addr(2 * centred @ outer, centred_bias[words], summed, alpha=2)
                d_weight[words] = part
            if d_bias is not None:
                d_bias[words] = 2 * (centred @ summed + n * centred_bias[words])
        d_features = 2 * (features @ gram + along_bias) if needs_features else None
        ctx.gradients = (d_features, d_weight, d_bias)
        return (gram * outer).sum() + 2 * along_bias.dot(summed) + n * centred_bias.square().sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        return scaled_once(ctx, grad_outputs[0])
