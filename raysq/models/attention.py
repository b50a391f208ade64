"""Attention over an encoded sequence: dot product (Luong et al. 2015), additive (Bahdanau et al. 2015)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DotAttention(nn.Module):
    """score(q, k) = q . k, without parameters."""

    def project(self, states: Tensor) -> Tensor:
        """Keys [M, S, H] of the encoder states [M, S, H]: the states themselves."""
        return states

    def forward(self, query: Tensor, keys: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """Context vectors [M, T, H] for queries [M, T, H], keys and states [M, S, H], mask [M, S]."""
        return _context(torch.bmm(query, keys.transpose(1, 2)), states, mask)


class AdditiveAttention(nn.Module):
    """score(q, k) = v . tanh(W_q q + W_k k), the MLP attention.

    W [q; k] is split into W_q q + W_k k: one product per query and one per key instead of one per pair.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.query = nn.Linear(hidden_size, hidden_size, bias=False)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.score = nn.Linear(hidden_size, 1, bias=False)

    def project(self, states: Tensor) -> Tensor:
        """Keys W_k k + b [M, S, H] of the encoder states [M, S, H], computed once per sequence."""
        return self.key(states)

    def forward(self, query: Tensor, keys: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """Context vectors [M, T, H] for queries [M, T, H], keys and states [M, S, H], mask [M, S]."""
        pairs = torch.tanh(self.query(query).unsqueeze(2) + keys.unsqueeze(1))
        return _context(self.score(pairs).squeeze(-1), states, mask)


def _context(scores: Tensor, states: Tensor, mask: Tensor) -> Tensor:
    """Average of the states [M, S, H] weighed by softmax over S of the scores [M, T, S], padding left out."""
    weights = torch.softmax(scores.masked_fill(~mask.unsqueeze(1), float("-inf")), dim=-1)
    return torch.bmm(weights, states)
