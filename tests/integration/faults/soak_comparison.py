"""How a disturbed run compares with an undisturbed one of its settings, and what its checkpoints cost."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from mlflow import MlflowClient

from raysq.training import checkpoint
from tests.integration.faults.conftest import Run, assert_same_results, curve


def difference(run: Run, expected: Run, *, diverged: bool = False) -> str:
    """The first thing that is not the same to the last bit, as a test would say it; nothing where all is."""
    try:
        assert_same_results(run, expected, diverged=diverged)
    except AssertionError as error:
        line = traceback.extract_tb(error.__traceback__)[-1].line
        return f"{line} {error}".strip()
    return ""


def so_far(run: Run, expected: Run) -> tuple[int, int]:
    """Number of values of the loss curves that both runs have, finished or not, and of those that differ."""
    pairs = [
        (value, theirs[key])
        for name in run.updates
        if all(list(r.place.glob(f"stages/{name}-*/journal.jsonl")) for r in (run, expected))
        for theirs in [curve(expected, name)]
        for key, value in curve(run, name).items()
        if key in theirs
    ]
    return len(pairs), sum(mine != other for mine, other in pairs)


def undelivered(run: Run, database: Path) -> Iterator[str]:
    """Metrics that MLflow does not hold as the journals do, each step once; runs that are not closed."""
    client = MlflowClient(f"sqlite:///{database}")
    for entry in json.loads((run.place / "run" / "result.json").read_text())["stages"]:
        tracked = client.get_run(entry["run_id"])
        if entry["state"] == "finished" and tracked.info.status != "FINISHED":
            yield f"run of {entry['name']} is {tracked.info.status}"
        of_journal: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for (step, metric), value in curve(run, entry["name"]).items():
            of_journal[metric].append((step, value))
        for metric, points in of_journal.items():
            history = client.get_metric_history(entry["run_id"], metric)
            if [(point.step, point.value) for point in history] != points:
                yield f"{entry['name']}: MLflow's {metric}"


def cost_of_a_checkpoint(stage: Path) -> tuple[float, float, int]:
    """Seconds that a learner waits for one, seconds until it is on the disk, and its size [bytes].

    Medians over 21 writes of a stage's latest checkpoint.
    """
    saved = checkpoint.latest(stage / "checkpoints")
    assert saved is not None
    waited, written = [], []
    with tempfile.TemporaryDirectory(dir=stage) as folder:
        with checkpoint.CheckpointWriter(Path(folder)) as writer:
            for step in range(1, 22):
                started = time.monotonic()
                writer.submit(step, saved.tensors, saved.state)
                waited.append(time.monotonic() - started)
                writer.wait()
                written.append(time.monotonic() - started)
        size = sum(file.stat().st_size for file in Path(folder, "step-00000021").iterdir())
    return statistics.median(waited), statistics.median(written), size
