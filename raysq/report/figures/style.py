"""How figures look: colours that colour-blind people tell apart, one look for each algorithm, two files each.

Colours are Okabe and Ito's; where two algorithms are relatives they share one and differ in line and marker.
Figures are made without pyplot: nothing global, no windows.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

PAPER, INK, MUTED, GRID = "#ffffff", "#1f2328", "#6b7480", "#dde1e6"
VARIABLES = {PAPER: "var(--paper)", INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--line)"}
"""What these become in a page, which may be dark."""
BLUE, SKY, GREEN, ORANGE, RED, PURPLE = "#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#cc79a7"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY)
"""For what has no colour of its own."""
_STYLE: Any = {
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "font.size": 10,
    "legend.frameon": False,
    "hatch.color": MUTED,
    "svg.hashsalt": "raysq",  # the same figure gives the same file
    "svg.fonttype": "path",
}


@dataclass(frozen=True, slots=True)
class Look:
    """Of one algorithm in every figure."""

    colour: str
    line: str
    marker: str


_LOOKS = {
    "MLE": Look(INK, "-", "o"),
    "continued MLE": Look(INK, "--", "s"),
    "data noising": Look(MUTED, "-", "^"),
    "scheduled sampling": Look(MUTED, "--", "v"),
    "RAML": Look(ORANGE, "-", "o"),
    "alpha-DiMT": Look(ORANGE, "--", "s"),
    "VAML": Look(RED, "-", "o"),
    "AC": Look(SKY, "-", "o"),
    "ERAC": Look(BLUE, "-", "o"),
    "ERAC without future entropy": Look(BLUE, "--", "s"),
    "REINFORCE": Look(GREEN, "-", "o"),
    "REINFORCE with critic": Look(GREEN, "--", "s"),
    "MIXER": Look(GREEN, ":", "^"),
    "MRT": Look(PURPLE, "-", "o"),
    "SPG": Look(PURPLE, "--", "s"),
    "interpolation": Look(PURPLE, ":", "^"),
}


@dataclass(frozen=True)
class Drawing:
    """A figure with what stands below it."""

    key: str
    """Its files' name."""
    caption: str
    figure: Figure

    @cached_property
    def svg(self) -> str:
        """The figure as SVG, its letters as shapes: it needs no font and names no place in the network."""
        with mpl.rc_context(_STYLE):
            file = io.StringIO()
            self.figure.savefig(file, format="svg")
        return re.sub(r"<metadata>.*?</metadata>", "", file.getvalue(), flags=re.DOTALL)

    def write(self, folder: Path) -> None:
        """Write KEY.png and KEY.svg."""
        folder.mkdir(parents=True, exist_ok=True)
        with mpl.rc_context(_STYLE):
            self.figure.savefig(folder / f"{self.key}.png", dpi=150)
        (folder / f"{self.key}.svg").write_text(self.svg, encoding="utf-8")


def looks(labels: Sequence[str]) -> dict[str, Look]:
    """A look for each label: the algorithm's own, and for others the next one that is free here."""
    found = {label: _LOOKS[label] for label in labels if label in _LOOKS}
    taken = {look.colour for look in found.values()}
    free = [c for c in SERIES if c not in taken] + [c for c in SERIES if c in taken]
    others = [label for label in dict.fromkeys(labels) if label not in found]
    for k, label in enumerate(others):
        turn = k // len(free) % 4
        found[label] = Look(free[k % len(free)], ("-", "--", ":", "-.")[turn], "Dshv"[turn])
    return found


def shades(count: int) -> list[str]:
    """Colours from dark to light for values in order, of the map that reads the same to everyone."""
    colours = mpl.colormaps["cividis"]
    return [mpl.colors.to_hex(colours(0.05 + 0.85 * k / max(1, count - 1))) for k in range(count)]


@contextmanager
def canvas(
    width: float, height: float, columns: int = 1, rows: int = 1
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure of this size [inches] with its axes, row by row, drawn in the report's style."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def logarithmic(ax: Axes) -> None:
    """x by its logarithm, at numbers that people read: 1, 2, 5, 10."""
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}" if x >= 1 else f"{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def legend(figure: Figure, axes: Axes, columns: int = 4) -> None:
    """What the lines are, below the axes; each label once."""
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns, fontsize=9)
