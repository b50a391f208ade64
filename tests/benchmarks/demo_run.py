"""Short trainings of the demo task by the workflows' own commands, and what their journals say about time."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysq.training.journal import Record, read

ROOT = Path(__file__).resolve().parents[2]
WARM_UP_RECORDS = 2
"""First records of a stage that do not count: kernels and allocators warm up."""


@dataclass(frozen=True, slots=True)
class DemoRun:
    """A finished training."""

    folder: Path
    started: float
    """When the command was given, seconds since the epoch."""
    stages: dict[str, Path]
    """Folders by name."""

    def records(self, stage: str) -> list[Record]:
        """A stage's journal, without dev scores."""
        records, _ = read(self.stages[stage] / "journal.jsonl")
        return [record for record in records if "train/updates_per_second" in record.metrics]

    def seconds_per_update(self, stage: str) -> float:
        """The median over a stage's journal [s]; evaluations and checkpoints are not in it."""
        settled = self.records(stage)[WARM_UP_RECORDS:]
        return statistics.median(1 / record.metrics["train/updates_per_second"] for record in settled)

    def reward_wait_share(self, stage: str) -> float:
        """Share of the updates' time that learners waited for rewards, the median over a stage's journal."""
        settled = self.records(stage)[WARM_UP_RECORDS:]
        return statistics.median(record.metrics["train/reward_wait_share"] for record in settled)

    def launch_seconds(self, stage: str) -> dict[str, float]:
        """From the command to each of the moments before the end of a stage's first update [s].

        The stage must have evaluated after its first update: that writes the journal's first record.
        """
        moments = {
            "planned": self.folder / "config.json",
            "ray_started": self.folder / "ray",
            "learner_ready": self.stages[stage] / "preparation" / "manifest.json",
        }
        reached = {name: path.stat().st_mtime - self.started for name, path in moments.items()}
        return reached | {"first_update": self.records(stage)[0].time - self.started}


def train_demo(
    workflow: str, folder: Path, options: Sequence[str], ray_address: str | None = None
) -> DemoRun:
    """Run ``workflows/WORKFLOW.py --task demo`` afresh; its data, MLflow and stages stay beside ``folder``.

    It starts Ray for itself, unless it is given the address of a cluster.

    Raises:
        RuntimeError: it failed; says its last words.
    """
    command = [sys.executable, str(ROOT / "workflows" / f"{workflow}.py"), "--task=demo", "--quiet"]
    command += ["--reuse=never", f"--output-dir={folder}", "--decoding.beam-size=1", *options]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    if ray_address is not None:
        environment["RAY_ADDRESS"] = ray_address
    started = time.time()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        said, _ = process.communicate()
    except BaseException:
        process.terminate()  # in an orderly way: killed, it would leave Ray's processes
        process.wait()
        raise
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}: {said[-2000:]}")
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return DemoRun(folder, started, {stage["name"]: Path(stage["folder"]) for stage in result["stages"]})
