"""What the capacity command can be told."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from raysq.config import Config
from raysq.options import alternatives

ROOT = Path(__file__).resolve().parents[3]
STEPS = ("measure", "runs", "page")


class CapacitySettings(Config):
    """Which steps are made, where, and at which sizes; the defaults are the paper's sizes."""

    steps: tuple[str, ...] = STEPS
    """What to do, joined by commas: measure (the constants), runs (predictions beside real runs), page (the
    simulation, and the tables of the page from capacity.json)."""
    output_dir: Path = ROOT / "tests" / "benchmarks" / "results" / "capacity"
    """Folder of capacity.json and the figure."""
    page: Path = ROOT / "deploy" / "CAPACITY.md"
    """The page whose tables are written between their markers."""
    vocabulary: int = Field(22_822, ge=10)
    """Of the measured updates. [words]"""
    hidden: int = Field(256, ge=2, multiple_of=2)
    """Width of the measured networks. [units]"""
    batch_size: int = Field(50, ge=4)
    """Sentences in a batch."""
    length: int = Field(22, ge=4)
    """Mean length of sources and references, eos counted [tokens]."""
    repeats: int = Field(5, ge=1)
    """Runs of everything that is measured, after its warm-up."""
    run_repeats: int = Field(1, ge=1)
    """Real trainings of each number of processes."""
    bandwidth_gbit: float = Field(10.0, gt=0)
    """Between two nodes of the simulated cluster: an assumption. [Gbit/s]"""
    latency_us: float = Field(100.0, ge=0)
    """Of a message between them: an assumption. [us]"""
    variation: float = Field(0.03, ge=0, lt=1)
    """Standard deviation over mean of a simulated learner's computing time: an assumption, as that of a
    shared machine says little."""
    speed: float = Field(30.0, gt=0)
    """How many times as fast as a core here a simulated fast learner is: an assumption."""

    @field_validator("steps")
    @classmethod
    def _known_steps(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names or set(names) - set(STEPS):
            raise ValueError(f"must be {alternatives(STEPS)}, several joined by commas")
        return tuple(step for step in STEPS if step in names)
