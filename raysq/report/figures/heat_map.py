"""A score over two axes of a space (Table 3 of Dai et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from raysq.report.figures.style import INK, Drawing, canvas
from raysq.report.figures.theirs import named, quoted
from raysq.report.groups import Group, axes_of, setting
from raysq.report.papers import PaperTable
from raysq.report.rows import SpaceResults
from raysq.report.tables import judged_by, metric_name

Place = tuple[str, str]
"""Values of the two axes."""
Cell = tuple[float | None, str]
"""What its colour is made of, and what it says."""


def heat_map(results: SpaceResults, groups: Sequence[Group], paper: PaperTable | None) -> list[Drawing]:
    """For each arm with two axes of chosen values: mean scores, and the paper's where it has them."""
    if results.space.searches:
        return []
    score = judged_by(results, paper)
    drawings = []
    for arm in results.space.arms:
        names = [axis.name for axis in axes_of(results.space, arm.label)]
        of_arm = [g for g in groups if g.arm == arm.label]
        if len(names) != 2 or not any(g.scores(*score) for g in of_arm):
            continue
        by_place = {(g.values[names[0]], g.values[names[1]]): g for g in of_arm}
        panels = {f"ours, {results.task}": {place: _ours(g, score) for place, g in by_place.items()}}
        columns: list[str] = []
        for place, group in by_place.items():
            for number, column in quoted(results, paper, group, score):
                cell = number.mean, f"{number.mean:.2f}{number.remark[:1]}"
                panels.setdefault(f"theirs, {column.data}", {})[place] = cell
                columns.append(named(column))
        sides = [list(dict.fromkeys(values)) for values in zip(*by_place, strict=True)]
        width, height = 1.9 + 1.15 * len(sides[1]), 1.8 + 0.75 * len(sides[0])
        with canvas(width * len(panels), height, len(panels)) as (figure, axes):
            for (title, cells), ax in zip(panels.items(), axes, strict=True):
                _draw(ax, sides[0], sides[1], cells, metric_name(score[1]))
                ax.set(title=title, ylabel=names[0], xlabel=names[1])
        caption = (
            f"{arm.label}: {score[0]} {metric_name(score[1])} by {names[0]} and {names[1]} on "
            f"{setting(results)}, mean ± standard deviation over runs; † some runs are not counted. Each map "
            "has colours of its own."
        )
        if paper is not None and columns:
            said = " and ".join(dict.fromkeys(columns))
            caption += f" Theirs: {paper.paper}, {paper.place}, column {said}."
        key = "-".join([arm.label.lower(), *names])
        drawings.append(Drawing(key.replace(" ", "-").replace(".", "-"), caption, figure))
    return drawings


def _ours(group: Group, score: tuple[str, str]) -> Cell:
    summary = group.summary(*score)
    if summary is None:
        return None, "\n".join(f"{count} {state}" for state, count in group.excluded.items())
    mark = "†" if group.excluded else ""
    spread = "" if summary.deviation is None else f"\n± {summary.deviation:.2f}"
    return summary.mean, f"{summary.mean:.2f}{mark}{spread}"


def _draw(ax: Axes, rows: list[str], columns: list[str], cells: Mapping[Place, Cell], metric: str) -> None:
    means = {place: mean for place, (mean, _) in cells.items() if mean is not None}
    table = [[means.get((row, column), np.nan) for column in columns] for row in rows]
    image = ax.imshow(np.array(table), cmap="cividis", aspect="auto")
    middle = (min(means.values()) + max(means.values())) / 2
    for (row, column), (mean, text) in cells.items():
        colour = INK if mean is None else "#fefefe" if mean < middle else "#111111"
        place = (columns.index(column), rows.index(row))
        ax.text(*place, text, ha="center", va="center", color=colour, fontsize=9)
    ax.grid(visible=False)
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.figure.colorbar(image, ax=ax, label=metric, shrink=0.9)
