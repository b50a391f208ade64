"""Suite ``scaling``: updates of the demo's ERAC workflow on Ray over learners and reward workers.

The global batch stays as it is: more learners share it. Nothing is gained beyond the machine's cores, whose
number every row names; each learner has one thread.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from tests.benchmarks.demo_run import DemoRun, train_demo
from tests.benchmarks.ray_path import MOST_REPEATS, SCORED, erac_options, update_times
from tests.benchmarks.rows import Form, Row, timed_row
from tests.benchmarks.settings import BenchmarkSettings

SUITE = "scaling"


def run(settings: BenchmarkSettings) -> list[Row]:
    """A row for each stage and number of processes, against one learner with one reward worker."""
    settings = settings.model_copy(update={"threads": 1})
    cores = len(os.sched_getaffinity(0))
    counts = forms(cores)
    runs: dict[tuple[int, int], list[DemoRun]] = {count: [] for count in counts}
    rows = []
    with tempfile.TemporaryDirectory(prefix="raysq-benchmark-") as folder:
        for repeat in range(min(MOST_REPEATS, settings.repeats)):
            for learners, workers in counts:
                output = Path(folder) / f"run-{repeat}-{learners}-{workers}"
                options = erac_options(settings, learners, workers)
                runs[learners, workers].append(train_demo("erac", output, options))
        for stage in SCORED:
            one = Form(_name(stage, 1, 1), update_times(runs[1, 1], stage))
            for count in counts:
                times = update_times(runs[count], stage)
                ours = Form(_name(stage, *count), times)
                numbers = {"updates_per_second": 1 / times.spread(1.0).median, "cores": cores}
                baseline = None if count == (1, 1) else one
                rows.append(timed_row(settings, SUITE, ours, baseline, unit="ms per update", numbers=numbers))
    return rows


def forms(cores: int) -> list[tuple[int, int]]:
    """Numbers of learners and of reward workers: one of each, then more of either, as cores allow."""
    learners = [(count, 1) for count in (1, 2) if count <= cores]
    return learners + [(1, count) for count in (2, 4) if count <= cores]


def _name(stage: str, learners: int, workers: int) -> str:
    return f"{stage}_update_{learners}_learners_{workers}_reward_workers"
