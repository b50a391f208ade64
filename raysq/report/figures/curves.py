"""Convergence: the dev score against updates, time and what the reward was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import StrMethodFormatter

from raysq.report.figures.style import VALUES_SAID, Drawing, Look, canvas, legend, logarithmic, looks_of
from raysq.report.groups import Group, setting
from raysq.report.rows import Evaluation, SpaceResults, StageRow, TrialRow
from raysq.report.tables import metric_name

_CROWD = 7
"""Curves that hide each other where they end close together: the top is shown again by itself."""
_LOG_FROM = 10.0
"""Ratio between the ends of the longest and the shortest curve from which on x is logarithmic."""


@dataclass(frozen=True, slots=True)
class _Cost:
    """What a curve may run along."""

    label: str
    of_evaluation: Callable[[Evaluation], float | None]
    of_stage: Callable[[StageRow], float | None]


_COSTS = (
    _Cost("updates", lambda e: e.update, lambda s: s.updates),
    _Cost(
        "training time [min]",
        lambda e: None if e.seconds is None else e.seconds / 60,
        lambda s: s.seconds / 60,
    ),
    _Cost("sequences scored by the reward", lambda e: e.reward_calls, lambda s: s.reward_calls),
)


Tail = tuple[list[float], list[float]]
"""Costs and scores of one run."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A group's evaluations: means over its runs, of score and cost alike, while all of them go on."""

    x: list[float]
    mean: list[float]
    lowest: list[float]
    highest: list[float]
    tails: list[Tail]
    """Of the runs that go on after the shortest one has ended, from there."""

    @property
    def end(self) -> float:
        """The greatest cost of any run."""
        return max([self.x[-1], *(x[-1] for x, _ in self.tails)])

    @property
    def top(self) -> float:
        """The greatest score of any run."""
        return max([*self.highest, *(max(y) for _, y in self.tails)])


def convergence(results: SpaceResults, groups: Sequence[Group]) -> Drawing | None:
    """Curves of every group with bands over its runs; None where no run has a curve."""
    metric = results.space.metric
    by_update = {group.label: curve(group, metric, _COSTS[0]) for group in groups}
    drawn = [group for group in groups if by_update[group.label] is not None]
    if not drawn:
        return None
    costs = [cost for cost in _COSTS if any(curve(group, metric, cost) for group in drawn)]
    look = looks_of(drawn)
    whole, zoom = _heights([c for c in by_update.values() if c is not None])
    rows = 1 if zoom is None else 2
    with canvas(4.2 * len(costs) + 0.4, 4.2 * rows, len(costs), rows) as (figure, axes):
        for k, ax in enumerate(axes):
            cost, heights = costs[k % len(costs)], whole if k < len(costs) else zoom
            _draw(ax, [(g, c, look[g.label]) for g in drawn if (c := curve(g, metric, cost))])
            ax.set_ylim(heights)
            if k % len(costs) == 0:
                ax.set_ylabel(f"dev {metric_name(metric)}{'' if k < len(costs) else ', the top alone'}")
            ax.set_xlabel(cost.label)
        legend(figure)
    caption = (
        f"Convergence on {setting(results)}: dev {metric_name(metric)} in training, mean over runs; bands "
        "reach from the lowest to the highest run. Each curve begins where the stages before it ended, and "
        "costs are those of all stages. A dotted line: the best of what costs nothing on this axis."
    )
    if any(group.values for group in drawn):
        caption += VALUES_SAID
    if any(c is not None and c.tails for c in by_update.values()):
        caption += " Means end with the shortest run of a group; thin lines are the runs that go on."
    return Drawing("convergence", caption, figure)


def curve(group: Group, metric: str, cost: _Cost) -> Curve | None:
    """Means over the evaluations that all finished runs of a group share, and how the longer ones go on.

    None where they share none.
    """
    runs = [run for trial in group.finished if (run := _of_trial(trial, metric, cost))]
    shared = sorted(set.intersection(*map(set, runs))) if runs else []
    if not shared:
        return None
    scores = [[run[update][1] for run in runs] for update in shared]
    return Curve(
        [fmean(run[update][0] for run in runs) for update in shared],
        [fmean(values) for values in scores],
        [min(values) for values in scores],
        [max(values) for values in scores],
        [_tail(run, shared[-1]) for run in runs if max(run) > shared[-1]],
    )


def _tail(run: Mapping[int, tuple[float, float]], start: int) -> Tail:
    """A run from one update on."""
    points = [point for update, point in sorted(run.items()) if update >= start]
    return [cost for cost, _ in points], [score for _, score in points]


def _of_trial(trial: TrialRow, metric: str, cost: _Cost) -> dict[int, tuple[float, float]]:
    """(cost, score) by update of the judged stage; empty where one is not known."""
    before = [cost.of_stage(stage) for stage in trial.before()]
    known = [amount for amount in before if amount is not None]
    if trial.judged is None or len(known) < len(before):
        return {}
    found = {}
    for point in trial.judged.curve:
        spent = cost.of_evaluation(point)
        if spent is not None and metric in point.scores:
            found[point.update] = (sum(known) + spent, point.scores[metric])
    return found


def _draw(ax: Axes, curves: Sequence[tuple[Group, Curve, Look]]) -> None:
    ends = [c.end for _, c, _ in curves if c.end > 0]
    shade = 0.15 if len(curves) < _CROWD else 0.06
    for group, c, look in curves:
        style: dict[str, Any] = {"color": look.colour, "label": group.label}
        if c.end == 0:
            ax.axhline(max(c.mean), linestyle=":", linewidth=1.2, **style)
            continue
        ax.plot(c.x, c.mean, look.line, marker=look.marker, markersize=3.5, linewidth=1.6, **style)
        for x, y in c.tails:
            ax.plot(x, y, look.line, linewidth=0.7, color=look.colour)
        ax.fill_between(c.x, c.lowest, c.highest, color=look.colour, alpha=shade, linewidth=0)
    if ends and max(ends) / min(ends) >= _LOG_FROM:
        logarithmic(ax)
    else:
        ax.locator_params(axis="x", nbins=6)  # long numbers side by side
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))


def _heights(curves: Sequence[Curve]) -> tuple[tuple[float, float], tuple[float, float] | None]:
    """Limits of y that show where every curve ends; and those of the better half, where these are a crowd."""
    lasts = sorted(c.mean[-1] for c in curves)
    top = max(c.top for c in curves)
    lowest = min(min(c.lowest) for c in curves)
    bottom = max(lowest, lasts[0] - max(2.0, 0.5 * (top - lasts[0])))
    half = lasts[len(lasts) // 2]
    close = half - max(1.0, top - half)
    whole = (bottom - 0.5, top + 0.5)
    crowded = len(curves) >= _CROWD and top - close < 0.3 * (top - bottom)
    return whole, (close, top + 0.5) if crowded else None
