"""The few types that flow through raysq, and the legend of shapes.

Legend, used everywhere: B examples, N sequences per example, M = B N sequences, S source positions,
T target positions, V vocabulary, H hidden units. Batch first. Masks are bool, True = real token. Ids are
int64 in tensors and int32 in numpy. The first four ids of every vocabulary are pad, bos, eos, unk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:  # torch takes seconds to load, and preparing text needs none of it
    from torch import Tensor

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")
FIRST_ACTION = EOS
"""pad and bos are no actions: a policy may choose the ids from here on."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A slice of a global batch: a rank's, or a part of it."""

    example_ids: Tensor
    """[B] position of each example in its split."""
    source: Tensor
    """[B, S] source words and eos, right-padded; of images [B, 1, F] their features, float32."""
    source_mask: Tensor
    """[B, S]"""
    reference: Tensor
    """[B, T] reference words and eos, right-padded."""
    reference_mask: Tensor
    """[B, T]"""
    references: Sequence[Sequence[np.ndarray]]
    """Per example all references of its source (int32 word ids, no specials added); the pair's own first."""
    global_size: int
    """Examples in the global batch, over all ranks."""
    offset: int
    """Where this slice starts in the global batch."""
    longest_reference: int
    """Longest reference of the global batch, counted with bos and eos (the L of section 6)."""
    word_counts: np.ndarray
    """[V] how often each word of the target vocabulary occurs in the references of its split; int64."""

    def to(self, device: str) -> Batch:
        """The same batch with its tensors on ``device``."""
        names = ("example_ids", "source", "source_mask", "reference", "reference_mask")
        return replace(self, **{n: getattr(self, n).to(device, non_blocking=True) for n in names})


@dataclass(frozen=True, slots=True)
class Memory:
    """An encoded sequence, as the decoder needs it."""

    states: Tensor
    """[M, S, H]"""
    keys: Tensor
    """[M, S, H] what the attention compares queries with."""
    mask: Tensor
    """[M, S]"""
    hidden: Tensor
    """[M, H] first hidden state of the decoder."""
    cell: Tensor
    """[M, H] first cell state of the decoder."""

    def repeat(self, times: int) -> Memory:
        """Each row ``times`` times in a row: memory of the M = B N sequences of B examples."""
        if times == 1:
            return self
        return Memory(*(getattr(self, name).repeat_interleave(times, 0) for name in self.__slots__))

    def detach(self) -> Memory:
        """The same without gradient."""
        return Memory(*(getattr(self, name).detach() for name in self.__slots__))

    def select(self, rows: Tensor) -> Memory:
        """Rows [K] int64 of the memory."""
        return Memory(*(getattr(self, name).index_select(0, rows) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Samples:
    """Sequences to train on, whatever drew them: a reference, a proposal, the policy, or a mixture.

    Sequence m belongs to example ``m // N``; M = B N.
    """

    inputs: Tensor
    """[M, T] what the decoder reads: bos, y_1, .., y_{T-1}."""
    targets: Tensor
    """[M, T] what it emits: y_1, .., y_T with eos last, right-padded."""
    mask: Tensor
    """[M, T]"""
    forced_eos: Tensor
    """[M, T] True where the maximum length left no choice but eos."""
    num_per_example: int
    """N"""
    dropout_mask: Tensor | None = None
    """[M, T, H] the scaled dropout mask of the pass that drew them, to be used again when teacher-forced:
    ones where the policy drew without dropout. None: no policy drew them, and a mask is drawn then."""
    memory: Memory | None = None
    """B encoded sources of that pass, with their graph: a policy that drew need not read them again."""
    from_reference: Tensor | None = None
    """[M, T] True where the target was copied from the reference; None: nowhere, or not known."""
    log_probs: Tensor | None = None
    """[M, T] log-probability of each target under what drew it: the policy, unless another choice was made; 0
    at padding, where eos was forced and where a token was given."""
    log_proposal: Tensor | None = None
    """[M] log q0(y | y*) of each sequence under the proposal that drew it; exact."""

    @property
    def lengths(self) -> Tensor:
        """[M] words of each sequence, eos not counted (it is always there)."""
        return self.mask.sum(1) - 1


@dataclass(frozen=True, slots=True)
class Rewards:
    """What the sequences earned."""

    sequence: Tensor
    """[M] payoff R(y), unscaled."""
    token: Tensor
    """[M, T] r_t = scale (R(y_{1:t}) - R(y_{1:t-1})), Eq. 13; the eos step earns 0."""
    scale: Tensor
    """[M] the factor of ``token``: T* of the pair's own reference (or 1)."""


Unit = Literal["example", "sequence", "token"]
"""What a sum of the loss is divided by: examples (B), sequences (B N), or tokens of the samples with eos."""


@dataclass(frozen=True, slots=True)
class Objective:
    """One term of the loss, summed over a part of the global batch and not yet normalised.

    The step minimises sum over terms of coefficient * total / (number of its units in the global batch).
    """

    name: str
    """Logged as ``train/loss_<name>``."""
    total: Tensor
    """Scalar: the term summed over this part's rows, differentiable."""
    per: Unit
    """What the paper averages over."""
    coefficient: float = 1.0


MetricSums = dict[str, tuple[float, float]]
"""Metrics of an update as (sum, weight), added over ranks before they are divided."""
