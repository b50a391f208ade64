"""Gains over the baseline as bars, ours beside the paper's (Figure 4 of Tan et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from raysq.report.comparisons import Comparison
from raysq.report.figures.style import INK, MUTED, Drawing, canvas, looks
from raysq.report.papers import PaperTable
from raysq.report.rows import SpaceResults
from raysq.report.tables import metric_name, paper_rows


def gains(
    results: SpaceResults, comparisons: Sequence[Comparison], paper: PaperTable | None
) -> Drawing | None:
    """Mean gain with its 95 % interval over seeds, runs as points; None where nothing can be compared."""
    if not comparisons:
        return None
    theirs = [_their_gain(results, comparison, paper) for comparison in comparisons]
    with canvas(7.6, 1.5 + 0.5 * len(comparisons)) as (figure, (ax,)):
        look = looks([comparison.group.arm for comparison in comparisons])
        for place, comparison in enumerate(comparisons):
            _draw(ax, place, comparison, look[comparison.group.arm].colour, theirs[place])
        shown = [0.0, *(gain for c in comparisons for gain in c.gains), *(gain for gain in theirs if gain)]
        margin = 0.08 * (max(shown) - min(shown)) + 0.05
        ax.set_xlim(min(shown) - margin, max(shown) + margin)
        ax.axvline(0, color=INK, linewidth=0.8)
        ax.set_yticks(range(len(comparisons)), [c.group.label for c in comparisons])
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
        ax.set_xlabel(f"gain in test {metric_name(results.space.metric)} over {results.space.baseline}")
    caption = (
        f"Gain over {results.space.baseline} on {results.task}: means (bars), pairs of runs of the same "
        "seeds (strokes), 95 % t interval over them (lines, cut at the frame)."
    )
    if paper is not None and any(gain is not None for gain in theirs):
        caption += f" Hatched: theirs, {paper.paper}, {paper.place}, on other data."
    return Drawing("gains", caption, figure)


def _draw(ax: Axes, place: int, comparison: Comparison, colour: str, theirs: float | None) -> None:
    y = place if theirs is None else place - 0.15
    ax.barh(y, comparison.over_seeds.mean, 0.42, color=colour)
    if comparison.over_seeds.interval is not None:
        ax.plot(comparison.over_seeds.interval, [y] * 2, color=MUTED, linewidth=1.4)
    ax.plot(comparison.gains, [y] * len(comparison.gains), "|", color=INK, markersize=9)
    if theirs is not None:
        ax.barh(place + 0.22, theirs, 0.26, facecolor="none", edgecolor=MUTED, hatch="////")


def _their_gain(results: SpaceResults, comparison: Comparison, paper: PaperTable | None) -> float | None:
    """The paper's own difference between the two rows, in its first column that has both."""
    rows = paper_rows(results.space, paper, comparison.group)
    others = paper_rows(results.space, paper, comparison.baseline)
    for row in rows:
        for other in others:
            for mine, base in zip(row.numbers, other.numbers, strict=True):
                if mine is not None and base is not None:
                    return mine.mean - base.mean
    return None
