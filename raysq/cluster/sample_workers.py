"""Sample workers: Ray processes that draw and score samples ahead of the learner.

They do what the learner would do (``LocalSource``), with random numbers that belong to the update and not to
the process: the same samples, whoever draws them. Proposals are the same to the last bit; samples of a policy
are, where the learner would compute on one CPU thread as a worker does, else up to rounding.
"""

from __future__ import annotations

import copy
import logging
import os
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from torch import Tensor

from raysq.algorithms import Algorithm, Networks
from raysq.algorithms.moment import Moment
from raysq.cluster.instruments import SAMPLE_CALLS, SAMPLE_WAIT, STALENESS, record
from raysq.cluster.workers import NOBODY, collect, create_workers, less_memory
from raysq.logs import Sender, about, begin
from raysq.memory import lack_of_memory_told
from raysq.models import EncoderDecoder
from raysq.rewards import LocalScorer
from raysq.rewards.base import RewardFunction
from raysq.rewards.scoring import PendingRewards, ScoredRewards
from raysq.training.samples import NO_NETWORKS, LocalSource, draws_from_policy, staleness, take_snapshot
from raysq.types import Batch, Rewards, Samples

LOOK_AHEAD = 4
"""Updates whose samples may be under way or waiting beside those of the present one: bounds the memory."""
NO_COUNTS = np.zeros(0, np.int64)
_log = logging.getLogger(__name__)

Travelling = TypeVar("Travelling", Batch, Samples, Rewards)


@dataclass(frozen=True, slots=True)
class Origin:
    """What samples come from; sent once for many batches."""

    algorithm: Algorithm
    word_counts: NDArray[np.int64]
    """[V] of the batches' split."""
    policy: EncoderDecoder | None
    """Its form, on no device; None where no network draws."""
    weights: dict[str, NDArray[Any]]
    """The policy's parameters and buffers."""

    def networks(self) -> Networks:
        """The policy alone; where there is none, a draw that asks it for anything fails."""
        if self.policy is None:
            return NO_NETWORKS
        policy = self.policy.to_empty(device="cpu")
        with torch.no_grad():
            for name, tensor in _tensors(policy).items():
                tensor.copy_(torch.tensor(self.weights[name]))
        return Networks(policy)


class SampleWorker:
    """Draws and scores batches; runs as a Ray process, made by ``create_sample_workers``."""

    def __init__(self, reward_function: RewardFunction, scale_by_length: bool, by: Sender) -> None:
        begin(by)
        torch.set_num_threads(1)  # stated, not inherited: more workers use more cores
        self._scorer = LocalScorer(reward_function, scale_by_length)
        self._scorer.warm_up()
        self._known: Any = None
        _log.info("draws samples and scores them with %s", type(reward_function).__name__)

    def draw(self, origin: tuple[Any], batch: Batch, moment: Moment) -> tuple[Samples, Rewards | None]:
        """Samples and rewards of a batch as it travels, with arrays in place of tensors; theirs are, too.

        ``origin`` is a reference to an ``Origin``, in a tuple so that Ray does not fetch it for every call.
        """
        if origin[0] != self._known:
            found: Origin = ray.get(origin[0])
            self._source = LocalSource(
                found.algorithm, found.networks(), self._scorer.reward_function, self._scorer
            )
            self._word_counts, self._known = found.word_counts, origin[0]
        with about(moment.stage), lack_of_memory_told("in a sample worker", less_memory("sample")):
            part = replace(with_tensors(batch), word_counts=self._word_counts)
            samples, pending = self._source.draw(part, moment)
            samples = replace(samples, memory=None)  # of a copy of the policy, without the learner's graph
            return with_arrays(samples), None if pending is None else with_arrays(pending.result())

    def process_id(self) -> int:
        """Id of this process; answers once the worker is warm."""
        return os.getpid()


def create_sample_workers(
    num_workers: int,
    reward_function: RewardFunction,
    *,
    scale_by_length: bool,
    by: Sender = NOBODY,
    resource: str | None = None,
) -> list[Any]:
    """Start sample workers and return their handles, at once; see ``create_workers``.

    Raises:
        ValueError: ``num_workers`` < 1.
    """
    return create_workers(
        "sample", SampleWorker, num_workers, reward_function, scale_by_length, by=by, resource=resource
    )


