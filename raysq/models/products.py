"""Products of features with an output layer's weights: the largest there are."""

from __future__ import annotations

import torch
from torch import Tensor

COLUMNS = 1024
"""Words of a product on a CPU: one product over all of a vocabulary reaches two thirds of the rate."""


def fill_product(features: Tensor, columns: Tensor, table: Tensor) -> None:
    """table [n, V] <- features [n, H] @ columns [H, V]; all of one type, without gradient."""
    width = COLUMNS if features.device.type == "cpu" else columns.shape[1]
    for first in range(0, columns.shape[1], width):
        words = slice(first, first + width)
        torch.mm(features, columns[:, words], out=table[:, words])
