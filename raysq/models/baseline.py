"""A learned baseline: what a policy's features say of the return (Ranzato et al. 2016, MIXER)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class StepBaseline(nn.Module):
    """One linear regression a step: b_t(h) = w_t . h + b_t; steps past the last share its parameters.

    Args:
        num_steps: steps with parameters of their own.
        hidden_size: width of the features.
    """

    def __init__(self, num_steps: int, hidden_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_steps, hidden_size))
        self.bias = nn.Parameter(torch.full((num_steps,), 0.01))

    def forward(self, features: Tensor, steps: Tensor) -> Tensor:
        """Baselines [n] for features [n, H] of steps [n] (from 0); no gradient reaches the features."""
        step = steps.clamp(max=len(self.bias) - 1)
        return torch.linalg.vecdot(features.detach(), self.weight[step]) + self.bias[step]
