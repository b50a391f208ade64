"""Where a growing cluster saturates: the simulation at published sizes, up to a thousand nodes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from raysq.cluster.connection import ENVIRONMENT
from raysq.training.stage import LOG_EVERY
from tests.benchmarks.capacity import formulas
from tests.benchmarks.capacity.constants import Constants, Record, Workload
from tests.benchmarks.capacity.predictions import call_seconds
from tests.benchmarks.capacity.settings import CapacitySettings
from tests.benchmarks.capacity.simulation import Cluster, Outcome, Times, Training

SIZES = (1, 4, 16, 64, 250, 1000)
MOST_NODES = 1000
STALENESS = 3
WORKERS_PER_NODE = 16
POLL_INTERVAL = float(ENVIRONMENT["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"])
FULL = 0.95
"""Busy share from which something is called saturated."""
NAMES = {
    "submit": "sending rewards off",
    "rewards": "reward workers",
    "samples": "sample workers and object store",
    "stragglers": "the slowest learner",
    "all_reduce": "all-reduce",
}
BUSY_NAMES = {
    "reward_worker": "reward workers",
    "sample_worker": "sample workers",
    "link": "object store's link",
    "controller": "driver (Ray Train's polling)",
    "delivery": "driver (MLflow)",
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """A kind of cluster, at any number of learners with 50 sentences each."""

    name: str
    speed: float
    """Of a learner, in cores of the measured machine."""
    bandwidth: float
    """[bytes/s]"""
    reward_workers: int = 0
    """For each learner; 0: as few as are enough."""
    remote: bool = False
    """Whether sample workers draw, as few as are enough, from a snapshot every fourth update."""


@dataclass(frozen=True, slots=True)
class Size:
    """A scenario at a number of learners."""

    scenario: Scenario
    learners: int
    nodes: int
    reward_workers: int
    sample_workers: int
    """Of all learners."""
    outcome: Outcome

    @property
    def limits(self) -> tuple[str, ...]:
        """What holds it up: what takes more of an update than the arithmetic, and what is full."""
        shares = self.outcome.shares
        taken = {NAMES[part]: share for part, share in shares.items() if part in NAMES}
        found = [name for name, share in taken.items() if share > shares["compute"]]
        busy = self.outcome.busy
        return (*found, *(BUSY_NAMES[name] for name in BUSY_NAMES if busy[name] >= FULL))


def scenarios(settings: CapacitySettings) -> tuple[Scenario, ...]:
    """Those of the page."""
    link = settings.bandwidth_gbit * 1e9 / 8
    fast = f"learners {settings.speed:g} times as fast"
    gbit = f"{settings.bandwidth_gbit:g} Gbit/s"
    return (
        Scenario(f"learners as fast as a core here, {gbit}", 1.0, link),
        Scenario(f"{fast}, {gbit}", settings.speed, link),
        Scenario(f"{fast}, {10 * settings.bandwidth_gbit:g} Gbit/s", settings.speed, 10 * link),
        Scenario(f"{fast}, {gbit}, 8 reward workers a learner", settings.speed, link, reward_workers=8),
        Scenario(f"{fast}, {gbit}, sample workers", settings.speed, link, remote=True),
    )


def sizes(settings: CapacitySettings, record: Record) -> Iterator[Size]:
    """Every scenario at every size that a thousand nodes hold."""
    constants, workload = record.constants, record.workloads["published"]
    for scenario in scenarios(settings):
        times = times_of(constants, workload, scenario, settings.latency_us / 1e6)
        workers = samplers(times) if scenario.remote else 0
        for learners in SIZES:
            nodes = learners * (1 + math.ceil(workers / WORKERS_PER_NODE))
            if nodes > MOST_NODES:
                learners = MOST_NODES * learners // nodes
                nodes = learners * (1 + math.ceil(workers / WORKERS_PER_NODE))
            scorers = scenario.reward_workers * learners or enough(times, learners)
            cluster = Cluster(
                learners=learners,
                reward_workers=scorers,
                sample_workers=workers,
                max_staleness=STALENESS if scenario.remote else 0,
                workers_per_node=WORKERS_PER_NODE,
                variation=settings.variation,
            )
            outcome = Training(times, cluster).run(*_updates(scenario, learners))
            yield Size(scenario, learners, nodes, scorers, workers * learners, outcome)


def _updates(scenario: Scenario, learners: int) -> tuple[int, int]:
    """Updates to simulate, and those of them that do not count: two cycles, or fewer the more take part."""
    if scenario.remote:
        return 2 * (STALENESS + 1), STALENESS + 1
    return (12, 2) if learners <= 64 else (3, 1)


def times_of(constants: Constants, workload: Workload, scenario: Scenario, latency: float) -> Times:
    """What an ERAC update of one learner with a batch of its own takes."""
    sentences = workload.sentences
    pairs = sentences * workload.pairs["erac"]
    whole, draw = workload.updates["erac"].at(sentences), workload.draw.at(sentences)
    window = 0.0 if scenario.remote else workload.window * whole
    calls_pairs = pairs / max(1, scenario.reward_workers)
    return Times(
        draw=0.0 if scenario.remote else draw / scenario.speed,
        window=window / scenario.speed,
        rest=max(0.0, whole - draw - window) / scenario.speed,
        pairs=0 if scenario.remote else pairs,
        submit_call=constants.submit.fixed,
        submit_pair=constants.submit.each,
        call=call_seconds(constants, calls_pairs) + 2 * latency,
        service=constants.score.fixed,
        pair=constants.score.each,
        sums=workload.sums["erac"],
        gradient_bytes=workload.gradient_bytes["erac"],
        bandwidth=scenario.bandwidth,
        latency=latency,
        weights_bytes=workload.weights_bytes,
        samples_bytes=workload.samples_bytes,
        put=1e-9 / constants.put.median,
        get=1e-9 / constants.get.median,
        remote_draw=draw,
        poll=constants.poll.median,
        poll_interval=POLL_INTERVAL,
        delivery=constants.points * constants.delivery.median / LOG_EVERY,
    )


def samplers(times: Times) -> int:
    """Sample workers of one learner: enough for its pace, and for the snapshot's copying."""
    copying = times.weights_bytes * times.get / (STALENESS + 1)
    return formulas.sample_workers_needed(times.remote_draw + copying, times.rest)


def enough(times: Times, learners: int) -> int:
    """As few reward workers as are enough, or the most that are ever asked."""
    if not times.pairs:
        return 1
    try:
        return formulas.reward_workers_needed(
            times.pairs,
            learners,
            times.window,
            call=times.call,
            service=times.service,
            pair=times.pair,
        )
    except ValueError:
        return times.pairs


def verdicts(found: list[Size]) -> list[str]:
    """One line for each scenario: what saturates, from which size on."""
    lines = []
    for name in dict.fromkeys(size.scenario.name for size in found):
        of_scenario = [size for size in found if size.scenario.name == name]
        first: dict[str, Size] = {}
        for size in of_scenario:
            for limit in size.limits:
                first.setdefault(limit, size)
        largest = of_scenario[-1]
        share = largest.outcome.shares["compute"]
        held = ", then ".join(
            f"{limit} from {size.learners:,} learner{'s' * (size.learners > 1)} ({size.nodes:,} nodes)"
            for limit, size in first.items()
        )
        lines.append(
            f"{name}: {held or 'nothing saturates but the learners'}; at {largest.learners:,} learners "
            f"{share:.0%} of an update is arithmetic."
        )
    return lines
