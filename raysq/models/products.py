"""Products of features with an output layer's weights: the largest there are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

COLUMNS = 1024
"""Words of a product on a CPU: one product over all of a vocabulary reaches two thirds of the rate."""

_product_type: ContextVar[torch.dtype | None] = ContextVar("product type", default=None)


@contextmanager
def products_in(dtype: torch.dtype | None) -> Iterator[None]:
    """Within it, products with output layers take and give numbers of this type; None: of the features'.

    With ``torch.bfloat16`` a logit before its bias has 8 significant bits, as have the operands of the
    products; bias, softmax and all sums over words stay in the type of the features. Sampling and training
    heed it, beam search does not.
    """
    token = _product_type.set(dtype)
    try:
        yield
    finally:
        _product_type.reset(token)


def product_type(features_type: torch.dtype) -> torch.dtype:
    """The type of products of features of this type."""
    return _product_type.get() or features_type


def fill_product(features: Tensor, columns: Tensor, table: Tensor) -> None:
    """table [n, V] <- features [n, H] @ columns [H, V]; all of one type, without gradient."""
    width = COLUMNS if features.device.type == "cpu" else columns.shape[1]
    for first in range(0, columns.shape[1], width):
        words = slice(first, first + width)
        torch.mm(features, columns[:, words], out=table[:, words])
