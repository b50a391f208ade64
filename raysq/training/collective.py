"""What learners tell each other: sums and gathered objects; a single learner talks to nobody."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Item = TypeVar("Item")


class Collective:
    """The group of learners of a run; every call is made by all of them, in the same order."""

    def __init__(self, rank: int = 0, world_size: int = 1) -> None:
        self.rank = rank
        self.world_size = world_size

    def wait(self, device: str = "cpu") -> None:
        """Return when all learners have come here."""
        self.sums([0.0], device)

    def sums(self, values: list[float], device: str = "cpu") -> list[float]:
        """Each value summed over the learners."""
        if self.world_size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Sum the gradients of the parameters over the learners, in place, as one flat bucket."""
        if self.world_size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def gather(self, items: list[Item]) -> list[Item]:
        """The learners' lists, joined in the order of their ranks, on every learner."""
        if self.world_size == 1:
            return items
        parts: list[list[Item]] = [[] for _ in range(self.world_size)]
        dist.all_gather_object(parts, items)
        return [item for part in parts for item in part]
