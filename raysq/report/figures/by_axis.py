"""A score along one axis of a space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes

from raysq.report.figures.style import Drawing, Look, canvas, legend, logarithmic, looks
from raysq.report.groups import Group, axes_of, order
from raysq.report.papers import PaperTable
from raysq.report.rows import SpaceResults
from raysq.report.tables import judged_by, metric_name
from raysq.sweep.space import Axis, Range

_EVENLY_UP_TO = 12
"""Chosen values that stand evenly spaced, as typed; more of them, and what was drawn, are drawn to scale."""


def along_axis(results: SpaceResults, groups: Sequence[Group], paper: PaperTable | None) -> list[Drawing]:
    """For each axis that is the only one of an arm, or was drawn from: runs as points, means joined."""
    score = judged_by(results, paper)
    said = f"{score[0]} {metric_name(score[1])}"
    drawings = []
    for axis, arms in _axes(results).values():
        of_axis = {arm: [g for g in groups if g.arm == arm and g.scores(*score)] for arm in arms}
        if not any(of_axis.values()):
            continue
        flat = [g for g in groups if not g.values and g.scores(*score)]
        diverged = [g for g in groups if g.arm in arms and g.excluded.get("diverged")]
        with canvas(7.2, 4.6) as (figure, (ax,)):
            places = _places(ax, axis, [*diverged, *(g for of_arm in of_axis.values() for g in of_arm)])
            look = looks([*of_axis, *(g.arm for g in flat)])
            for arm, of_arm in of_axis.items():
                runs = [(places[g.values[axis.name]], g.scores(*score)) for g in of_arm]
                _draw_arm(ax, arm, look[arm], sorted(runs), joined=not isinstance(axis.values, Range))
            for g in diverged:
                _draw_cross(ax, places[g.values[axis.name]], look[g.arm].colour)
            for g in flat:
                style: dict[str, Any] = {
                    "color": look[g.arm].colour,
                    "linestyle": look[g.arm].line,
                    "linewidth": 1.2,
                }
                ax.axhline(fmean(g.scores(*score)), label=g.label, **style)
            ax.set(xlabel=axis.name, ylabel=said, ymargin=0.12)
            legend(figure, ax, 3)
        caption = (
            f"{said} by {axis.name} on {results.task}: points are runs, lines join their means, crosses "
            "at the foot are values with diverged runs. Horizontal lines: arms without it."
        )
        drawings.append(Drawing(f"by-{axis.name.replace('.', '-').replace(' ', '-')}", caption, figure))
    return drawings


def _axes(results: SpaceResults) -> Mapping[str, tuple[Axis, list[str]]]:
    """The axes to draw by name, each with its arms."""
    found: dict[str, tuple[Axis, list[str]]] = {}
    for arm in results.space.arms:
        axes = axes_of(results.space, arm.label)
        for axis in axes:
            if len(axes) == 1 or isinstance(axis.values, Range):
                found.setdefault(axis.name, (axis, []))[1].append(arm.label)
    return found


def _places(ax: Axes, axis: Axis, groups: Sequence[Group]) -> dict[str, float]:
    """Where each value stands."""
    values = sorted({g.values[axis.name] for g in groups}, key=order)
    numbers = [number for is_word, number in map(order, values) if not is_word]
    drawn = isinstance(axis.values, Range)
    if len(numbers) == len(values) and (drawn or len(values) > _EVENLY_UP_TO):
        if isinstance(axis.values, Range) and axis.values.log:
            logarithmic(ax)
        return {value: float(number) for value, number in zip(values, numbers, strict=True)}
    ax.set_xticks(range(len(values)), values)
    return {value: float(k) for k, value in enumerate(values)}


Runs = Sequence[tuple[float, Sequence[float]]]
"""Places, in order, and the scores that stand there."""


def _draw_arm(ax: Axes, arm: str, look: Look, runs: Runs, *, joined: bool) -> None:
    style: dict[str, Any] = {"color": look.colour, "marker": look.marker, "markersize": 5}
    if joined:
        means = [fmean(scores) for _, scores in runs]
        ax.plot([place for place, _ in runs], means, linestyle=look.line, color=look.colour)
    ax.plot([], [], linestyle=look.line if joined else "", label=arm, **style)
    for place, scores in runs:
        ax.plot([place] * len(scores), scores, linestyle="", alpha=0.75, **style)


def _draw_cross(ax: Axes, place: float, colour: str) -> None:
    style: dict[str, Any] = {"markersize": 9, "markeredgewidth": 2, "transform": ax.get_xaxis_transform()}
    ax.plot([place], [0.03], "x", color=colour, **style)
