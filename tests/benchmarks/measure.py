"""How time and memory are measured: several forms in turn, in one process; the peak above what was there."""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

PROCESS = Path("/proc/self")


class Spread(NamedTuple):
    """A figure of repeated runs."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Times:
    """What the runs of one form took, in their order."""

    seconds: tuple[float, ...]

    def spread(self, scale: float = 1.0) -> Spread:
        """Median, shortest and longest, times ``scale``: 1000 gives milliseconds."""
        ordered = sorted(scale * second for second in self.seconds)
        return Spread(statistics.median(ordered), ordered[0], ordered[-1])

    def over(self, faster: Times) -> Spread:
        """How many times as long as another form's: the median and the quartiles of the ratios run by run.

        Runs that were measured side by side are divided, so that load which comes and goes cancels.
        """
        ratios = [mine / theirs for mine, theirs in zip(self.seconds, faster.seconds, strict=True)]
        if len(ratios) == 1:
            return Spread(ratios[0], ratios[0], ratios[0])
        low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return Spread(median, low, high)


def compare(runs: Mapping[str, Callable[[], object]], repeats: int, *, warm_up: int = 1) -> dict[str, Times]:
    """Wall-clock times of several forms, which run in turn: every repeat runs each of them once.

    Args:
        runs: the forms by name.
        repeats: runs of each that count.
        warm_up: runs of each before them that do not.
    """
    took: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(warm_up + repeats):
        for name, run in runs.items():
            seconds = timed(run)
            if repeat >= warm_up:
                took[name].append(seconds)
    return {name: Times(tuple(seconds)) for name, seconds in took.items()}


def timed(run: Callable[[], object]) -> float:
    """Wall-clock time of one call, what it left running on a GPU included [s]."""
    _synchronise()
    started = time.perf_counter()
    run()
    _synchronise()
    return time.perf_counter() - started


def peak_memory(run: Callable[[], object], device: str = "cpu") -> float | None:
    """Memory that a call needs at its peak, above what was resident before [MiB]; None where nothing tells.

    Call it once before, so that what stays (gradients, optimiser state, kernels) is resident. On the CPU it
    is the growth of the resident set, what the allocator had kept of earlier calls given back first.
    """
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    if not (PROCESS / "clear_refs").exists():
        return None
    ctypes.CDLL(None).malloc_trim(0)
    (PROCESS / "clear_refs").write_text("5")  # VmHWM starts anew from what is resident now
    resident = _status("VmRSS")
    run()
    return (_status("VmHWM") - resident) / 1024


def _status(name: str) -> int:
    """A line of /proc/self/status [KiB]."""
    lines = (PROCESS / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
