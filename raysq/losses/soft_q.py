"""Residual soft Q-learning: how VAML's oracle is trained."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from raysq import kernels
from raysq.losses.temporal_difference import chosen_q, squared_td_error, td_targets
from raysq.losses.vocabulary import Head, vocabulary_loss
from raysq.types import EOS


def soft_value_residual(
    q: Tensor, incoming: Tensor, forced_eos: Tensor, first: Tensor, *, tau: float
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Soft Bellman residual of the step that leads into a state, as a function of the state's own Q.

        V = tau log sum_w exp(Q_w / tau)
        loss = (c - V)^2,   d loss / d Q_w = -2 (c - V) P_w,   P = softmax(Q / tau)

    Where eos is forced, V = Q(eos) and P is the point mass on eos. pad and bos are no actions: the output
    layer's ``policy_bias`` gives them a Q so low that their P is 0.

    Args:
        q: [n, V] Q(s, .) of each row's state.
        incoming: [n] c = Q(s', y') - r' of the step before (constant here).
        forced_eos: [n] bool.
        first: [n] bool, True at the first row of a sequence: no step leads into it, loss and gradient are 0.
        tau: entropy temperature, > 0.

    Returns:
        Loss [n], gradient [n, V], and the value ``state_value`` (V) [n], detached.
    """
    if kernels.compiled(q):
        log_z, gradient = torch.empty_like(q[:, 0]), torch.empty_like(q)
        kernels.soft_value_rows(kernels.array(q), tau, kernels.array(log_z), kernels.array(gradient))
    else:
        log_z = torch.logsumexp(q / tau, dim=1)
        gradient = (q / tau).sub_(log_z.unsqueeze(1)).exp_()
    value = torch.where(forced_eos, q[:, EOS], tau * log_z)
    residual = (incoming - value).masked_fill(first, 0.0)
    slope = -2 * residual
    gradient.mul_(slope.masked_fill(forced_eos, 0.0).unsqueeze(1))
    gradient[:, EOS] += slope.masked_fill(~forced_eos, 0.0)
    return residual.square(), gradient, {"state_value": value}


def residual_soft_q_loss(
    head: Head, tokens: Tensor, forced_eos: Tensor, rewards: Tensor, last: Tensor, *, tau: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Dai et al. (2018) Eq. 16 summed over rows; the gradient flows through Q and through V (Baird 1995).

        sum_t (Q(y_{<t}, y_t) - [r_t + V(y_{1:t})])^2,   V(s) = tau log sum_w exp(Q(s, w) / tau)

    V after eos is 0, and Q(s, eos) where eos is forced. The part of the gradient that goes through Q needs
    no vocabulary; the part through V is the row loss of the next state, so that one pass in chunks gives
    both V and its gradient.

    Args:
        head: Q's output layer, its bias ``policy_bias`` (pad and bos are no actions).
        tokens: [n] y_t, never pad or bos; rows of one sequence in order, sequences one after another.
        forced_eos: [n] bool.
        rewards: [n] r_t.
        last: [n] bool, True at the last row (eos) of each sequence.
        tau: entropy temperature, > 0.

    Returns:
        The scalar sum, differentiable in ``head``, and by row [n], detached: ``td_error`` (Q minus its
        target), ``q`` (of the token taken) and ``state_value`` (V of the state the row starts from).
    """
    q = chosen_q(head.features, head.weight, head.bias, tokens)
    incoming = (q - rewards).detach().roll(1)  # a sequence's first row follows the last one of another
    through_value, values = vocabulary_loss(
        partial(soft_value_residual, tau=tau), head, rows=(incoming, forced_eos, last.roll(1))
    )
    targets = td_targets(rewards, values["state_value"], last)
    total = squared_td_error(q, targets).sum()
    td_error = q.detach() - targets
    # The value is in ``total`` already; only the gradient is added.
    return total + (through_value - through_value.detach()), {
        "td_error": td_error,
        "q": q.detach(),
        "state_value": values["state_value"],
    }
