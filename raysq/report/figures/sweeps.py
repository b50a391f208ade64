"""A score against what was varied: points along one axis, a heat map over two, boxes over seeds of stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from raysq.report.figures.style import INK, MUTED, SERIES, Drawing, Look, canvas, legend, logarithmic, looks
from raysq.report.groups import Group, axes_of, seed_axes_of
from raysq.report.papers import PaperTable
from raysq.report.rows import SpaceResults, TrialRow
from raysq.report.tables import judged_by, metric_name, paper_rows
from raysq.sweep.space import Range

_EVENLY_UP_TO = 12
"""Values of an axis that stand evenly spaced, as typed; more are drawn to scale."""


def along_axis(results: SpaceResults, groups: Sequence[Group], paper: PaperTable | None) -> list[Drawing]:
    """For each axis that is the only one of an arm, or that was drawn from: the score by value.

    Runs are points; means of an axis whose values were chosen are joined.
    """
    split, metric = judged_by(results, paper)
    arms: dict[str, list[str]] = {}
    drawn: dict[str, Range] = {}
    for arm in results.space.arms:
        axes = axes_of(results.space, arm.label)
        for axis in axes:
            if isinstance(axis.values, Range):
                drawn[axis.name] = axis.values
            if len(axes) == 1 or isinstance(axis.values, Range):
                arms.setdefault(axis.name, []).append(arm.label)
    drawings = []
    for name, labels in arms.items():
        of_axis = {label: [g for g in groups if g.arm == label] for label in labels}
        if not any(g.scores(split, metric) for of_arm in of_axis.values() for g in of_arm):
            continue
        flat = [g for g in groups if not g.values and g.scores(split, metric)]
        with canvas(7.2, 4.6) as (figure, (ax,)):
            _draw_axis(ax, name, of_axis, flat, (split, metric), drawn.get(name))
            ax.set_xlabel(name)
            ax.set_ylabel(f"{split} {metric_name(metric)}")
            legend(figure, ax, 3)
        caption = (
            f"{split} {metric_name(metric)} by {name} on {results.task}: points are runs, lines join their "
            "means, crosses at the foot are values with diverged runs. Horizontal lines: arms without it."
        )
        drawings.append(Drawing(f"by-{name.replace('.', '-').replace(' ', '-')}", caption, figure))
    return drawings


def heat_map(results: SpaceResults, groups: Sequence[Group], paper: PaperTable | None) -> list[Drawing]:
    """For each arm with two axes: mean score in every cell, and the paper's where it has them."""
    split, metric = judged_by(results, paper)
    drawings = []
    for arm in results.space.arms:
        axes = axes_of(results.space, arm.label)
        of_arm = [g for g in groups if g.arm == arm.label]
        if len(axes) != 2 or results.space.searches or not any(g.scores(split, metric) for g in of_arm):
            continue
        rows, columns = ([g.values[axis.name] for g in of_arm] for axis in axes)
        cells = {(g.values[axes[0].name], g.values[axes[1].name]): g for g in of_arm}
        names = (list(dict.fromkeys(rows)), list(dict.fromkeys(columns)))
        theirs = {
            place: row.numbers[0]
            for place, g in cells.items()
            for row in paper_rows(results.space, paper, g)
            if row.numbers[0] is not None
        }
        width = 1.9 + 1.15 * len(names[1])
        with canvas(width * (2 if theirs else 1), 1.8 + 0.75 * len(names[0]), 2 if theirs else 1) as (
            figure,
            panels,
        ):
            means = {place: fmean(s) for place, g in cells.items() if (s := g.scores(split, metric))}
            texts = {place: _cell_text(g, split, metric) for place, g in cells.items()}
            _draw_cells(panels[0], names, means, texts)
            panels[0].set_title(f"ours, {results.task}")
            if theirs:
                numbers = {place: number.mean for place, number in theirs.items()}
                said = {place: f"{number.mean:.2f}{number.remark[:1]}" for place, number in theirs.items()}
                _draw_cells(panels[1], names, numbers, said)
                panels[1].set_title(f"theirs, {paper.columns[0].data}" if paper else "")
            for panel in panels:
                panel.set_xlabel(axes[1].name)
                panel.set_ylabel(axes[0].name)
        caption = (
            f"{arm.label}: {split} {metric_name(metric)} by {axes[0].name} and {axes[1].name} on "
            f"{results.task}, mean ± standard deviation over runs; † some runs are not counted. Each map has "
            "colours of its own."
        )
        key = "-".join([arm.label.lower(), *(axis.name for axis in axes)])
        drawings.append(Drawing(key.replace(" ", "-").replace(".", "-"), caption, figure))
    return drawings


def seed_grid(results: SpaceResults, groups: Sequence[Group], paper: PaperTable | None) -> Drawing | None:
    """A box for each group over its runs, a colour for each critic; None where no arm has a grid of seeds."""
    split, metric = judged_by(results, paper)
    shown = [g for g in groups if g.scores(split, metric)]
    axes = {g.arm: _critic_axis(results, g.arm) for g in shown}
    if not any(axes.values()):
        return None
    with canvas(max(6.0, 1.6 + 1.25 * len(shown)), 4.6) as (figure, (ax,)):
        for place, group in enumerate(shown):
            trials = [t for t in group.finished if metric in _scores(t, split)]
            scores = [_scores(t, split)[metric] for t in trials]
            if len(scores) >= 5:  # fewer have no quartiles worth a box
                ax.boxplot(
                    [scores],
                    positions=[place],
                    widths=0.55,
                    whis=(0, 100),
                    showfliers=False,
                    boxprops={"color": MUTED},
                    whiskerprops={"color": MUTED},
                    capprops={"color": MUTED},
                    medianprops={"color": INK, "linewidth": 1.6},
                )
            _draw_runs(ax, place, axes[group.arm], trials, scores)
        ax.set_xticks(range(len(shown)), [g.label for g in shown], rotation=20, ha="right")
        ax.set_xlim(-0.6, len(shown) - 0.4)
        ax.grid(axis="x", visible=False)
        ax.set_ylabel(f"{split} {metric_name(metric)}")
        legend(figure, ax, 4)
    caption = (
        f"{split} {metric_name(metric)} of every run on {results.task}: one colour for each critic, whose "
        "actors stand beside each other. Boxes: median, quartiles and range of five runs or more."
    )
    return Drawing("seed-grid", caption, figure)


