"""Gains over the baseline as bars, ours beside the paper's (Figure 4 of Tan et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from raysq.report.comparisons import Comparison
from raysq.report.figures.style import INK, MUTED, Drawing, canvas, looks
from raysq.report.figures.theirs import named, quoted
from raysq.report.groups import setting
from raysq.report.papers import PaperColumn, PaperTable
from raysq.report.rows import SpaceResults
from raysq.report.tables import metric_name


def gains(
    results: SpaceResults, comparisons: Sequence[Comparison], paper: PaperTable | None
) -> Drawing | None:
    """Mean gain with its 95 % interval over seeds, runs as points; None where nothing can be compared."""
    if not comparisons:
        return None
    found = [_their_gain(results, comparison, paper) for comparison in comparisons]
    theirs = [None if one is None else one[0] for one in found]
    kept = [c.group.kept_start == len(c.group.finished) for c in comparisons]
    with canvas(7.6, 1.5 + 0.5 * len(comparisons)) as (figure, (ax,)):
        look = looks([comparison.group.arm for comparison in comparisons])
        for place, comparison in enumerate(comparisons):
            colour = look[comparison.group.arm].colour
            _draw(ax, place, comparison, colour, theirs[place], hollow=kept[place])
        shown = [0.0, *(gain for c in comparisons for gain in c.gains), *(gain for gain in theirs if gain)]
        margin = 0.08 * (max(shown) - min(shown)) + 0.05
        ax.set_xlim(min(shown) - margin, max(shown) + margin)
        ax.axvline(0, color=INK, linewidth=0.8)
        ax.set_yticks(range(len(comparisons)), [c.group.label for c in comparisons])
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
        ax.set_xlabel(f"gain in test {metric_name(results.space.metric)} over {results.space.baseline}")
    caption = (
        f"Gain over {results.space.baseline} on {setting(results)}: means (bars), pairs of runs of the same "
        "seeds (strokes), 95 % t interval over them (lines, cut at the frame)."
    )
    if any(kept):
        caption += " Hollow bars: the best checkpoint of every run is the actor that it began with."
    columns = dict.fromkeys(named(one[1]) for one in found if one is not None)
    if paper is not None and columns:
        caption += f" Hatched: theirs, {paper.paper}, {paper.place}, column {' and '.join(columns)}."
    return Drawing("gains", caption, figure)


def _draw(
    ax: Axes, place: int, comparison: Comparison, colour: str, theirs: float | None, *, hollow: bool
) -> None:
    y = place if theirs is None else place - 0.15
    face = "none" if hollow else colour
    ax.barh(y, comparison.over_seeds.mean, 0.42, facecolor=face, edgecolor=colour, linewidth=1.6)
    if comparison.over_seeds.interval is not None:
        ax.plot(comparison.over_seeds.interval, [y] * 2, color=MUTED, linewidth=1.4)
    ax.plot(comparison.gains, [y] * len(comparison.gains), "|", color=INK, markersize=9)
    if theirs is not None:
        ax.barh(place + 0.22, theirs, 0.26, facecolor="none", edgecolor=MUTED, hatch="////")


def _their_gain(
    results: SpaceResults, comparison: Comparison, paper: PaperTable | None
) -> tuple[float, PaperColumn] | None:
    """The paper's own difference between the two rows, where one column fits both; and the column."""
    score = ("test", results.space.metric)
    for mine, column in quoted(results, paper, comparison.group, score):
        for base, other in quoted(results, paper, comparison.baseline, score):
            if column == other:
                return mine.mean - base.mean, column
    return None
