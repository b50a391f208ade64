"""What the benchmarks can be told: the options of workflows/benchmark.py, which every suite reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from raysq.config import Config
from raysq.options import alternatives

SUITES = ("updates", "sizes", "rewards", "decoding", "ray", "scaling")
Size = Annotated[int, Field(ge=1)]


class BenchmarkSettings(Config):
    """What is measured, where, and at which sizes; the defaults are the paper's sizes."""

    suite: tuple[str, ...] = tuple(name for name in SUITES if name != "sizes")
    """What to measure, joined by commas: updates (each against its textbook form), sizes (the same over
    vocabularies and widths, long), rewards, decoding (beam search and sampling), ray (what Ray adds to an
    update, and the time to the first one), scaling (over learners and reward workers)."""
    output_dir: Path
    """Folder for benchmark.json and machine.json; suites that are there already and not measured now stay."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks run; auto takes a GPU if there is one."""
    threads: int = Field(0, ge=0)
    """Threads of the arithmetic, of baselines too; 0: all cores but one, as a learner takes."""
    precision: Literal["float32", "bfloat16", "both"] = "both"
    """Of the large matrix products, where a suite has both."""
    vocabulary: tuple[Size, ...] | None = None
    """Vocabulary sizes; none: 22822, in sizes 1000, 8000, 22822 and 50000 [words]."""
    hidden: tuple[Size, ...] | None = None
    """Widths of the networks; none: 256, in sizes 256 and 512 [units]."""
    batch_size: int = Field(50, ge=1)
    """Sentences in a batch."""
    length: int = Field(22, ge=4)
    """Mean length of sources and references, eos counted [tokens]."""
    repeats: int = Field(7, ge=1)
    """Runs of each form after its warm-up, in turn with its baseline; ray and scaling make at most 3."""

    @field_validator("suite")
    @classmethod
    def _known_suites(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names or set(names) - set(SUITES):
            raise ValueError(f"must be {alternatives(SUITES)}, several joined by commas")
        return names

    @property
    def precisions(self) -> tuple[str, ...]:
        """The types of large products to measure."""
        return ("float32", "bfloat16") if self.precision == "both" else (self.precision,)

    @property
    def num_threads(self) -> int:
        """Threads, the default resolved."""
        return self.threads or max(1, len(os.sched_getaffinity(0)) - 1)