def wait_for(workers: Sequence[Any], timeout_seconds: float = 600.0) -> None:
    """Wait until every worker has started and compiled its reward: no update's time."""
    collect([worker.process_id.remote() for worker in workers], "sample", timeout_seconds)


class RemoteSource:
    """A ``SampleSource`` that deals the parts to sample workers in turn, as soon as they can be drawn.

    Its methods raise ``Unfinished`` when a worker is lost for good or does not answer, and the exception of
    the algorithm or the reward function when that raises.

    Args:
        algorithm: that ``drawn_by_workers``.
        networks: of the stage; the snapshot among them is kept here.
        workers: handles from ``create_sample_workers``, at least one.
        max_staleness: as the run has it, whatever the algorithm draws from.
        timeout_seconds: how long a call may take, restarts and queueing included [s].
    """

    def __init__(
        self,
        algorithm: Algorithm,
        networks: Networks,
        workers: Sequence[Any],
        max_staleness: int = 0,
        timeout_seconds: float = 600.0,
    ) -> None:
        if not workers:
            raise ValueError("RemoteSource needs at least one sample worker")
        self.waited_seconds = 0.0
        self._algorithm = algorithm
        self._networks = networks
        self._workers = workers
        self._staleness = staleness(algorithm, max_staleness)
        self._changes = draws_from_policy(algorithm) and "policy" in algorithm.trains
        self._timeout_seconds = timeout_seconds
        self._form = None
        if draws_from_policy(algorithm):
            self._form = copy.deepcopy(networks.sampling_policy()).requires_grad_(False).to("meta")
        self._origin: Any = None
        self._dealt = 0
        self._calls: deque[tuple[tuple[int, int], Any]] = deque()

    def look_ahead(self, update: int) -> int:
        """As far as samples come from the same policy as this update's, and the memory allows."""
        same = self._staleness - update % (self._staleness + 1) if self._changes else LOOK_AHEAD
        return min(same, LOOK_AHEAD)

    def announce(self, parts: Sequence[Batch], moment: Moment) -> None:
        """Have the parts drawn."""
        if not self._calls:  # as it is after evaluations and before snapshots: nothing drawn is of before
            take_snapshot(self._networks, moment.update, self._staleness)
            self._origin = ray.put(self._origin_now(parts[0]))
        for part in parts:
            worker = self._workers[self._dealt % len(self._workers)]
            self._dealt += 1
            batch = with_arrays(replace(part, word_counts=NO_COUNTS))
            call = worker.draw.remote((self._origin,), batch, moment)
            self._calls.append(((moment.update, part.offset), call))
        record(SAMPLE_CALLS, float(len(self._calls)))

    def draw(self, part: Batch, moment: Moment) -> tuple[Samples, PendingRewards | None]:
        """The samples of a part announced before, on its device; waits for them."""
        wanted, call = self._calls.popleft()
        assert wanted == (moment.update, part.offset), "parts are drawn in the order of their announcement"
        started = time.perf_counter()
        ((samples, rewards),) = collect([call], "sample", self._timeout_seconds)
        waited = time.perf_counter() - started
        self.waited_seconds += waited
        record(SAMPLE_WAIT, waited)
        record(SAMPLE_CALLS, float(len(self._calls)))
        record(STALENESS, float(moment.update % (self._staleness + 1) if self._changes else 0))
        device = part.source.device
        here = with_tensors(samples, device)
        return here, None if rewards is None else ScoredRewards(with_tensors(rewards, device), 0.0)

    def _origin_now(self, part: Batch) -> Origin:
        weights = {}
        if self._form is not None:
            tensors = _tensors(self._networks.sampling_policy())
            weights = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
        return Origin(self._algorithm, part.word_counts, self._form, weights)


def _tensors(network: EncoderDecoder) -> dict[str, Tensor]:
    return dict(network.named_parameters()) | dict(network.named_buffers())


def with_arrays(record: Travelling) -> Travelling:
    """The record as it travels, with numpy arrays in place of tensors: Ray does not pickle those."""
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    arrays: dict[str, Any] = {n: v.cpu().numpy() for n, v in values.items() if isinstance(v, Tensor)}
    return replace(record, **arrays)


def with_tensors(record: Travelling, device: torch.device | str = "cpu") -> Travelling:
    """The record that has travelled, with its tensors on ``device``; they are copies."""
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    tensors: dict[str, Any] = {
        n: torch.tensor(v, device=device) for n, v in values.items() if isinstance(v, np.ndarray)
    }
    return replace(record, **tensors)
