"""Figures as rows: one line of benchmark.json and of a table each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from raysq.config import UserError
from raysq.files import replace_json
from tests.benchmarks.measure import Times
from tests.benchmarks.settings import BenchmarkSettings

BENCHMARK = "benchmark.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure: the median of repeated runs, beside a named baseline of the same process run."""

    suite: str
    name: str
    """What was measured, as ``erac_update``."""
    threads: int
    device: str
    precision: str = "float32"
    """Of the large matrix products."""
    vocabulary: int | None = None
    """[words]; None: nothing with a vocabulary."""
    hidden: int | None = None
    """[units]"""
    unit: str
    """Of median, low, high and baseline_median."""
    median: float
    low: float
    """The least of the runs."""
    high: float
    """The greatest of the runs."""
    baseline: str = ""
    """Name of the form that it is compared with; empty: none."""
    baseline_median: float | None = None
    ratio: float | None = None
    """How many times faster than the baseline, the median over runs side by side; below 1: slower."""
    ratio_low: float | None = None
    """First quartile of the ratio."""
    ratio_high: float | None = None
    """Third quartile of the ratio."""
    peak_memory: float | None = None
    """Above the resident model, gradients and optimiser state [MiB]."""
    baseline_peak_memory: float | None = None
    peak_memory_ratio: float | None = None
    """Ours over the baseline's."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """What else is to be known, by a name that ends in its unit."""


class Form(NamedTuple):
    """A measured form of something."""

    name: str
    times: Times
    scale: float = 1000.0
    """Figures per second: 1000 for ``ms``, 1e6 / pairs for ``us per pair``."""
    peak_memory: float | None = None
    """Of one run [MiB]."""


def timed_row(
    settings: BenchmarkSettings,
    suite: str,
    ours: Form,
    baseline: Form | None = None,
    *,
    unit: str = "ms",
    precision: str = "float32",
    vocabulary: int | None = None,
    hidden: int | None = None,
    numbers: Mapping[str, float] | None = None,
) -> Row:
    """The row of a form that was measured in turn with its baseline."""
    median, low, high = ours.times.spread(ours.scale)
    row = Row(
        suite=suite,
        name=ours.name,
        threads=settings.num_threads,
        device=settings.device,
        precision=precision,
        vocabulary=vocabulary,
        hidden=hidden,
        unit=unit,
        median=median,
        low=low,
        high=high,
        peak_memory=ours.peak_memory,
        numbers=numbers or {},
    )
    if baseline is None:
        return row
    ratios = [ratio * baseline.scale / ours.scale for ratio in baseline.times.over(ours.times)]
    peak, theirs = ours.peak_memory, baseline.peak_memory
    return replace(
        row,
        baseline=baseline.name,
        baseline_median=baseline.times.spread(baseline.scale).median,
        ratio=ratios[0],
        ratio_low=ratios[1],
        ratio_high=ratios[2],
        baseline_peak_memory=theirs,
        peak_memory_ratio=peak / theirs if peak is not None and theirs else None,
    )


def write(rows: Iterable[Row], folder: Path) -> None:
    """Put rows into ``benchmark.json`` of a folder, in place of those of the same suites.

    Raises:
        UserError: what is there is no list of rows, or the disk refuses.
    """
    records = [asdict(row) for row in rows]
    suites = {record["suite"] for record in records}
    kept = [record for record in read(folder) if record["suite"] not in suites]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_json(folder / BENCHMARK, [*kept, *records])
    except OSError as error:
        raise UserError(
            f"--output-dir {folder}: {error.strerror}: make room there, or give another folder"
        ) from error


def read(folder: Path) -> list[dict[str, Any]]:
    """The rows that a folder's ``benchmark.json`` holds; none where there is no such file.

    Raises:
        UserError: it holds something else.
    """
    path = folder / BENCHMARK
    if not path.exists():
        return []
    try:
        records: list[dict[str, Any]] = json.loads(path.read_text())
        if all(isinstance(record["suite"], str) for record in records):
            return records
    except (ValueError, TypeError, KeyError):
        pass
    raise UserError(f"{path} holds no rows of a benchmark: move it away, or give another --output-dir")


def table(rows: Sequence[Row]) -> Table:
    """Rows as people read them."""
    made = Table()
    for heading in ("measured", "precision", "V", "H"):
        made.add_column(heading)
    for heading in ("median (low .. high)", "baseline", "times faster (quartiles)", "peak MiB (baseline)"):
        made.add_column(heading, justify="right")
    made.add_column("also")
    for row in rows:
        made.add_row(
            row.name,
            row.precision,
            "" if row.vocabulary is None else str(row.vocabulary),
            "" if row.hidden is None else str(row.hidden),
            f"{row.median:.4g} ({row.low:.4g} .. {row.high:.4g}) {row.unit}",
            "" if row.baseline_median is None else f"{row.baseline}: {row.baseline_median:.4g}",
            "" if row.ratio is None else f"{row.ratio:.3g} ({row.ratio_low:.3g} .. {row.ratio_high:.3g})",
            _memory(row),
            ", ".join(f"{name} {value:.4g}" for name, value in row.numbers.items()),
        )
    return made


def _memory(row: Row) -> str:
    if row.peak_memory is None:
        return ""
    beside = "" if row.baseline_peak_memory is None else f" ({row.baseline_peak_memory:.0f})"
    return f"{row.peak_memory:.0f}{beside}"
