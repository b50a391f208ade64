"""Attention over an encoded sequence: dot product (Luong et al. 2015), additive (Bahdanau et al. 2015)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DotAttention(nn.Module):
    """score(q, k) = q . k, without parameters."""

    def project(self, states: Tensor) -> Tensor:
        """Keys [M, S, H] of the encoder states [M, S, H]: the states themselves."""
        return states

    def weights(self, query: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """Weights [M, T, S] of the positions for queries [M, T, H], keys [M, S, H], mask [M, S]."""
        return _softmax(torch.bmm(query, keys.transpose(1, 2)), mask)

    def forward(self, query: Tensor, keys: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """Context vectors [M, T, H]: the states [M, S, H] averaged by their weights."""
        return torch.bmm(self.weights(query, keys, mask), states)


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

    def weights(self, query: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """Weights [M, T, S] of the positions for queries [M, T, H], keys [M, S, H], mask [M, S]."""
        pairs = torch.tanh(self.query(query).unsqueeze(2) + keys.unsqueeze(1))
        return _softmax(self.score(pairs).squeeze(-1), mask)

    def forward(self, query: Tensor, keys: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """Context vectors [M, T, H]: the states [M, S, H] averaged by their weights."""
        return torch.bmm(self.weights(query, keys, mask), states)


def _softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over S of the scores [M, T, S], padding (mask [M, S]) left out."""
    return torch.softmax(scores.masked_fill(~mask.unsqueeze(1), float("-inf")), dim=-1)
