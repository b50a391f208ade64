"""In which order a stage's examples come: which batch is whose, at every update."""

from __future__ import annotations

import numpy as np

from raysq.data.batches import collate, epoch_batches
from raysq.data.split import Split
from raysq.training.collective import Collective
from raysq.types import Batch


class Order:
    """The batches of a stage, a function of its seed and the update alone.

    Args:
        split: that is learnt from.
        batch_size: of the global batch.
        seed: of the stage.
        collective: the group of learners that share every batch.
        gradient_accumulation: parts that a learner's slice is wished to have.
    """

    def __init__(
        self, split: Split, batch_size: int, seed: int, collective: Collective, gradient_accumulation: int
    ) -> None:
        self._split, self._batch_size, self._seed = split, batch_size, seed
        self._collective, self._wished_parts = collective, gradient_accumulation
        self._epoch = 0
        self._batches = self._batches_of(0)
        self.batches_per_epoch = len(self._batches)
        """That of every epoch. [updates]"""

    def place(self, update: int) -> tuple[int, int]:
        """Epoch of an update, and its number in it; both from 0."""
        return divmod(update, self.batches_per_epoch)

    def example_ids(self, update: int) -> np.ndarray:
        """Positions in the split of an update's global batch."""
        epoch, index = self.place(update)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._batches_of(epoch)
        return self._batches[index]

    def parts(self, update: int) -> list[Batch]:
        """This learner's slice of an update's batch, in as many parts as gradients are accumulated over."""
        ids, group = self.example_ids(update), self._collective
        parts = max(1, min(self._wished_parts, len(ids) // group.world_size))
        places = range(group.rank * parts, (group.rank + 1) * parts)
        return [collate(self._split, ids, place, group.world_size * parts) for place in places]

    def _batches_of(self, epoch: int) -> list[np.ndarray]:
        lengths = self._split.source_lengths, self._split.target_lengths
        return epoch_batches(*lengths, self._batch_size, self._seed, epoch)
