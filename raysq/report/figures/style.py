"""How figures look: colours that colour-blind people tell apart, one look for each algorithm, two files each.

Colours are Okabe and Ito's, sky and orange a little darker so that lines stand out from white; where two
algorithms are relatives they share one and differ in line and marker.
Figures are made without pyplot: nothing global, no windows.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from raysq.report.groups import Group, order

PAPER, INK, MUTED, GRID = "#ffffff", "#1f2328", "#6b7480", "#dde1e6"
VARIABLES = {PAPER: "var(--paper)", INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--line)"}
"""What these become in a page, which may be dark."""
BLUE, SKY, GREEN, ORANGE, RED, PURPLE = "#0072b2", "#4ca6dc", "#009e73", "#d89300", "#d55e00", "#cc79a7"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY)
"""For what has no colour of its own."""
_RAMP = mpl.colors.LinearSegmentedColormap.from_list("values", ("#3a50e0", "#b03ac0", "#e0503f", "#e58a10"))
VALUES_SAID = " Colours are values, from blue to orange; line and marker tell the algorithm."
"""For captions of figures with ``looks_of``."""
_LINES = ("-", "--", ":", "-.")
_MARKERS = "os^DvPX*"
_MOST_COLUMNS = 6
"""Of a legend."""
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
    "text.parse_math": False,  # a $ in a label is one
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
        found[label] = Look(free[k % len(free)], _LINES[turn], "DPX*"[turn])  # no algorithm's own markers
    return found


def looks_of(groups: Sequence[Group]) -> dict[str, Look]:
    """A look for each group, by label: of values a shade tells which, line and marker whose they are.

    Arms without values keep the algorithm's look.
    """
    varied = [group for group in groups if group.values]
    found = looks([group.arm for group in groups if not group.values])
    taken = {(look.line, look.marker) for look in found.values()}
    styles = [style for style in _styles() if style not in taken]
    of_arm = dict(zip(dict.fromkeys(group.arm for group in varied), itertools.cycle(styles), strict=False))
    values = sorted({_values(group) for group in varied})
    shade = dict(zip(values, shades(len(values)), strict=True))
    return found | {group.label: Look(shade[_values(group)], *of_arm[group.arm]) for group in varied}


def _styles() -> Iterator[tuple[str, str]]:
    """Every line with every marker, neighbours differing in both."""
    for turn in range(len(_LINES)):
        for k, marker in enumerate(_MARKERS):
            yield _LINES[(k + turn) % len(_LINES)], marker


def _values(group: Group) -> tuple[object, ...]:
    """What groups of two arms share where they have the same values; sorts as people count."""
    return tuple((name, order(value)) for name, value in group.values.items())


def shades(count: int) -> list[str]:
    """Colours from dark blue to light orange for values in order.

    Lightness grows all the way, so that the order is seen without hues too, and stays as far from white as
    from the dark page.
    """
    return [mpl.colors.to_hex(_RAMP(k / max(1, count - 1))) for k in range(count)]


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


def legend(figure: Figure) -> None:
    """What the lines are, below all axes and each label once, in as many columns as fit.

    The figure grows by the legend's height, so that the axes keep theirs.
    """
    shown: dict[str, Artist] = {}
    for ax in figure.axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    for columns in range(min(len(shown), _MOST_COLUMNS), 0, -1):
        style: Any = {"loc": "outside lower center", "ncols": columns, "fontsize": 9}
        made = figure.legend(shown.values(), shown.keys(), **style)
        box = made.get_window_extent()
        needed = box.width / figure.dpi + 0.2
        if columns == 1 or needed <= figure.get_figwidth():
            height = figure.get_figheight() + box.height / figure.dpi
            figure.set_size_inches(max(needed, figure.get_figwidth()), height)
            return
        made.remove()
