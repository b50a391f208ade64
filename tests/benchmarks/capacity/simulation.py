"""A cluster that trains, event by event: learners, their sums, reward and sample workers, links, the driver.

What is simplified: a learner's sums of an update are one meeting at its end; they take what the ring's
formula says; evaluations and checkpoints are left out; links are those of the learners' nodes alone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from tests.benchmarks.capacity.events import Clock, Event, Host, Line, Process, Worker
from tests.benchmarks.capacity.formulas import all_reduces_seconds, reward_calls

PARTS = ("compute", "submit", "rewards", "samples", "stragglers", "all_reduce")
"""What the time of an update goes to, in the learner that comes last to the sums: arithmetic, as much as
learners have on average; sending rewards off; waiting for rewards; for samples; more arithmetic than on
average; the sums."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """What everything takes alone. [s] unless said otherwise"""

    draw: float = 0.0
    """Of a learner, for samples of its own."""
    window: float = 0.0
    """Of a learner, between sending its samples to reward workers and needing the rewards."""
    rest: float = 0.0
    """Of a learner, after that."""
    pairs: int = 0
    """Sequences of a learner that are scored in an update; 0: the samples bring their rewards. [sequences]"""
    submit_call: float = 0.0
    """Of a learner, for each call to a reward worker."""
    submit_pair: float = 0.0
    """Of a learner, for each sequence in these calls."""
    call: float = 0.0
    """Of a call on its way to a worker and back."""
    service: float = 0.0
    """Of a reward worker for a call, whatever is in it."""
    pair: float = 0.0
    """Of a reward worker for a sequence."""
    sums: int = 0
    """All-reduces in an update. [calls]"""
    gradient_bytes: float = 0.0
    """That they sum."""
    bandwidth: float = math.inf
    """Between two nodes, and between two learners. [bytes/s]"""
    latency: float = 0.0
    """Of a message between them."""
    weights_bytes: float = 0.0
    """Of the policy, as a snapshot for sample workers."""
    samples_bytes: float = 0.0
    """That come back from a sample worker for a learner's share of a batch."""
    put: float = 0.0
    """Of a learner, for a byte that it puts into its object store. [s/byte]"""
    get: float = 0.0
    """Of a sample worker, for a byte of a snapshot that it copies into its policy. [s/byte]"""
    remote_draw: float = 0.0
    """Of a sample worker, for a learner's share of a batch with its rewards."""
    poll: float = 0.0
    """Of Ray Train's controller, for a look at one learner."""
    poll_interval: float = 0.2
    """That it leaves between two looks."""
    delivery: float = 0.0
    """Of the driver, to bring an update's share of a journal's line to MLflow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What there is of each, and where."""

    learners: int = 1
    reward_workers: int = 1
    sample_workers: int = 0
    """Of each learner; 0: it draws itself."""
    max_staleness: int = 0
    """Updates by which the policy of remote samples may lag: at most 4, as far as workers draw ahead."""
    cores: int = 0
    """That all processes share on one machine; 0: every process has a core, and every learner a node."""
    when_full: float = 1.0
    """``formulas.slowdown`` on that machine."""
    workers_per_node: int = 16
    """Sample workers on a node, which fetches a snapshot once."""
    variation: float = 0.0
    """Standard deviation of a learner's computing time over its mean, from update to update."""


@dataclass(slots=True)
class Outcome:
    """What a simulated training was like."""

    update: float
    """Mean time of an update [s]."""
    shares: dict[str, float]
    """Of an update's time, by ``PARTS``; they add up to 1."""
    busy: dict[str, float]
    """Share of the time that it works: reward worker (the busiest), sample worker, link out of a learner's
    node, controller, delivery."""


@dataclass(slots=True)
class _Learner:
    host: Host
    link: Line
    samplers: list[Worker]
    spent: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    """In this update."""


