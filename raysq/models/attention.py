"""Attention over an encoded sequence: dot product (Luong et al. 2015), additive (Bahdanau et al. 2015)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from raysq.models.products import rows_at_once


class DotAttention(nn.Module):
    """score(q, k) = q . k, without parameters."""

    def project(self, states: Tensor) -> Tensor:
        """Keys [M, S, H] of the encoder states [M, S, H]: the states themselves."""
        return states

    def weights(
        self, query: Tensor, keys: Tensor, mask: Tensor, query_lengths: Tensor | None = None
    ) -> Tensor:
        """Weights [M, T, S] of the positions for queries [M, T, H], keys [M, S, H], mask [M, S]."""
        return _softmax(torch.bmm(query, keys.transpose(1, 2)), mask)

    def forward(
        self, query: Tensor, keys: Tensor, states: Tensor, mask: Tensor, query_lengths: Tensor | None = None
    ) -> Tensor:
        """Context vectors [M, T, H]: the states [M, S, H] averaged by their weights."""
        return torch.bmm(self.weights(query, keys, mask), states)


class AdditiveAttention(nn.Module):
    """score(q, k) = v . tanh(W_q q + W_k k), the MLP attention.

    W [q; k] is split into W_q q + W_k k: one product per query and one per key instead of one per pair. What
    remains for every pair, tanh and the product with v, is done for real pairs alone, a few sequences at a
    time; its gradient is in closed form, so that no [M, T, S, H] tensor exists.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.query = nn.Linear(hidden_size, hidden_size, bias=False)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.score = nn.Linear(hidden_size, 1, bias=False)

    def project(self, states: Tensor) -> Tensor:
        """Keys W_k k + b [M, S, H] of the encoder states [M, S, H], computed once per sequence."""
        return self.key(states)

    def weights(
        self, query: Tensor, keys: Tensor, mask: Tensor, query_lengths: Tensor | None = None
    ) -> Tensor:
        """Weights [M, T, S] of the positions for queries [M, T, H], keys [M, S, H], mask [M, S].

        Of the queries after the first ``query_lengths`` [M] of a sequence nothing is asked: their weights are
        even, and no gradient comes from them.
        """
        chunks = _chunks(query, mask, query_lengths)
        scores = _AdditiveScores.apply(self.query(query), keys, self.score.weight[0], chunks)
        return _softmax(scores, mask)

    def forward(
        self, query: Tensor, keys: Tensor, states: Tensor, mask: Tensor, query_lengths: Tensor | None = None
    ) -> Tensor:
        """Context vectors [M, T, H]: the states [M, S, H] averaged by their weights."""
        return torch.bmm(self.weights(query, keys, mask, query_lengths), states)


_Chunk = tuple[slice, slice, slice]
"""Some sequences, their queries and their keys: an index of scores [M, T, S]."""


def _chunks(query: Tensor, mask: Tensor, query_lengths: Tensor | None) -> list[_Chunk]:
    """Sequences in their order, together as long as all pairs of the longest of each side are few enough."""
    M, T, H = query.shape
    if query.device.type != "cpu":
        return [(slice(0, M), slice(0, T), slice(0, mask.shape[1]))]
    lengths = [T] * M if query_lengths is None else query_lengths.tolist()
    chunks: list[_Chunk] = []
    first = longest = widest = 0
    for m, (t, s) in enumerate(zip(lengths, mask.sum(1).tolist(), strict=True)):
        t_with, s_with = max(longest, t), max(widest, s)
        if m > first and m + 1 - first > rows_at_once(t_with * s_with * H, M, query.device):
            chunks.append((slice(first, m), slice(0, longest), slice(0, widest)))
            first, t_with, s_with = m, t, s
        longest, widest = t_with, s_with
    chunks.append((slice(first, M), slice(0, longest), slice(0, widest)))
    return chunks


class _AdditiveScores(torch.autograd.Function):
    """score_ts = sum_h v_h tanh(q_th + k_sh) of queries [M, T, H], keys [M, S, H], v [H]; 0 outside chunks.

    d score / d q_th = v_h (1 - tanh^2) = d score / d k_sh,  d score / d v_h = tanh; tanh is computed again.
    """

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, v: Tensor, chunks: list[_Chunk]) -> Tensor:
        ctx.save_for_backward(queries, keys, v)
        ctx.chunks = chunks
        scores = queries.new_zeros(*queries.shape[:2], keys.shape[1])
        for chunk in chunks:
            scores[chunk] = _tanh_of_pairs(queries, keys, chunk) @ v
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_scores: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        queries, keys, v = ctx.saved_tensors
        d_queries, d_keys, d_v = (torch.zeros_like(x) for x in (queries, keys, v))
        for chunk in ctx.chunks:
            rows, of_queries, of_keys = chunk
            pairs = _tanh_of_pairs(queries, keys, chunk)
            d_here = d_scores[chunk]
            d_v += torch.mv(pairs.flatten(0, 2).t(), d_here.flatten())
            pairs.square_().neg_().add_(1).mul_(d_here.unsqueeze(3))
            torch.sum(pairs, 2, out=d_queries[rows, of_queries])
            torch.sum(pairs, 1, out=d_keys[rows, of_keys])
        return d_queries.mul_(v), d_keys.mul_(v), d_v, None


def _tanh_of_pairs(queries: Tensor, keys: Tensor, chunk: _Chunk) -> Tensor:
    """tanh(q_t + k_s) [m, t, s, H] of a chunk."""
    rows, of_queries, of_keys = chunk
    return (queries[rows, of_queries].unsqueeze(2) + keys[rows, of_keys].unsqueeze(1)).tanh_()


def _softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over S of the scores [M, T, S], padding (mask [M, S]) left out."""
    return torch.softmax(scores.masked_fill(~mask.unsqueeze(1), float("-inf")), dim=-1)
