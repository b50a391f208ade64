"""The step ``runs``: predictions beside real trainings with 1, 2 and 4 learners, reward and sample workers.

Trainings are the demo's ERAC stage by the workflow's own command, on a Ray session with as many CPUs as there
are learners at most: with fewer cores than that they share them, which predictions take into account. Its
actor and critic are trained once. Besides, reward and sample workers alone, as fast as they go.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import ray
import torch

from raysq.algorithms.moment import Moment
from raysq.cluster.reward_workers import RemoteScorer
from raysq.cluster.sample_workers import RemoteSource, create_sample_workers, wait_for
from tests.benchmarks.capacity import on_ray, workloads
from tests.benchmarks.capacity.constants import Check, Figure, Record
from tests.benchmarks.capacity.measure import this_machine
from tests.benchmarks.capacity.predictions import OneMachine, Setting
from tests.benchmarks.capacity.session import session
from tests.benchmarks.capacity.settings import CapacitySettings
from tests.benchmarks.demo_run import DemoRun, train_demo
from tests.benchmarks.measure import Times
from tests.benchmarks.ray_path import LEARNING_RATE, UPDATES

COUNTS = (1, 2, 4)
STALENESS = 3
"""Of remote samples: a snapshot for four updates."""
SCORED_PAIRS = 500
"""In a batch for reward workers alone."""
BATCHES = 20
"""For workers alone, all in flight."""
TRAININGS: dict[str, Callable[[int], Setting]] = {
    "learners": lambda count: Setting(learners=count),
    "reward workers": lambda count: Setting(reward_workers=count),
    "sample workers": lambda count: Setting(sample_workers=count, max_staleness=STALENESS),
}


def run(
    settings: CapacitySettings,
    record: Record,
    say: Callable[[str], None],
    write: Callable[[Record], None],
) -> None:
    """Make the checks; the record is written with those there are after each."""
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="capacity-", ignore_cleanup_errors=True) as place:
        folder = Path(place)
        say("actor and critic of the demo")
        base = train_demo("erac", folder / "base", _options(folder, Setting(learners=0), seed=0))
        parts = workloads.demo(base)
        demo = workloads.measured(parts, settings.repeats)
        machine = OneMachine(record.constants, demo, record.machine.cores)
        with session(max(*COUNTS, record.machine.cores)) as address:
            say("workers alone")
            alone = [*_scoring(machine, settings.repeats), *_sampling(machine, parts, settings.repeats)]
            for checks in _trainings(machine, settings, folder, address, say):
                found = {
                    "workloads": {**record.workloads, "demo": demo},
                    "checks": (*alone, *checks),
                    "checked": this_machine(load),
                }
                write(record.model_copy(update=found))


def _trainings(
    machine: OneMachine,
    settings: CapacitySettings,
    folder: Path,
    address: str,
    say: Callable[[str], None],
) -> Iterator[list[Check]]:
    """ERAC updates by the workflow's command, repeats of all settings in turn: none, then all so far."""
    asked = [(group, count, of(count)) for group, of in TRAININGS.items() for count in COUNTS]
    found: dict[Setting, list[DemoRun]] = {}
    yield []
    for repeat in range(settings.run_repeats):
        for seed, setting in enumerate(dict.fromkeys(setting for _, _, setting in asked), 1):
            say(f"training with {setting}")
            output = folder / f"run-{repeat}-{seed}"
            options = _options(folder, setting, seed=100 * repeat + seed)
            found.setdefault(setting, []).append(train_demo("erac", output, options, address))
            yield [
                Check(
                    group=f"ERAC training, {group}",
                    count=count,
                    unit="ms per update",
                    predicted=1000 * machine.predicted(of_count),
                    simulated=1000 * machine.simulated(of_count),
                    measured=Figure.of(_updates(found[of_count]), 1000, "ms per update"),
                )
                for group, count, of_count in asked
                if of_count in found
            ]


def _updates(runs: Sequence[DemoRun]) -> list[float]:
    """Time per update, a number for each line of the journals but the first two: the spread within a run."""
    return [
        1 / record.metrics["train/updates_per_second"] for run in runs for record in run.records("erac")[2:]
    ]


def _options(folder: Path, setting: Setting, seed: int) -> list[str]:
    """Options of a training that starts from the actor and the critic trained before."""
    remote = ["--sampling=remote", f"--max-staleness={setting.max_staleness}"]
    return [
        "--reuse=auto",
        f"--store-dir={folder / 'stages'}",
        "--device=cpu",
        "--threads-per-learner=1",
        f"--num-learners={setting.learners}",
        f"--num-reward-workers={setting.reward_workers}",
        f"--num-sample-workers={max(1, setting.sample_workers)}",
        *(remote if setting.sample_workers else []),
        f"--erac.seed={seed}",
        f"--erac.learning-rate={LEARNING_RATE}",
        *(f"--{stage}.max-updates={updates}" for stage, updates in UPDATES.items()),
        *(f"--{stage}.evaluate-every={updates}" for stage, updates in UPDATES.items()),
    ]


def _scoring(machine: OneMachine, repeats: int) -> list[Check]:
    """Batches through reward workers alone."""
    samples, references = on_ray.scored_pairs(SCORED_PAIRS)
    workers = on_ray.warm_workers(max(COUNTS))

    def score(count: int) -> None:
        scorer = RemoteScorer(workers[:count])
        pending = [scorer.submit(samples, references) for _ in range(BATCHES)]
        for rewards in pending:
            rewards.result()

    times = workloads.timed({count: partial(score, count) for count in COUNTS}, repeats)
    for worker in workers:
        ray.kill(worker)
    return [
        Check(
            group=f"{SCORED_PAIRS} pairs through reward workers alone",
            count=count,
            unit="ms per batch",
            predicted=1000 * machine.scoring(SCORED_PAIRS, count),
            measured=_per_batch(times[count]),
        )
        for count in COUNTS
    ]


def _sampling(machine: OneMachine, parts: workloads.Parts, repeats: int) -> list[Check]:
    """Batches of the demo through sample workers alone."""
    function = parts.source.reward_function
    workers = create_sample_workers(max(COUNTS), function, scale_by_length=True)
    wait_for(workers)
    algorithm = parts.algorithms["erac"]
    batches = [parts.batches[i % len(parts.batches)] for i in range(BATCHES)]

    def sample(count: int) -> None:
        source = RemoteSource(algorithm, parts.networks, workers[:count])
        for i, batch in enumerate(batches):
            source.announce([batch], Moment(1, "erac", i))
        for i, batch in enumerate(batches):
            source.draw(batch, Moment(1, "erac", i))

    times = workloads.timed({count: partial(sample, count) for count in COUNTS}, repeats)
    for worker in workers:
        ray.kill(worker)
    return [
        Check(
            group="batches of the demo through sample workers alone",
            count=count,
            unit="ms per batch",
            predicted=1000 * machine.sampling(count),
            measured=_per_batch(times[count]),
        )
        for count in COUNTS
    ]


def _per_batch(times: Times) -> Figure:
    return Figure.of(times.seconds, 1000 / BATCHES, "ms per batch")
