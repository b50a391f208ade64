"""Products of features with an output layer's weights, and how their results stay in cache."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

COLUMNS = 1024
"""Words of a product on a CPU: one product over all of a vocabulary reaches two thirds of the rate."""
CHUNK_ELEMENTS = 1 << 18
"""Numbers that elementwise passes work on at once on a CPU: 1 MiB of float32, which stays in cache."""


def rows_at_once(row_elements: int, num_rows: int, device: torch.device) -> int:
    """Rows of so many numbers that elementwise passes should work on at once: on a GPU all of them."""
    return max(1, CHUNK_ELEMENTS // row_elements if device.type == "cpu" else num_rows)


def slices(start: int, stop: int, size: int) -> Iterator[slice]:
    """Parts of at most ``size``; of nothing a single empty one."""
    for first in range(start, max(start + 1, stop), size):
        yield slice(first, min(first + size, stop))


def fill_product(features: Tensor, columns: Tensor, table: Tensor) -> None:
    """table [n, V] <- features [n, H] @ columns [H, V]; all of one type, without gradient."""
    width = COLUMNS if features.device.type == "cpu" else columns.shape[1]
    for words in slices(0, columns.shape[1], width):
        torch.mm(features, columns[:, words], out=table[:, words])
