"""What a decoder reads while it learns the reference: its tokens, or the policy's own in their places."""

from __future__ import annotations

import torch
from torch import Tensor

from raysq.decoding.sampling import inverse_cdf, shift_right
from raysq.models import EncoderDecoder
from raysq.types import Memory


@torch.no_grad()
def mixed_inputs(
    policy: EncoderDecoder,
    memory: Memory,
    references: Tensor,
    mask: Tensor,
    own: Tensor,
    uniforms: Tensor,
    dropout_mask: Tensor | None = None,
) -> Tensor:
    """Decoder inputs of references in which some tokens are replaced by draws of the policy.

    A draw follows what was read before it, drawn or not. It may be eos: the sequence goes on for as long as
    the reference does. Nothing is computed past the last draw.

    Args:
        policy: the network.
        memory: M encoded sources.
        references: [M, T] targets, eos last, right-padded.
        mask: [M, T] of the references.
        own: [M, T] True where the input is to be drawn; bos (the first column) and padding never are.
        uniforms: [M, T] numbers in [0, 1), one an input.
        dropout_mask: [M, T, H] masks of this pass.

    Returns:
        [M, T]
    """
    inputs = shift_right(references, mask)
    own = own & mask
    last = int(own.any(0).nonzero().max()) if own.any() else 0
    state, readout = policy.initial_state(memory), policy.output.readout(exact=False)
    for t in range(last):
        masks = None if dropout_mask is None else dropout_mask[:, t]
        features, state = policy.step(memory, state, inputs[:, t], masks)
        rows = own[:, t + 1].nonzero().squeeze(1)
        if len(rows):
            drawn, _ = inverse_cdf(readout.logits(features[rows]), uniforms[rows, t + 1])
            inputs[rows, t + 1] = drawn
    return inputs
