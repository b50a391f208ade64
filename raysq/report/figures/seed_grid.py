"""Runs of a grid over critics and actors (the nine runs of Table 1 of Dai et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from raysq.report.figures.style import INK, MUTED, SERIES, Drawing, canvas, legend
from raysq.report.groups import Group, order, seed_axes_of, setting
from raysq.report.papers import PaperTable
from raysq.report.rows import SpaceResults
from raysq.report.tables import judged_by, metric_name

_FEWEST_IN_A_BOX = 5
"""Runs; fewer have no quartiles worth drawing."""
_MARKERS = "os^Dvh"


def seed_grid(results: SpaceResults, groups: Sequence[Group], paper: PaperTable | None) -> Drawing | None:
    """A box for each group over its runs, a colour for each critic; None where no arm has a grid of seeds."""
    split, metric = judged_by(results, paper)
    shown = [g for g in groups if g.scores(split, metric)]
    axes = [_critic_axis(results, g.arm) for g in shown]
    if not any(axes):
        return None
    with canvas(max(6.0, 1.6 + 1.25 * len(shown)), 4.3) as (figure, (ax,)):
        for place, (group, axis) in enumerate(zip(shown, axes, strict=True)):
            scores = group.scores(split, metric)
            if len(scores) >= _FEWEST_IN_A_BOX:
                _draw_box(ax, place, scores)
            if axis is None:
                x = place + np.linspace(-0.18, 0.18, len(scores))
                ax.plot(x, scores, "o", color=MUTED, markersize=6, label="seeds of whole runs")
            else:
                _draw_critics(ax, place, axis, group, (split, metric))
        ax.set_xticks(range(len(shown)), [g.label for g in shown], rotation=20, ha="right")
        ax.set_xlim(-0.6, len(shown) - 0.4)
        ax.grid(axis="x", visible=False)
        ax.set_ylabel(f"{split} {metric_name(metric)}")
        legend(figure)
    caption = (
        f"{split} {metric_name(metric)} of every run on {setting(results)}: one colour for each critic, "
        "whose actors stand beside each other. Boxes: median, quartiles and range of five runs or more."
    )
    return Drawing("seed-grid", caption, figure)


def _critic_axis(results: SpaceResults, arm: str) -> str | None:
    """Of two axes of seeds or more, the critic's (else the first): the one whose runs share a colour."""
    axes = [axis.name for axis in seed_axes_of(results.space, arm)]
    if len(axes) < 2:
        return None
    return next((name for name in axes if "critic" in name or "oracle" in name), axes[0])


def _draw_box(ax: Axes, place: int, scores: Sequence[float]) -> None:
    lines: dict[str, Any] = {part: {"color": MUTED} for part in ("boxprops", "whiskerprops", "capprops")}
    ax.boxplot(
        [scores],
        positions=[place],
        widths=0.55,
        whis=(0, 100),
        showfliers=False,
        medianprops={"color": INK, "linewidth": 1.6},
        **lines,
    )


def _draw_critics(ax: Axes, place: int, axis: str, group: Group, score: tuple[str, str]) -> None:
    critics = sorted({trial.values[axis] for trial in group.finished}, key=order)
    for k, critic in enumerate(critics):
        actors = [trial for trial in group.finished if trial.values[axis] == critic]
        scores = Group(group.arm, group.values, actors).scores(*score)
        middle = place + 0.36 * ((k + 0.5) / len(critics) - 0.5)
        x = middle + np.linspace(-0.03, 0.03, len(scores))
        colour, marker = SERIES[k % len(SERIES)], _MARKERS[k % len(_MARKERS)]
        ax.plot(x, scores, marker, color=colour, markersize=7, label=f"{axis} {critic}")
