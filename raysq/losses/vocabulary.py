"""Applies a row loss to rows of features in chunks: no [tokens, V] tensor exists in training.

Loss and gradient of a chunk are computed at once in the forward pass and the chunk is dropped: memory is
set by the chunk, and every elementwise pass runs in cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

RowResult = tuple[Tensor, Tensor, dict[str, Tensor]]
"""Loss [c], its gradient with respect to the first logits [c, V], and further values [c] by name."""
RowLoss = Callable[..., RowResult]
"""Called as row_loss(logits of every head [c, V] .., rows of every argument [c] ..)."""

CHUNK_ELEMENTS = 1 << 19
"""Numbers in a chunk of logits: 2 MiB of float32, so that the elementwise passes stay in cache."""
BLOCK_ROWS = 512
"""Rows whose weight gradient is added at once: adding a [V, H] matrix costs as much as a small product."""


class Head(NamedTuple):
    """An output layer applied to rows of features: features W' + b."""

    features: Tensor
    """[n, H]"""
    weight: Tensor
    """[V, H]"""
    bias: Tensor
    """[V]"""


def vocabulary_loss(
    row_loss: RowLoss,
    head: Head,
    *,
    frozen: Sequence[Head] = (),
    rows: Sequence[Tensor] = (),
    weights: Tensor | None = None,
    chunk_rows: int | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Sum over rows i of weights_i * row_loss_i, differentiable in ``head`` only.

    Args:
        row_loss: the pure function, its hyper-parameters bound.
        head: the output layer that is trained.
        frozen: further output layers the loss reads; no gradient reaches them.
        rows: further arguments by row, each [n] (no gradient).
        weights: [n] factor of each row's loss; 1 when absent.
        chunk_rows: rows per chunk; chosen from V when absent.

    Returns:
        The scalar sum, and by name the further values [n] (detached; ``loss`` holds the rows' losses,
        unweighted).
    """
    chunk = chunk_rows or _chunk_rows(head)
    names: list[str] = []
    total, *values = _ChunkedLoss.apply(row_loss, chunk, names, weights, frozen, rows, *head)
    return total, dict(zip(names, values, strict=True))


@torch.no_grad()
def vocabulary_values(
    row_values: Callable[..., dict[str, Tensor]],
    heads: Sequence[Head],
    *,
    rows: Sequence[Tensor] = (),
    chunk_rows: int | None = None,
) -> dict[str, Tensor]:
    """Values [n] by name of a pure row function over output layers, in chunks and without gradients."""
    chunk = chunk_rows or _chunk_rows(heads[0])
    collected: dict[str, list[Tensor]] = {}
    for start in range(0, max(1, len(heads[0].features)), chunk):  # without rows, once: the values' names
        part = slice(start, start + chunk)
        values = row_values(*_logits(heads, part), *(row[part] for row in rows))
        for name, value in values.items():
            collected.setdefault(name, []).append(value)
    return {name: torch.cat(parts) for name, parts in collected.items()}


def _chunk_rows(head: Head) -> int:
    return max(16, min(BLOCK_ROWS, CHUNK_ELEMENTS // head.weight.shape[0]))


def _logits(heads: Sequence[Head], part: slice) -> list[Tensor]:
    return [torch.addmm(h.bias, h.features[part], h.weight.t()) for h in heads]


class _ChunkedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        row_loss: RowLoss,
        chunk: int,
        names: list[str],
        weights: Tensor | None,
        frozen: Sequence[Head],
        rows: Sequence[Tensor],
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
    ) -> tuple[Tensor, ...]:
        needs_features, needs_weight, needs_bias = ctx.needs_input_grad[-3:]
        d_features = torch.empty_like(features) if needs_features else None
        d_weight = torch.zeros_like(weight) if needs_weight else None
        d_bias = torch.zeros_like(bias) if needs_bias else None
        heads = (Head(features, weight, bias), *frozen)
        total = features.new_zeros(())
        collected: dict[str, list[Tensor]] = {}
        for first in range(0, max(1, len(features)), BLOCK_ROWS):  # without rows, once: the values' names
            block = slice(first, min(first + BLOCK_ROWS, len(features)))
            d_logits = []
            for start in range(block.start, max(first + 1, block.stop), chunk):
                part = slice(start, min(start + chunk, block.stop))
                losses, gradient, values = row_loss(*_logits(heads, part), *(row[part] for row in rows))
                for name, value in {"loss": losses, **values}.items():
                    collected.setdefault(name, []).append(value)
                if weights is not None:
                    losses = losses * weights[part]
                    gradient.mul_(weights[part].unsqueeze(1))
                total += losses.sum()
                if d_features is not None:
                    torch.mm(gradient, weight, out=d_features[part])
                if d_bias is not None:
                    d_bias += gradient.sum(0)
                d_logits.append(gradient)
            if d_weight is not None:
                gradient = d_logits[0] if len(d_logits) == 1 else torch.cat(d_logits)
                d_weight.addmm_(gradient.t(), features[block])
        ctx.gradients = (d_features, d_weight, d_bias)
        names.extend(collected)
        whole = tuple(torch.cat(parts) for parts in collected.values())
        ctx.mark_non_differentiable(*whole)
        return (total, *whole)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        scale = grad_outputs[0]  # not in place: a graph that is retained gives its gradient again
        gradients = tuple(None if g is None else g * scale for g in ctx.gradients)
        return (None, None, None, None, None, None, *gradients)
