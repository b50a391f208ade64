"""Which part of the source a policy looked at while it wrote a sequence."""

from __future__ import annotations

import torch
from torch import Tensor

from raysq.models import Seq2Seq
from raysq.types import Memory


@torch.no_grad()
def attention_weights(policy: Seq2Seq, memory: Memory, inputs: Tensor) -> Tensor:
    """Weights [M, T, S] of the source positions at each step, teacher-forced and without dropout.

    Args:
        policy: the network.
        memory: M encoded sources.
        inputs: [M, T] bos, y_1, .., y_{T-1}: row t of the weights belongs to the emission of y_t.
    """
    state, weights = policy.initial_state(memory), []
    for t in range(inputs.shape[1]):
        _, state = policy.step(memory, state, inputs[:, t])
        weights.append(policy.attention.weights(state.hidden.unsqueeze(1), memory.keys, memory.mask))
    return torch.cat(weights, dim=1)
