"""The critic's side: TD targets, squared TD error and variance penalty; none of it needs [tokens, V]."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

VarianceForm = Literal["variance", "sum"]


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

    so that over n rows the cost is two products of V H^2 instead of three of n V H.

    Args:
        features: [n, H] critic features.
        weight: [V, H]
        bias: [V]
        form: "variance" divides by V - 1 (the released code, what lambda_var = 1e-3 is meant for); "sum"
            does not (the paper's formula).
    """
    centred = weight - weight.mean(0)
    centred_bias = bias - bias.mean()
    gram = centred.t() @ centred
    total = (
        (gram * (features.t() @ features)).sum()
        + 2 * torch.dot(features.sum(0), centred.t() @ centred_bias)
        + len(features) * centred_bias.square().sum()
    )
    return total / (len(bias) - 1) if form == "variance" else total