def _draw_axis(
    ax: Axes,
    axis: str,
    of_axis: Mapping[str, Sequence[Group]],
    flat: Sequence[Group],
    score: tuple[str, str],
    drawn: Range | None,
) -> None:
    values = sorted({g.values[axis] for of_arm in of_axis.values() for g in of_arm}, key=_order)
    evenly = drawn is None and (len(values) <= _EVENLY_UP_TO or any(_order(v)[0] for v in values))
    places = {value: float(k if evenly else _order(value)[1]) for k, value in enumerate(values)}
    if evenly:
        ax.set_xticks(range(len(values)), values)
    found = looks([*of_axis, *(g.arm for g in flat)])
    for label, of_arm in of_axis.items():
        look = found[label]
        points = sorted((places[g.values[axis]], g) for g in of_arm if g.scores(*score))
        x = [place for place, _ in points]
        style: dict[str, Any] = {"color": look.colour, "marker": look.marker}
        line = look.line if drawn is None else ""
        means = [fmean(g.scores(*score)) for _, g in points]
        ax.plot(x, means, linestyle=line, color=look.colour)
        ax.plot([], [], linestyle=line, markersize=5, label=label, **style)
        for place, g in points:
            scores = g.scores(*score)
            ax.plot([place] * len(scores), scores, linestyle="", markersize=5, alpha=0.75, **style)
        for g in of_arm:
            if g.excluded.get("diverged"):
                ax.plot(
                    [places[g.values[axis]]],
                    [0.03],
                    "x",
                    color=look.colour,
                    markersize=9,
                    markeredgewidth=2,
                    transform=ax.get_xaxis_transform(),
                )
    for g in flat:
        look = found[g.arm]
        mean = fmean(g.scores(*score))
        ax.axhline(mean, linestyle=look.line, color=look.colour, linewidth=1.2, label=g.label)
    if drawn is not None and drawn.log:
        logarithmic(ax)
    ax.margins(y=0.12)


def _draw_cells(
    ax: Axes,
    names: tuple[Sequence[str], Sequence[str]],
    means: Mapping[tuple[str, str], float],
    texts: Mapping[tuple[str, str], str],
) -> None:
    rows, columns = names
    table = np.array([[means.get((row, column), np.nan) for column in columns] for row in rows])
    image = ax.imshow(table, cmap="cividis", aspect="auto")
    ax.grid(visible=False)
    middle = (np.nanmin(table) + np.nanmax(table)) / 2
    for (row, column), text in texts.items():
        value = means.get((row, column))
        colour = INK if value is None else ("#fefefe" if value < middle else "#111111")
        ax.text(
            columns.index(column), rows.index(row), text, ha="center", va="center", color=colour, fontsize=9
        )
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.figure.colorbar(image, ax=ax, label="BLEU", shrink=0.9)


def _cell_text(group: Group, split: str, metric: str) -> str:
    summary = group.summary(split, metric)
    mark = "†" if group.excluded else ""
    if summary is None:
        return "\n".join(f"{count} {state}" for state, count in group.excluded.items())
    spread = "" if summary.deviation is None else f"\n± {summary.deviation:.2f}"
    return f"{summary.mean:.2f}{mark}{spread}"


def _draw_runs(
    ax: Axes, place: float, axis: str | None, trials: Sequence[TrialRow], scores: Sequence[float]
) -> None:
    if axis is None:
        x = place + np.linspace(-0.18, 0.18, len(scores)) if len(scores) > 1 else [place]
        ax.plot(x, scores, "o", color=MUTED, markersize=6, label="seeds of the whole run")
        return
    critics = sorted({t.values[axis] for t in trials}, key=_order)
    for k, critic in enumerate(critics):
        mine = [score for t, score in zip(trials, scores, strict=True) if t.values[axis] == critic]
        x = place + 0.36 * ((k + 0.5) / len(critics) - 0.5) + np.linspace(-0.03, 0.03, len(mine))
        look = Look(SERIES[k % len(SERIES)], "", "os^Dvh"[k % 6])
        ax.plot(x, mine, look.marker, color=look.colour, markersize=7, label=f"{axis} {critic}")


def _critic_axis(results: SpaceResults, arm: str) -> str | None:
    """Of two axes of seeds or more, the critic's (else the first): the one whose runs share a colour."""
    axes = [axis.name for axis in seed_axes_of(results.space, arm)]
    if len(axes) < 2:
        return None
    return next((name for name in axes if "critic" in name or "oracle" in name), axes[0])


def _scores(trial: TrialRow, split: str) -> dict[str, float]:
    return trial.dev if split == "dev" else trial.test


def _order(value: str) -> tuple[int, float | str]:
    """Numbers by size, then words."""
    try:
        return 0, float(value)
    except ValueError:
        return 1, value
