"""Reward workers: Ray processes that score samples while the learner goes on.

Rewards are pure functions, so a call that dies with its worker is made again on the restarted one, and how
many workers there are changes nothing but the time.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from raysq.cluster.instruments import (
    REWARD_CALLS,
    REWARD_LATENCY,
    REWARD_SCORING,
    REWARD_WAIT,
    Queue,
    record,
)
from raysq.cluster.workers import NOBODY, collect, create_workers, less_memory
from raysq.logs import Sender, about, begin, sender
from raysq.memory import lack_of_memory_told
from raysq.rewards.base import RewardFunction
from raysq.rewards.scoring import ScoringBatch, payoffs, token_rewards, warm_up
from raysq.types import Rewards, Samples

_log = logging.getLogger(__name__)
_queue = Queue(REWARD_CALLS)
"""Of this process, a learner."""


class RewardWorker:
    """Scores batches; runs as a Ray process, made by ``create_reward_workers``."""

    def __init__(self, reward_function: RewardFunction, by: Sender) -> None:
        begin(by)
        torch.set_num_threads(1)  # stated, not inherited: more workers use more cores
        self._reward_function = reward_function
        warm_up(reward_function)
        _log.info("scores with %s", type(reward_function).__name__)

    def score(self, batch: ScoringBatch, stage: str = "") -> NDArray[np.float64]:
        """``payoffs`` [M, T + 1] of a batch of a stage."""
        started = time.perf_counter()
        with about(stage), lack_of_memory_told("in a reward worker", less_memory("reward")):
            found = payoffs(self._reward_function, batch)
            record(REWARD_SCORING, time.perf_counter() - started)
        return found

    def process_id(self) -> int:
        """Id of this process; answers once the worker is warm."""
        return os.getpid()


def create_reward_workers(
    num_workers: int,
    reward_function: RewardFunction,
    *,
    by: Sender = NOBODY,
    num_cpus: float = 0.0,
    resource: str | None = None,
) -> list[Any]:
    """Start reward workers and return their handles, at once; ``RemoteScorer.warm_up`` waits for them.

    Args:
        num_workers: how many, at least 1.
        reward_function: what they score with; must be picklable and its class importable on every node.
        by: the run they work for, and how they log.
        num_cpus: CPUs that each reserves. None by default: scoring takes little, and a fraction reserved can
            leave a learner without its whole CPU. Reserve where scoring is heavy.
        resource: as `create_workers`.

    Raises:
        ValueError: ``num_workers`` < 1.
    """
    return create_workers(
        "reward", RewardWorker, num_workers, reward_function, by=by, num_cpus=num_cpus, resource=resource
    )


@dataclass(frozen=True, slots=True)
class RemoteScorer:
    """A ``RewardScorer`` that deals each batch evenly to reward workers, one call each. Picklable.

    Its methods, and ``result`` of what it submits, raise ``Unfinished`` when a worker is lost for good or
    does not answer, and the reward function's own exception when that raises.
    """

    workers: Sequence[Any]
    """Handles from ``create_reward_workers``."""
    scale_by_length: bool = True
    """Whether rewards by token are multiplied by the length of the pair's own reference."""
    timeout_seconds: float = 600.0
    """How long a call may take, restarts included [s]."""

    def __post_init__(self) -> None:
        if not self.workers:
            raise ValueError("RemoteScorer needs at least one reward worker")

    def submit(
        self, samples: Samples, references: Sequence[Sequence[NDArray[np.int32]]]
    ) -> PendingRemoteRewards:
        """Send the batch off; returns in about a millisecond."""
        batch = ScoringBatch.of(samples, references)
        M = len(batch.lengths)
        num_parts = min(len(self.workers), max(M, 1))
        bounds = [M * part // num_parts for part in range(num_parts + 1)]
        stage = sender().stage
        calls = [
            worker.score.remote(batch.between(first, last), stage)
            for worker, first, last in zip(self.workers, bounds, bounds[1:], strict=False)
        ]
        scale = batch.scale(by_length=self.scale_by_length)
        return PendingRemoteRewards(calls, batch.lengths, scale, samples.targets.device, self.timeout_seconds)

    def warm_up(self) -> None:
        """Wait until every worker has started and compiled its kernel."""
        collect([worker.process_id.remote() for worker in self.workers], "reward", self.timeout_seconds)


class PendingRemoteRewards:
    """``PendingRewards`` of calls in flight."""

    def __init__(
        self,
        calls: list[Any],
        lengths: NDArray[np.int64],
        scale: NDArray[np.float64],
        device: torch.device,
        timeout_seconds: float,
    ) -> None:
        self.waited_seconds = 0.0
        self._sent = time.perf_counter()
        self._calls = calls
        self._lengths = lengths
        self._scale = scale
        self._device = device
        self._timeout_seconds = timeout_seconds
        self._rewards: Rewards | None = None
        _queue.add(len(calls))

    def result(self) -> Rewards:
        """The rewards, in the order of the samples; waits for the workers that are not done."""
        if self._rewards is None:
            started = time.perf_counter()
            parts = collect(self._calls, "reward", self._timeout_seconds)
            ended = time.perf_counter()
            self.waited_seconds += ended - started
            record(REWARD_LATENCY, ended - self._sent)
            record(REWARD_WAIT, ended - started)
            _queue.add(-len(self._calls))
            self._rewards = token_rewards(np.concatenate(parts), self._lengths, self._scale, self._device)
        return self._rewards
