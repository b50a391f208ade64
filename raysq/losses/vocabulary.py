"""Applies a row loss to rows of features block by block: no [tokens, V] tensor exists in training.

A block of rows is large enough for fast products; within it the row loss takes a chunk of a few rows at a
time, so that its elementwise passes stay in cache. Loss and gradient of a block are computed at once in the
forward pass and its logits are overwritten by the next: memory is set by the block.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.profiler import record_function

from raysq.models.products import fill_product, rows_at_once, slices

RowResult = tuple[Tensor, Tensor, dict[str, Tensor]]
"""Loss [c], its gradient with respect to the first logits [c, V], and further values [c] by name."""
RowLoss = Callable[..., RowResult]
"""Called as row_loss(logits of every head [c, V] .., rows of every argument [c] ..)."""

BLOCK_ROWS = 512
"""Rows of a product, at most. One of few rows runs at a third of the rate that one of 512 reaches."""


class Head(NamedTuple):
    """An output layer applied to rows of features: features W' + b."""

    features: Tensor
    """[n, H]"""
    weight: Tensor
    """[V, H]"""
    bias: Tensor
    """[V]"""
    product_type: torch.dtype | None = None
    """Of the products; None: that of the features. Bias, row loss and sums over words have the features'."""


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
        chunk_rows: rows that ``row_loss`` is given at once; chosen from V when absent.

    Returns:
        The scalar sum, and by name the further values [n] (detached; ``loss`` holds the rows' losses,
        unweighted).
    """
    names: list[str] = []
    with record_function("vocabulary"):
        total, *values = _BlockwiseLoss.apply(row_loss, chunk_rows, names, weights, frozen, rows, *head)
    return total, dict(zip(names, values, strict=True))


@torch.no_grad()
def vocabulary_values(
    row_values: Callable[..., dict[str, Tensor]],
    heads: Sequence[Head],
    *,
    rows: Sequence[Tensor] = (),
    chunk_rows: int | None = None,
) -> dict[str, Tensor]:
    """Values [n] by name of a pure row function over output layers, block by block, without gradients."""
    collected: dict[str, list[Tensor]] = {}
    heads = _typed(heads)
    with record_function("vocabulary"):
        for block, tables in _blocks(heads):
            for place, logits, _ in _chunks(heads, block, tables, chunk_rows):
                for name, value in row_values(*logits, *(row[place] for row in rows)).items():
                    collected.setdefault(name, []).append(value)
    return {name: torch.cat(parts) for name, parts in collected.items()}


def _typed(heads: Sequence[Head]) -> list[Head]:
    """The heads with features and weights in the type of the first one's products."""
    dtype = heads[0].product_type or heads[0].features.dtype
    return [head._replace(features=head.features.to(dtype), weight=head.weight.to(dtype)) for head in heads]


def _blocks(heads: Sequence[Head]) -> Iterator[tuple[slice, list[Tensor]]]:
    """Blocks of rows with the products of every head [b, V], which the next block overwrites."""
    n, V = len(heads[0].features), len(heads[0].bias)
    num_blocks = max(1, math.ceil(n / BLOCK_ROWS))
    rows = math.ceil(n / num_blocks)  # of like size: a small last block would be slow
    tables = [head.features.new_empty(rows, V) for head in heads]
    for block in slices(0, n, max(1, rows)):
        here = [table[: block.stop - block.start] for table in tables]
        for head, table in zip(heads, here, strict=True):
            fill_product(head.features[block], head.weight.t(), table)
        yield block, here


def _chunks(
    heads: Sequence[Head], block: slice, tables: Sequence[Tensor], chunk_rows: int | None
) -> Iterator[tuple[slice, list[Tensor], Tensor]]:
    """Chunks of a block: their place among all rows, each head's logits [c, V], and the first head's table.

    The logits may be the tables themselves.
    """
    size = chunk_rows or rows_at_once(len(heads[0].bias), BLOCK_ROWS, tables[0].device)
    for place in slices(block.start, block.stop, size):
        part = slice(place.start - block.start, place.stop - block.start)
        logits = [
            table[part].to(head.bias.dtype).add_(head.bias) for head, table in zip(heads, tables, strict=True)
        ]
        yield place, logits, tables[0][part]


class _BlockwiseLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        row_loss: RowLoss,
        chunk_rows: int | None,
        names: list[str],
        weights: Tensor | None,
        frozen: Sequence[Head],
        rows: Sequence[Tensor],
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        product_type: torch.dtype | None,
    ) -> tuple[Tensor, ...]:
        needs_features, needs_weight, needs_bias, _ = ctx.needs_input_grad[-4:]
        d_features = torch.empty_like(features) if needs_features else None
        d_weight = torch.zeros_like(weight) if needs_weight else None
        d_bias = torch.zeros_like(bias) if needs_bias else None
        heads = _typed((Head(features, weight, bias, product_type), *frozen))
        total = features.new_zeros(())
        collected: dict[str, list[Tensor]] = {}
        for block, tables in _blocks(heads):
            for place, logits, table in _chunks(heads, block, tables, chunk_rows):
                losses, gradient, values = row_loss(*logits, *(row[place] for row in rows))
                for name, value in {"loss": losses, **values}.items():
                    collected.setdefault(name, []).append(value)
                if weights is not None:
                    losses = losses * weights[place]
                    gradient.mul_(weights[place].unsqueeze(1))
                total += losses.sum()
                if d_bias is not None:
                    d_bias += gradient.sum(0)
                table.copy_(gradient)
            d_logits = tables[0]
            if d_features is not None:
                d_features[block] = d_logits @ heads[0].weight
            if d_weight is not None:
                _add_product(d_weight, d_logits.t(), heads[0].features[block])
        ctx.gradients = (d_features, d_weight, d_bias)
        names.extend(collected)
        whole = tuple(torch.cat(parts) for parts in collected.values())
        ctx.mark_non_differentiable(*whole)
        return (total, *whole)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        return (None, None, None, None, None, None, *scaled_once(ctx, grad_outputs[0]), None)


def scaled_once(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients that a forward pass left in ``ctx.gradients``, times the incoming one; in place.

    Raises:
        RuntimeError: they were taken before; the graph gives its gradient once, even if it is retained.
    """
    if ctx.gradients is None:
        raise RuntimeError("a loss over the vocabulary gives its gradient once")
    gradients, ctx.gradients = ctx.gradients, None
    return tuple(None if g is None else g.mul_(scale) for g in gradients)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right, the product in the type of ``left``."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right
