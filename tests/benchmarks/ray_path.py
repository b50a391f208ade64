"""Suite ``ray``: what Ray adds to an update, the wait for rewards, the time to the first update.

The demo's ERAC workflow trains for a few hundred updates, in turn in one process without Ray and with one
learner and one reward worker on Ray; then an MLE workflow makes a single update. All is read from the
journals that every run writes.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.demo_run import DemoRun, train_demo
from tests.benchmarks.measure import Times
from tests.benchmarks.rows import Form, Row, timed_row
from tests.benchmarks.settings import BenchmarkSettings

SUITE = "ray"
MOST_REPEATS = 3
UPDATES = {"mle": 300, "critic": 140, "erac": 140}
"""Of each stage; samples of a policy that learnt nothing would be far too long."""
LEARNING_RATE = 1e-6
"""Of the policy in the joint stage: its samples shall stay as long as they are."""
SCORED = ("critic", "erac")
"""The stages that ask for rewards."""


def run(settings: BenchmarkSettings) -> list[Row]:
    """The rows."""
    repeats = min(MOST_REPEATS, settings.repeats)
    with tempfile.TemporaryDirectory(prefix="raysq-benchmark-") as folder:
        alone: list[DemoRun] = []
        on_ray: list[DemoRun] = []
        for repeat in range(repeats):
            for learners, runs in enumerate((alone, on_ray)):
                output = Path(folder) / f"run-{repeat}-{learners}"
                runs.append(train_demo("erac", output, erac_options(settings, learners)))
        rows = [update_row(settings, stage, on_ray, alone) for stage in SCORED]
        rows += [wait_row(settings, stage, on_ray) for stage in SCORED]
        launches = [
            train_demo("mle", Path(folder) / f"launch-{repeat}", launch_options(settings))
            for repeat in range(repeats)
        ]
        return [*rows, launch_row(settings, launches)]


def erac_options(settings: BenchmarkSettings, num_learners: int, num_reward_workers: int = 1) -> list[str]:
    """Options of a short ERAC workflow with equal threads wherever it trains."""
    return [
        f"--num-learners={num_learners}",
        f"--num-reward-workers={num_reward_workers}",
        f"--threads-per-learner={settings.num_threads}",
        f"--device={settings.device}",
        f"--erac.learning-rate={LEARNING_RATE}",
        *(f"--{stage}.max-updates={updates}" for stage, updates in UPDATES.items()),
        *(f"--{stage}.evaluate-every={updates}" for stage, updates in UPDATES.items()),
    ]


def launch_options(settings: BenchmarkSettings) -> list[str]:
    """Options of a workflow that makes one update with one learner."""
    return [
        "--num-learners=1",
        f"--threads-per-learner={settings.num_threads}",
        f"--device={settings.device}",
        "--mle.max-updates=1",
    ]


def update_times(runs: Sequence[DemoRun], stage: str) -> Times:
    """Time per update of a stage, one figure a run."""
    return Times(tuple(run.seconds_per_update(stage) for run in runs))


def update_row(
    settings: BenchmarkSettings, stage: str, on_ray: Sequence[DemoRun], alone: Sequence[DemoRun]
) -> Row:
    """A stage's update on Ray against the same in one process."""
    ours, theirs = update_times(on_ray, stage), update_times(alone, stage)
    return timed_row(
        settings,
        SUITE,
        Form(f"{stage}_update_on_ray", ours),
        Form("in_one_process", theirs),
        unit="ms per update",
        numbers={"more_percent": 100 * (ours.over(theirs).median - 1)},
    )


def wait_row(settings: BenchmarkSettings, stage: str, on_ray: Sequence[DemoRun]) -> Row:
    """Share of a stage's updates that its learner waits for rewards [seconds in a second]."""
    shares = Times(tuple(run.reward_wait_share(stage) for run in on_ray))
    return timed_row(settings, SUITE, Form(f"{stage}_reward_wait", shares, 100.0), unit="% of an update")


def launch_row(settings: BenchmarkSettings, launches: Sequence[DemoRun]) -> Row:
    """From the command to the end of the first update; the moments on the way as medians."""
    reached = [run.launch_seconds("mle") for run in launches]
    return timed_row(
        settings,
        SUITE,
        Form("command_to_first_update", Times(tuple(moments["first_update"] for moments in reached)), 1.0),
        unit="s",
        numbers={f"{name}_s": statistics.median(moments[name] for moments in reached) for name in reached[0]},
    )
