"""Where a stage stands, and the random numbers that belong there.

Random numbers belong to the global batch: a rank draws for all ranks and takes its slice.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from raysq.models import EncoderDecoder
from raysq.types import Batch


def seeded_generator(*parts: object) -> torch.Generator:
    """CPU generator whose seed is a digest of the parts: the same everywhere, whatever ran before."""
    return torch.Generator().manual_seed(_digest(*parts))


def _digest(*parts: object) -> int:
    """Number below 2^63 from the parts."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True, slots=True)
class Moment:
    """One update of a stage: what schedules are functions of, and its random numbers.

    Needs no checkpoint, being a function of its fields.
    """

    seed: int
    stage: str
    update: int
    """From 0."""
    epoch: int = 0
    """From 0."""
    update_of_epoch: int = 0
    """From 0."""
    decays: int = 0
    """Evaluations so far that did not improve and were answered: by a lower rate, or a next mixture."""

    @property
    def of_epoch(self) -> tuple[int, int]:
        """Seed of what is drawn for an example once an epoch, whatever batch it is in: (seed, epoch)."""
        return _digest(self.seed, self.stage, "proposal"), self.epoch

    def uniforms(self, purpose: str, batch: Batch, num_per_example: int, *shape: int) -> Tensor:
        """Numbers in [0, 1) of shape [M, *shape] for this rank's M = B N sequences."""
        generator = seeded_generator(self.seed, self.stage, self.update, purpose)
        drawn = torch.rand(batch.global_size * num_per_example, *shape, generator=generator)
        start = batch.offset * num_per_example
        return drawn[start : start + len(batch.example_ids) * num_per_example].to(batch.source.device)

    def dropout_mask(
        self, purpose: str, batch: Batch, num_per_example: int, T: int, network: EncoderDecoder
    ) -> Tensor | None:
        """Mask [M, T, H] at the network's rate p: 0 with probability p, else 1 / (1 - p); None at p = 0."""
        rate = network.dropout
        if rate == 0:
            return None
        kept = self.uniforms(purpose, batch, num_per_example, T, network.hidden_size) >= rate
        return kept.to(network.output.weight.dtype).div_(1 - rate)
