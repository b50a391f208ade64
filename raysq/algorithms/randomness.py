"""Random numbers that belong to the global batch: a rank draws for all ranks and takes its slice."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from raysq.models import Seq2Seq
from raysq.types import Batch


def seeded_generator(*parts: object) -> torch.Generator:
    """CPU generator whose seed is a digest of the parts: the same everywhere, whatever ran before."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@dataclass(frozen=True, slots=True)
class Randomness:
    """The random numbers of one update; needs no checkpoint, being a function of its fields."""

    seed: int
    stage: str
    update: int

    def uniforms(self, purpose: str, batch: Batch, num_per_example: int, *shape: int) -> Tensor:
        """Numbers in [0, 1) of shape [M, *shape] for this rank's M = B N sequences."""
        generator = seeded_generator(self.seed, self.stage, self.update, purpose)
        drawn = torch.rand(batch.global_size * num_per_example, *shape, generator=generator)
        start = batch.offset * num_per_example
        return drawn[start : start + len(batch.example_ids) * num_per_example].to(batch.source.device)

    def dropout_mask(
        self, purpose: str, batch: Batch, num_per_example: int, T: int, network: Seq2Seq
    ) -> Tensor | None:
        """Mask [M, T, H] at the network's rate p: 0 with probability p, else 1 / (1 - p); None at p = 0."""
        rate = network.dropout
        if rate == 0:
            return None
        kept = self.uniforms(purpose, batch, num_per_example, T, network.hidden_size) >= rate
        return kept.to(network.output.weight.dtype).div_(1 - rate)
