"""Memory of processes over time: a table written as it goes, and the line fitted to each process."""

from __future__ import annotations

import csv
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.integration.faults.conftest import command_line

EVERY = 5.0
"""Time between two looks [s]."""
WARM_UP = 120.0
"""Of a process in a stage that no line is fitted to [s]."""
SHORTEST = 240.0
"""What must be left of it [s]."""
COLUMNS = ("time", "run", "role", "process", "stage", "resident", "anonymous", "shared")
"""The last three in KiB: all that is resident, and of it what is the process's own and what is shared memory,
such as pages of Ray's object store once touched."""
ROLES = {
    "RayTrainWorker": "learner",
    "RewardWorker": "reward worker",
    "SampleWorker": "sample worker",
    "TrainController": "Ray: controller",
    "gcs_server": "Ray: gcs",
    "raylet": "Ray: raylet",
    "erac": "driver",
    "mlflow": "MLflow server",
}


def role_of(process_id: int) -> str:
    """What a process is, by its title, its script or its program."""
    words = [word.decode(errors="replace") for word in command_line(process_id).split(b"\0") if word]
    if not words:
        return ""
    if words[0].startswith("ray::"):
        name = words[0].removeprefix("ray::").partition(".")[0].lstrip("_").partition("__")[0]
    else:
        script = next((word for word in words if word.endswith(".py")), words[0])
        serves = script == words[0] and any("mlflow" in word for word in words)
        name = "mlflow" if serves else Path(script).stem
    return ROLES.get(name, f"Ray: {name}")


def memory_of(process_id: int) -> tuple[int, int, int] | None:
    """Resident, anonymous and shared memory [KiB]; None where the process is gone."""
    try:
        lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    found = {line.partition(":")[0]: line.split()[1] for line in lines if line.endswith(" kB")}
    if "VmRSS" not in found:
        return None  # a zombie
    return int(found["VmRSS"]), int(found["RssAnon"]), int(found["RssShmem"])


class Recorder:
    """Writes a line for every process every few seconds, in a thread.

    Args:
        path: the table.
        look: names the runs, and gives for each its stage and the ids of its processes.
    """

    def __init__(self, path: Path, look: Callable[[], dict[str, tuple[str, list[int]]]]) -> None:
        self._path, self._look = path, look
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._record, name="memory", daemon=True)
        self._thread.start()

    def _record(self) -> None:
        with self._path.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            while not self._ended.wait(EVERY):
                now = f"{time.time():.1f}"
                for run, (stage, process_ids) in self._look().items():
                    for process_id in process_ids:
                        role, memory = role_of(process_id), memory_of(process_id)
                        if role and memory:
                            table.writerow((now, run, role, process_id, stage, *memory))
                file.flush()

    def close(self) -> None:
        """Stop."""
        self._ended.set()
        self._thread.join()


@dataclass(frozen=True)
class Line:
    """Least squares through the memory of one process in one stage."""

    run: str
    role: str
    process: int
    stage: str
    minutes: float
    """How long, without the warm-up."""
    mean: float
    """[MiB]"""
    slope: float
    """[MiB/h]"""
    error: float
    """Standard error of the slope, as if the looks were independent [MiB/h]."""


def fitted(seconds: np.ndarray, kibibytes: np.ndarray) -> tuple[float, float, float]:
    """Mean [MiB], slope [MiB/h] and its standard error of a line through at least three points."""
    hours, mebibytes = (seconds - seconds.mean()) / 3600, kibibytes / 1024
    mean = float(mebibytes.mean())
    spread = float(hours @ hours)
    slope = float(hours @ (mebibytes - mean)) / spread
    residuals = mebibytes - mean - slope * hours
    return mean, slope, float(np.sqrt(residuals @ residuals / (len(hours) - 2) / spread))


def lines(table: Path, column: str = "resident") -> list[Line]:
    """One for every process and stage that lasted ``SHORTEST`` beyond its ``WARM_UP``."""
    points: dict[tuple[str, str, int, str], list[tuple[float, float]]] = defaultdict(list)
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            key = row["run"], row["role"], int(row["process"]), row["stage"]
            points[key].append((float(row["time"]), float(row[column])))
    found = []
    for (run, role, process, stage), of_process in points.items():
        times, values = np.array(of_process).T
        kept = times >= times[0] + WARM_UP
        if kept.any() and np.ptp(times[kept]) >= SHORTEST:
            mean, slope, error = fitted(times[kept], values[kept])
            minutes = float(np.ptp(times[kept])) / 60
            found.append(Line(run, role, process, stage, minutes, mean, slope, error))
    return found
