"""capacity.json: what was measured, on which machine, and what predictions came to beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import Field, ValidationError

from raysq.config import Config, UserError, first_defect
from tests.benchmarks.measure import Times

RECORD = "capacity.json"
KINDS = ("mle", "critic", "erac")
"""The updates that are measured."""


class Figure(Config):
    """A measured number."""

    median: float
    low: float
    """The least of the runs."""
    high: float
    """The greatest of the runs."""
    repeats: int
    unit: str = "s"

    @classmethod
    def of(cls, seconds: Sequence[float], scale: float = 1.0, unit: str = "s") -> Figure:
        """Of repeated runs, times ``scale``."""
        median, low, high = Times(tuple(seconds)).spread(scale)
        return cls(median=median, low=low, high=high, repeats=len(seconds), unit=unit)


class Cost(Config):
    """Time that grows with a count: ``fixed + each count``, by least squares through the medians."""

    fixed: float
    """[s]"""
    each: float
    """[s]"""
    points: tuple[tuple[float, Figure], ...]
    """Counts, and what they took."""

    @classmethod
    def through(cls, points: Mapping[float, Figure]) -> Cost:
        """Of measured points; neither part is below 0."""
        counts = np.array(list(points))
        seconds = np.array([figure.median for figure in points.values()])
        if len(points) > 1:
            each, fixed = (float(part) for part in np.polyfit(counts, seconds, 1))
        else:
            each, fixed = float(seconds[0] / counts[0]), 0.0
        if fixed < 0:  # proportional, then
            each, fixed = float(counts @ seconds / (counts @ counts)), 0.0
        elif each < 0:
            each, fixed = 0.0, float(seconds.mean())
        return cls(fixed=fixed, each=each, points=tuple(points.items()))

    def at(self, count: float) -> float:
        """[s]"""
        return self.fixed + self.each * count

    @property
    def largest(self) -> Figure:
        """What the largest count took."""
        return max(self.points, key=lambda point: point[0])[1]


class Workload(Config):
    """Updates at one size: what they take on one core, and the bytes that they send."""

    vocabulary: int
    """Of the target. [words]"""
    hidden: int
    """[units]"""
    sentences: int
    """In a global batch."""
    tokens: float
    """Of a batch's references, eos counted: what one MLE update learns from."""
    updates: dict[str, Cost]
    """By kind, over a learner's sentences; processor time of one thread, rewards scored in it."""
    draw: Cost
    """Of one sample for each sentence, by the policy."""
    window: float
    """Share of an ERAC update between having drawn and needing the rewards."""
    variation: float
    """Standard deviation over mean of the same ERAC update repeated."""
    pairs: dict[str, int]
    """Scored sequences for each sentence, by kind."""
    gradient_bytes: dict[str, int]
    """Summed over learners in an update, by kind."""
    sums: dict[str, int]
    """All-reduces in an update, by kind."""
    weights_bytes: int
    """Of a snapshot of the policy."""
    batch_bytes: int
    """Of a batch on its way to a sample worker."""
    samples_bytes: int
    """Of its samples and rewards on their way back."""
    request_bytes: int
    """Of a batch on its way to a reward worker."""
    reply_bytes: int
    """Of its payoffs on their way back."""


class Ring(Config):
    """An all-reduce among processes of this machine."""

    processes: int
    small: Figure
    """Of three numbers, as an update's sums are."""
    gradient: Figure
    """Of ``num_bytes``, with flattening and copying back."""
    num_bytes: int

    @property
    def latency(self) -> float:
        """Of one message of the ring, when it holds next to nothing [s]."""
        return self.small.median / (2 * (self.processes - 1))

    @property
    def bandwidth(self) -> float:
        """That makes the ring's formula give what was measured [bytes/s]."""
        seconds = max(self.gradient.median - self.small.median, 1e-9)
        return 2 * (self.processes - 1) / self.processes * self.num_bytes / seconds


class Constants(Config):
    """Everything that the formulas take."""

    pair: dict[str, Figure]
    """Of a pair by a compiled reward, on one core, by reward. [us]"""
    submit: Cost
    """Of a learner for sending off one call, over its pairs; processor time."""
    call: Cost
    """Of a call from the beginning of its sending to the reply, over its pairs, the worker idle before."""
    score: Cost
    """Of the worker's own part of a call, over its pairs; processor time."""
    put: Figure
    """Into the object store. [GB/s]"""
    get: Figure
    """Out of it, into a policy's parameters. [GB/s]"""
    poll: Figure
    """Processor time of a caller for a call that does nothing, many in flight. [s]"""
    journal: Figure
    """Of a line of a journal, written. [s]"""
    delivery: Figure
    """Of a metric's point from the journal to MLflow in SQLite. [s]"""
    points: int
    """Of a line of the journal."""
    slowdown: dict[int, Figure]
    """How many times as long an update takes in each of so many processes at once."""
    rings: tuple[Ring, ...]

    def ring(self, processes: int) -> Ring:
        """The all-reduce of so many processes, or of the most that were measured."""
        fitting = [ring for ring in self.rings if ring.processes == processes]
        return fitting[0] if fitting else max(self.rings, key=lambda ring: ring.processes)

    def when_full(self, cores: int) -> float:
        """How many times as long work takes with all cores busy."""
        return self.slowdown[cores].median if cores in self.slowdown else 1.0


class Machine(Config):
    """Where and when."""

    name: str
    cores: int
    """Hyperthreads count."""
    memory_gib: float
    versions: dict[str, str]
    date: str
    command: str
    load: tuple[float, float]
    """Processes that ran or waited (mean over a minute) before and after: 0 before on a quiet machine."""


class Check(Config):
    """A prediction beside what was measured."""

    group: str
    """What was varied."""
    count: int
    """Of it."""
    unit: str
    predicted: float
    """By the formulas."""
    simulated: float | None = None
    """By the simulation."""
    measured: Figure

    @property
    def error(self) -> float:
        """Of the prediction, over what was measured."""
        return self.predicted / self.measured.median - 1


class Record(Config):
    """capacity.json."""

    machine: Machine
    constants: Constants
    workloads: dict[str, Workload] = Field(default_factory=dict)
    """``published`` sizes, and after the runs ``demo``."""
    checks: tuple[Check, ...] = ()
    checked: Machine | None = None
    """Where and when the runs were made."""


def read(folder: Path) -> Record:
    """The record in a folder.

    Raises:
        UserError: there is none, or it holds something else.
    """
    path = folder / RECORD
    try:
        return Record.model_validate_json(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"{path} is not there: run the step measure first") from error
    except ValidationError as error:
        raise UserError(f"{path}: {first_defect(error)}: run the step measure again") from error
