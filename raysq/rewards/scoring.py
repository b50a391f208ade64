"""From samples to rewards: what is scored, who scores it, and how scores become rewards by token."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from raysq.rewards.base import PackedReferences, RewardFunction, pack
from raysq.types import EOS, UNK, Rewards, Samples


class PendingRewards(Protocol):
    """Rewards on their way."""

    @property
    def waited_seconds(self) -> float:
        """Time the caller has lost to scoring so far [s]."""
        ...

    def result(self) -> Rewards:
        """The rewards, on the device of the samples; blocks until they are there, and adds to the wait."""
        ...


class RewardScorer(Protocol):
    """Scores batches of samples, here or elsewhere. The result never depends on where."""

    def submit(self, samples: Samples, references: Sequence[Sequence[NDArray[np.int32]]]) -> PendingRewards:
        """Start to score samples (M = B N) against the references of their B examples; see ``Batch``."""
        ...

    def warm_up(self) -> None:
        """Block until scoring runs at full speed (workers started, kernels compiled)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ScoringBatch:
    """Sequences to be scored, as they travel."""

    hypotheses: NDArray[np.int32]
    """[M, T] words, right-padded; what stands past the end is ignored."""
    lengths: NDArray[np.int64]
    """[M] words of each."""
    references: PackedReferences
    """Of each of the M sequences."""

    @staticmethod
    def of(samples: Samples, references: Sequence[Sequence[NDArray[np.int32]]]) -> ScoringBatch:
        """The words of ``samples``; the references of an example serve each of its N sequences.

        Raises:
            ValueError: not B N sequences for B lists of references, or a sequence without its eos.
        """
        N = samples.num_per_example
        lengths = samples.lengths.cpu().numpy()
        if len(lengths) != N * len(references):
            raise ValueError(
                f"{len(lengths)} samples, but {N} for each of {len(references)} examples expected"
            )
        if (without := np.flatnonzero(lengths < 0)).size:
            raise ValueError(f"sample {without[0]} is empty: every sample ends with eos (id {EOS})")
        return ScoringBatch(
            samples.targets.to("cpu", torch.int32).numpy(),
            lengths,
            pack([of_one for of_one in references for _ in range(N)]),
        )

    def between(self, first: int, last: int) -> ScoringBatch:
        """Sequences ``first .. last - 1``."""
        return ScoringBatch(
            self.hypotheses[first:last], self.lengths[first:last], self.references.between(first, last)
        )

    def scale(self, *, by_length: bool) -> NDArray[np.float64]:
        """Factor of the rewards by token [M]: T*, the words of the pair's own reference, or 1."""
        own = self.references.own_lengths
        return own.astype(np.float64) if by_length else np.ones(len(own))


def payoffs(reward_function: RewardFunction, batch: ScoringBatch) -> NDArray[np.float64]:
    """Payoffs R(y_{1:t}) [M, T + 1] for t = 0..T, the empty prefix first.

    Raises:
        ValueError: the reward function returned something of another shape.
    """
    M, T = batch.hypotheses.shape
    empty = reward_function.empty_score(batch.references)
    prefixes = reward_function.prefix_scores(batch.hypotheses, batch.lengths, batch.references)
    if empty.shape != (M,) or prefixes.shape != (M, T):
        raise ValueError(
            f"{type(reward_function).__name__} returned scores {list(prefixes.shape)} and empty scores "
            f"{list(empty.shape)}; expected [{M}, {T}] and [{M}]"
        )
    return np.concatenate((empty[:, None], prefixes), axis=1)


def token_rewards(
    payoffs: NDArray[np.float64],
    lengths: NDArray[np.int64],
    scale: NDArray[np.float64],
    device: torch.device | str = "cpu",
) -> Rewards:
    """Dai et al. (2018) Eq. 13: r_t = scale (R(y_{1:t}) - R(y_{1:t-1})), so that the sum telescopes:

        sum_t r_t = scale (R(y) - R(empty))

    The step of eos (t = length + 1) and padding earn 0.

    Args:
        payoffs: [M, T + 1] R(y_{1:t}) for t = 0..T; values past ``lengths`` are ignored.
        lengths: [M] words of each sequence, eos not counted.
        scale: [M] factor of each sequence's rewards.
        device: where the result shall live; its type is torch's default float.
    """
    steps = scale[:, None] * np.diff(payoffs, axis=1)
    steps[np.arange(steps.shape[1]) >= lengths[:, None]] = 0.0
    sequence = payoffs[np.arange(len(payoffs)), lengths]
    dtype = torch.get_default_dtype()
    return Rewards(
        *(torch.as_tensor(values, dtype=dtype, device=device) for values in (sequence, steps, scale))
    )


def warm_up(reward_function: RewardFunction) -> None:
    """Score one word, so that kernels are compiled (or loaded from their cache) before the first batch."""
    word = np.array([[UNK + 1]], np.int32)
    payoffs(reward_function, ScoringBatch(word, np.ones(1, np.int64), pack([[word[0]]])))


@dataclass(frozen=True, slots=True)
class LocalScorer:
    """A ``RewardScorer`` that scores in this process, at once: for BLEU quicker than a remote call."""

    reward_function: RewardFunction
    scale_by_length: bool = True
    """Whether rewards by token are multiplied by the length of the pair's own reference."""

    def submit(self, samples: Samples, references: Sequence[Sequence[NDArray[np.int32]]]) -> ScoredRewards:
        """Score now; the time it takes is the wait."""
        started = time.perf_counter()
        batch = ScoringBatch.of(samples, references)
        rewards = token_rewards(
            payoffs(self.reward_function, batch),
            batch.lengths,
            batch.scale(by_length=self.scale_by_length),
            samples.targets.device,
        )
        return ScoredRewards(rewards, time.perf_counter() - started)

    def warm_up(self) -> None:
        """Compile the kernel."""
        warm_up(self.reward_function)


@dataclass(frozen=True, slots=True)
class ScoredRewards:
    """``PendingRewards`` that are there already."""

    rewards: Rewards
    waited_seconds: float

    def result(self) -> Rewards:
        """The rewards."""
        return self.rewards
