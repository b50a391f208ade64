"""The page's figure: how much of an update is arithmetic, and how busy what learners share is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from raysq.report.figures.style import SERIES, canvas, legend, logarithmic
from tests.benchmarks.capacity.saturation import BUSY_NAMES, FULL, Size

MARKERS = "os^Dv"
SHOWN = ("reward_worker", "controller")
"""Whose busy shares are drawn; the others stay low and are in the table."""


def draw(found: Sequence[Size], path: Path) -> None:
    """Write the figure as PNG."""
    names = list(dict.fromkeys(size.scenario.name for size in found))
    with canvas(9, 3.4, columns=2) as (figure, (time, busy)):
        for name, colour, marker in zip(names, SERIES, MARKERS, strict=False):
            some = [size for size in found if size.scenario.name == name]
            learners = [size.learners for size in some]
            shares = [100 * size.outcome.shares["compute"] for size in some]
            time.plot(learners, shares, marker=marker, color=colour, label=name)
        fast = [size for size in found if size.scenario.name == names[1]]
        for key, colour, line in zip(SHOWN, SERIES[3:], ("-", "--"), strict=False):
            shares = [100 * size.outcome.busy[key] for size in fast]
            label = f"{BUSY_NAMES[key]}, {names[1]}"
            busy.plot([size.learners for size in fast], shares, line, marker="P", color=colour, label=label)
        busy.axhline(100 * FULL, color="#6b7480", linestyle=":", label="saturated")
        for axes, what in ((time, "arithmetic in an update [%]"), (busy, "busy [%]")):
            logarithmic(axes)
            axes.set(xlabel="learners", ylabel=what, ylim=(0, 105))
        legend(figure)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=90)
