"""What a proposal is, and the samples it draws for a batch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from raysq.config import Config
from raysq.types import BOS, EOS, PAD, Batch, Samples


class Proposal(Protocol):
    """A distribution q0(y | y*) of word sequences around a reference y* [T]; no bos, no eos, on either side.

    It proposes none of pad, bos, eos and unk, but an unk of the reference may stand where it stood.
    ``word_counts`` [V] says how often each word of the target vocabulary occurs in the training references.
    Implementations are picklable.
    """

    def draw(
        self,
        reference: NDArray[np.int32],
        num: int,
        word_counts: NDArray[np.int64],
        generator: np.random.Generator,
    ) -> list[NDArray[np.int32]]:
        """``num`` (0 or more) independent draws."""
        ...

    def log_density(
        self,
        sequences: Sequence[NDArray[np.int32]],
        reference: NDArray[np.int32],
        word_counts: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """log q0(y | y*) of each sequence, exact; -inf for what is never drawn."""
        ...


class Replacement(Config):
    """Base of the proposals that replace words and keep the length: they deal in rows [num, T]."""

    @abstractmethod
    def draw_rows(
        self,
        reference: NDArray[np.int32],
        num: int,
        word_counts: NDArray[np.int64],
        generator: np.random.Generator,
    ) -> NDArray[np.int32]:
        """Draws [num, T]."""

    @abstractmethod
    def rows_log_density(
        self, rows: NDArray[np.int32], reference: NDArray[np.int32], word_counts: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """log q0 [num] of rows [num, T]."""

    def draw(
        self,
        reference: NDArray[np.int32],
        num: int,
        word_counts: NDArray[np.int64],
        generator: np.random.Generator,
    ) -> list[NDArray[np.int32]]:
        """``num`` independent draws: see ``Proposal``."""
        return list(self.draw_rows(reference, num, word_counts, generator))

    def log_density(
        self,
        sequences: Sequence[NDArray[np.int32]],
        reference: NDArray[np.int32],
        word_counts: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """log q0 of each sequence: see ``Proposal``; -inf for those of another length."""
        T = len(reference)
        fitting = [words for words in sequences if len(words) == T]
        rows = np.array(fitting, np.int32).reshape(len(fitting), T)
        densities = self.rows_log_density(rows, reference, word_counts)
        if len(fitting) == len(sequences):
            return densities
        of_all = np.full(len(sequences), -np.inf)
        of_all[[len(words) == T for words in sequences]] = densities
        return of_all


def propose(
    proposal: Proposal,
    batch: Batch,
    num: int,
    moment_seed: tuple[int, int],
    *,
    keep_reference: bool,
    with_density: bool = True,
) -> Samples:
    """Draw the samples of a batch: ``num`` for each example, around the pair's own reference.

    They are a function of ``moment_seed`` and the example's id, whatever the batch, the rank or the process.

    Args:
        proposal: what to draw from.
        batch: the examples.
        num: N, at least 1.
        moment_seed: two integers in 0 .. 2^64 - 1, as (seed, epoch).
        keep_reference: the first of the N sequences is the reference itself, N - 1 are drawn.
        with_density: whether to compute ``log_proposal`` (of the kept reference too).

    Returns:
        Samples on the batch's device; ``log_proposal`` is float64, None without ``with_density``.
    """
    sequences: list[NDArray[np.int32]] = []
    densities: list[NDArray[np.float64]] = []
    generators = _example_generators(moment_seed, batch.example_ids.tolist())
    for references, generator in zip(batch.references, generators, strict=True):
        own = references[0]
        words = [own] if keep_reference else []
        words += proposal.draw(own, num - len(words), batch.word_counts, generator)
        if with_density:
            densities.append(proposal.log_density(words, own, batch.word_counts))
        sequences += words
    device = batch.source.device
    targets, inputs, mask = (torch.from_numpy(array).to(device) for array in _padded(sequences))
    return Samples(
        inputs=inputs,
        targets=targets,
        mask=mask,
        forced_eos=torch.zeros_like(mask),
        num_per_example=num,
        log_proposal=torch.from_numpy(np.concatenate(densities)).to(device) if with_density else None,
    )


def _example_generators(
    moment_seed: tuple[int, int], example_ids: Iterable[int]
) -> Iterator[np.random.Generator]:
    """A generator for each example in turn: Philox, keyed by the moment, counting from the example's id.

    It is one object, set back for each example: a quarter of the time that making a new one takes.
    """
    bits = np.random.Philox(key=np.array(moment_seed, np.uint64))
    generator = np.random.Generator(bits)
    start = bits.state
    for example_id in example_ids:
        start["state"]["counter"][3] = example_id  # the highest of four words: streams never meet
        bits.state = start
        yield generator


def _padded(
    sequences: Sequence[NDArray[np.int32]],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Targets, inputs and mask [M, T] of the sequences with eos."""
    lengths = np.array([len(words) for words in sequences], np.int64)[:, None]
    positions = np.arange(lengths.max(initial=0) + 1)
    is_word = positions < lengths
    targets = np.where(positions == lengths, EOS, PAD)
    targets[is_word] = np.concatenate(sequences)
    inputs = np.full_like(targets, BOS)
    inputs[:, 1:] = np.where(is_word, targets, PAD)[:, :-1]
    return targets, inputs, positions <= lengths
