"""What the driver's part costs: lines of a journal, and bringing them to MLflow."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from raysq.delivery import deliver
from raysq.tracking import Tracker, default_uri
from raysq.training.journal import Journal
from tests.benchmarks.capacity.constants import Figure

LINES = 200
"""Of a journal in a run."""
POINTS = 18
"""Metrics in a line, as many as an ERAC stage of the demo writes."""


def figures(repeats: int) -> tuple[Figure, Figure]:
    """Time of a line written; of a point delivered to MLflow in a SQLite file. [s]"""
    written, delivered = [], []
    metrics = {f"train/metric_{i}": 0.1 * i for i in range(POINTS)}
    with tempfile.TemporaryDirectory(prefix="capacity-", ignore_cleanup_errors=True) as folder:
        tracker = Tracker(default_uri(Path(folder)), "capacity")
        for repeat in range(repeats + 1):
            path = Path(folder) / str(repeat) / "journal.jsonl"
            started = time.perf_counter()
            with Journal(path) as journal:
                for step in range(LINES):
                    journal.write(step, metrics)
            between = time.perf_counter()
            run_id = tracker.create_run("capacity", {}, {})
            begun = time.perf_counter()
            deliver(tracker, path, run_id)
            if repeat:
                written.append((between - started) / LINES)
                delivered.append((time.perf_counter() - begun) / (LINES * POINTS))
    return Figure.of(written), Figure.of(delivered)
