"""A score along one axis of a space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes

from raysq.report.figures.style import PAPER, Drawing, Look, canvas, legend, logarithmic, looks
from raysq.report.groups import Group, axes_of, order, setting
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
        shown = {arm: of_arm for arm, of_arm in of_axis.items() if of_arm}
        if not shown:
            continue
        flat = [g for g in groups if not g.values and g.scores(*score)]
        diverged = [g for g in groups if g.arm in arms and g.excluded.get("diverged")]
        with canvas(7.2, 4.2) as (figure, (ax,)):
            places = _places(ax, axis, [*diverged, *(g for of_arm in shown.values() for g in of_arm)])
            look = looks([*shown, *(g.arm for g in flat), *(g.arm for g in diverged)])
            for arm, of_arm in shown.items():
                runs = sorted(((places[g.values[axis.name]], g) for g in of_arm), key=lambda run: run[0])
                _draw_arm(ax, look[arm], runs, score, joined=not isinstance(axis.values, Range))
            for g in diverged:
                label = None if g.arm in shown else f"{g.arm}, diverged"
                _draw_cross(ax, places[g.values[axis.name]], look[g.arm].colour, label)
            for g in flat:
                _draw_across(ax, fmean(g.scores(*score)), look[g.arm], g.label)
            ax.set(xlabel=axis.name, ylabel=said, ymargin=0.12)
            legend(figure)
        caption = (
            f"{said} by {axis.name} on {setting(results)}: points are runs, lines join their means, crosses "
            "at the foot are values with diverged runs. Horizontal lines: arms without it."
        )
        if any(g.kept_start for of_arm in shown.values() for g in of_arm):
            caption += " Hollow: a run whose best checkpoint is the actor that it began with."
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


def _draw_arm(
    ax: Axes, look: Look, runs: Sequence[tuple[float, Group]], score: tuple[str, str], *, joined: bool
) -> None:
    """Groups of one arm at their places, which are in order."""
    style: dict[str, Any] = {"color": look.colour, "marker": look.marker, "markersize": 5}
    if joined:
        means = [fmean(group.scores(*score)) for _, group in runs]
        ax.plot([place for place, _ in runs], means, linestyle=look.line, color=look.colour)
    ax.plot([], [], linestyle=look.line if joined else "", label=runs[0][1].arm, **style)
    for place, group in runs:
        for trial in group.finished:
            run = Group(group.arm, group.values, [trial])
            face = PAPER if run.kept_start else look.colour
            scores = run.scores(*score)
            ax.plot([place] * len(scores), scores, linestyle="", markerfacecolor=face, **style)


def _draw_cross(ax: Axes, place: float, colour: str, label: str | None) -> None:
    style: dict[str, Any] = {"markersize": 9, "markeredgewidth": 2, "transform": ax.get_xaxis_transform()}
    ax.plot([place], [0.03], "x", color=colour, label=label, **style)


def _draw_across(ax: Axes, height: float, look: Look, label: str) -> None:
    style: dict[str, Any] = {"color": look.colour, "linestyle": look.line, "linewidth": 1.2}
    ax.axhline(height, label=label, **style)
