"""Ancestral sampling by inverse CDF: one uniform number a token, finished rows dropped as they end."""

from __future__ import annotations

import torch
from torch import Tensor

from raysq.models import Memory, Seq2Seq
from raysq.types import BOS, EOS, PAD, Samples


@torch.no_grad()
def sample(
    policy: Seq2Seq,
    memory: Memory,
    uniforms: Tensor,
    *,
    num_per_example: int = 1,
    dropout_mask: Tensor | None = None,
) -> Samples:
    """Draw one sequence per row of ``memory`` from the policy.

    Args:
        policy: the network.
        memory: M encoded sources (already repeated N times each).
        uniforms: [M, T] numbers in [0, 1): row m, step t decides y_t, so a draw depends on nothing else. T is
            the maximum length with eos: the token at T is eos, forced.
        num_per_example: N, recorded in the samples.
        dropout_mask: [M, T, H] scaled masks of this pass, recorded too.

    Returns:
        Samples with T cut to the longest sequence.
    """
    M, T = uniforms.shape
    targets = torch.full((M, T), PAD, dtype=torch.long, device=uniforms.device)
    state = policy.initial_state(memory)
    token = torch.full((M,), BOS, dtype=torch.long, device=uniforms.device)
    alive = torch.arange(M, device=uniforms.device)
    for t in range(T - 1):
        masks = None if dropout_mask is None else dropout_mask[alive, t]
        features, state = policy.step(memory, state, token, masks)
        token = inverse_cdf(policy.output.logits(features), uniforms[alive, t])
        targets[alive, t] = token
        going = (token != EOS).nonzero().squeeze(1)
        if len(going) < len(alive):
            alive, token = alive[going], token[going]
            memory, state = memory.select(going), state.select(going)
        if not len(alive):
            break
    targets[alive, T - 1] = EOS
    longest = int((targets != PAD).sum(1).max()) if M else 0
    targets = targets[:, :longest]
    mask = targets != PAD
    forced_eos = torch.zeros_like(mask)
    if longest == T:
        forced_eos[:, T - 1] = mask[:, T - 1]
    return Samples(
        inputs=shift_right(targets, mask),
        targets=targets,
        mask=mask,
        forced_eos=forced_eos,
        num_per_example=num_per_example,
        dropout_mask=None if dropout_mask is None else dropout_mask[:, :longest],
    )


def inverse_cdf(logits: Tensor, uniforms: Tensor) -> Tensor:
    """One draw a row from softmax(logits) [M, V] by uniforms [M]: the first word whose CDF exceeds u.

    The uniform is scaled by the row's own total, so rounding of the sum cannot bias the last word; a word
    of probability 0 is never drawn.
    """
    weights = torch.exp(logits - logits.amax(1, keepdim=True))
    cdf = weights.cumsum(1)
    threshold = (uniforms * cdf[:, -1]).unsqueeze(1)
    return torch.searchsorted(cdf, threshold, right=True).squeeze(1).clamp_(max=logits.shape[1] - 1)


def shift_right(targets: Tensor, mask: Tensor) -> Tensor:
    """Decoder inputs bos, y_1, .., y_{T-1} [M, T] of targets [M, T]; padding stays pad."""
    bos = torch.full_like(targets[:, :1], BOS)
    return torch.cat((bos, targets[:, :-1]), dim=1).masked_fill(~mask, PAD)