class Training:
    """One run of the simulation; everything random comes from its seed.

    Args:
        times: what everything takes.
        cluster: what there is.
        seed: of the learners' variation.

    Raises:
        ValueError: a staleness beyond what workers draw ahead.
    """

    def __init__(self, times: Times, cluster: Cluster, seed: int = 1) -> None:
        if cluster.max_staleness > 4:
            raise ValueError("max_staleness must be at most 4")
        self._times, self._cluster = times, cluster
        self._clock, self._random = Clock(), random.Random(seed)
        shared = Host(self._clock, cluster.cores, cluster.when_full) if cluster.cores else None

        def host() -> Host:
            return shared or Host(self._clock, 1)

        self._scorers = [Worker(self._clock, host()) for _ in range(cluster.reward_workers)]
        self._learners = [
            _Learner(
                host(),
                Line(self._clock),
                [Worker(self._clock, host()) for _ in range(cluster.sample_workers)],
            )
            for _ in range(cluster.learners)
        ]
        self._controller, self._delivery = Line(self._clock), Line(self._clock)
        self._sum_seconds = all_reduces_seconds(
            times.gradient_bytes, times.sums, cluster.learners, times.bandwidth, times.latency
        )
        self._meeting, self._arrived = Event(), 0
        self._ends: list[float] = []
        self._spent = dict.fromkeys(PARTS, 0.0)

    def run(self, updates: int, warm_up: int = 0) -> Outcome:
        """Simulate updates; those of the warm-up do not count in the mean time, but do in the shares."""
        ends = [self._clock.start(self._learn(learner, updates)) for learner in self._learners]
        self._clock.start(self._poll())
        self._clock.run(self._clock.all_of(ends))
        total = self._clock.now
        began = self._ends[warm_up - 1] if warm_up else 0.0
        everything = sum(self._spent.values())
        return Outcome(
            update=(self._ends[-1] - began) / (updates - warm_up),
            shares={part: spent / everything if everything else 0.0 for part, spent in self._spent.items()},
            busy={
                "reward_worker": _busiest([worker.busy for worker in self._scorers], total),
                "sample_worker": _busiest([w.busy for one in self._learners for w in one.samplers], total),
                "link": _busiest([one.link.busy for one in self._learners], total),
                "controller": _busiest([self._controller.busy], total),
                "delivery": _busiest([self._delivery.busy], total),
            },
        )

    # -- processes

    def _learn(self, learner: _Learner, updates: int) -> Process:
        times, remote = self._times, self._cluster.sample_workers > 0
        drawn: list[Event] = []
        for update in range(updates):
            factor, learner.spent = self._factor(), dict.fromkeys(PARTS, 0.0)
            if remote and update % (self._cluster.max_staleness + 1) == 0:
                yield from self._spend(learner, "samples", learner.host.work(times.weights_bytes * times.put))
                drawn = self._announce(learner, min(self._cluster.max_staleness + 1, updates - update))
            if remote:
                yield from self._spend(learner, "samples", drawn.pop(0))
            else:
                yield from self._spend(learner, "compute", learner.host.work(times.draw * factor))
            replies = yield from self._submit(learner)
            yield from self._spend(learner, "compute", learner.host.work(times.window * factor))
            yield from self._spend(learner, "rewards", self._clock.all_of(replies))
            yield from self._spend(learner, "compute", learner.host.work(times.rest * factor))
            yield from self._meet(learner)

    def _submit(self, learner: _Learner) -> Generator[Event, None, list[Event]]:
        """Send a batch to the reward workers; gives the replies."""
        times = self._times
        if not times.pairs:
            return []
        calls = reward_calls(times.pairs, len(self._scorers))
        cost = calls * times.submit_call + times.pairs * times.submit_pair
        yield from self._spend(learner, "submit", learner.host.work(cost))
        seconds = times.service + times.pair * times.pairs / calls
        there = self._clock.after(times.call / 2)
        return [
            self._clock.start(self._returned(worker.call(seconds, there))) for worker in self._scorers[:calls]
        ]

    def _returned(self, answered: Event) -> Process:
        yield answered
        yield self._clock.after(self._times.call / 2)

    def _announce(self, learner: _Learner, count: int) -> list[Event]:
        """Have the samples of so many updates drawn from the present policy; gives their arrivals."""
        times, workers = self._times, learner.samplers
        alone = self._cluster.cores > 0
        nodes = math.ceil(len(workers) / self._cluster.workers_per_node)
        copies = [
            self._clock.after(0.0)
            if alone
            else learner.link.serve(times.weights_bytes / times.bandwidth + times.latency)
            for _ in range(nodes)
        ]
        arrivals = []
        for j in range(count):
            place = j % len(workers)
            fresh = j < len(workers)  # its first draw from this snapshot
            seconds = times.remote_draw + (times.weights_bytes * times.get if fresh else 0.0)
            drawn = workers[place].call(seconds, copies[place // self._cluster.workers_per_node])
            arrivals.append(self._clock.start(self._brought(drawn, alone)))
        return arrivals

    def _brought(self, drawn: Event, alone: bool) -> Process:
        yield drawn
        if not alone:
            seconds = self._times.samples_bytes / self._times.bandwidth + self._times.latency
            yield self._clock.after(seconds)
        yield self._clock.after(self._times.call)

    def _meet(self, learner: _Learner) -> Process:
        """Wait for the slowest learner, then for the sums."""
        self._arrived += 1
        meeting = self._meeting
        if self._arrived == len(self._learners):
            self._arrived, self._meeting = 0, Event()
            self._account(learner)
            self._clock.at(self._clock.now + self._sum_seconds, meeting.happen)
            self._ends.append(self._clock.now + self._sum_seconds)
            if self._times.delivery:
                self._delivery.serve(self._times.delivery)
        yield meeting

    def _poll(self) -> Process:
        times = self._times
        while times.poll:
            began = self._clock.now
            yield self._controller.serve(len(self._learners) * times.poll)
            yield self._clock.after(times.poll_interval - (self._clock.now - began))

    # -- accounts

    def _account(self, last: _Learner) -> None:
        """Of an update, when the last learner has come."""
        average = sum(one.spent["compute"] for one in self._learners) / len(self._learners)
        more = max(0.0, last.spent["compute"] - average)
        for part, spent in last.spent.items():
            self._spent[part] += spent
        self._spent["compute"] -= more
        self._spent["stragglers"] += more
        self._spent["all_reduce"] += self._sum_seconds

    def _spend(self, learner: _Learner, part: str, event: Event) -> Process:
        began = self._clock.now
        yield event
        learner.spent[part] += self._clock.now - began

    def _factor(self) -> float:
        """Of an update's computing time: lognormal with mean 1."""
        variation = self._cluster.variation
        if not variation:
            return 1.0
        variance = math.log1p(variation**2)
        return self._random.lognormvariate(-variance / 2, math.sqrt(variance))


def _busiest(busy: Sequence[float], total: float) -> float:
    return max(busy, default=0.0) / total if total else 0.0
