"""The papers' claim itself: whether critics are right, and how noisy the gradients are."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

from matplotlib.axes import Axes

from raysq.report.critics import judged_critics, measured_noise, overall
from raysq.report.figures.style import (
    INK,
    MUTED,
    VALUES_SAID,
    Drawing,
    Look,
    canvas,
    legend,
    logarithmic,
    looks,
    looks_of,
)
from raysq.report.groups import Group, setting
from raysq.report.rows import SpaceResults, StageRow

_IN_A_ROW = 8
"""Groups at most in one row of panels."""


def calibration(results: SpaceResults, groups: Sequence[Group]) -> Drawing | None:
    """Q against the Monte-Carlo return by tenths of Q, and correlation and bias by position."""
    shown = [(group, stages) for group in groups if (stages := judged_critics(group))]
    if not shown:
        return None
    look = looks_of([group for group, _ in shown])
    size = ceil(len(shown) / ceil(len(shown) / _IN_A_ROW))
    parts = [shown[k : k + size] for k in range(0, len(shown), size)]
    with canvas(12.6, 4.2 * len(parts), 3, len(parts)) as (figure, axes):
        for k, part in enumerate(parts):
            panels = axes[3 * k : 3 * k + 3]
            for ax, first in zip(panels, axes, strict=False):
                if ax is not first:
                    ax.sharex(first)
                    ax.sharey(first)
            for group, stages in part:
                for stage in stages:
                    _draw_critic(panels, stage, look[group.label], group.label)
            _say_what_they_are(*panels)
        legend(figure)
    caption = (
        f"Critics on dev samples of the policy, {setting(results)}, one line a run. Left: what Q says beside "
        "what the sample then earned, dotted where both agree. Middle and right: by position of the word."
    )
    if any(group.values for group, _ in shown):
        caption += VALUES_SAID
    if len(parts) > 1:
        caption += f" {len(shown)} groups in {len(parts)} rows, in the order of the legend, axes alike."
    return Drawing("critic-calibration", caption, figure)


def _draw_critic(panels: Sequence[Axes], stage: StageRow, look: Look, label: str) -> None:
    """One run in each of the three panels."""
    bins, correlation, bias = panels
    style: dict[str, Any] = {"color": look.colour, "marker": look.marker, "linestyle": look.line}
    style |= {"markersize": 4, "label": label}
    whole = overall(stage)
    by_position = [row for row in stage.calibration if row.position]
    positions = [row.position for row in by_position]
    bins.plot([b[0] for b in whole.bins], [b[1] for b in whole.bins], **style)
    correlation.plot(positions, [row.correlation for row in by_position], **style)
    bias.plot(positions, [row.mean_q - row.mean_return for row in by_position], **style)


def _say_what_they_are(bins: Axes, correlation: Axes, bias: Axes) -> None:
    bins.axline((0, 0), slope=1, color=INK, linewidth=0.9, linestyle=":")
    bins.set(xlabel="Q, mean of a tenth [reward]", ylabel="Monte-Carlo return, mean [reward]")
    correlation.set(xlabel="position of the word", ylabel="correlation of Q and return")
    bias.axhline(0, color=INK, linewidth=0.9, linestyle=":")
    bias.set(xlabel="position of the word", ylabel="mean Q - mean return [reward]")


def gradient_noise(results: SpaceResults, groups: Sequence[Group]) -> Drawing | None:
    """Variance of the policy's gradient over its squared mean, at the start and at the best checkpoint."""
    shown = [g for g in groups if any(measured_noise(g, when, own=True) for when in ("first", "best"))]
    if not shown:
        return None
    with canvas(7.6, 1.3 + 0.42 * len(shown)) as (figure, (ax,)):
        found = looks([group.arm for group in shown])
        for place, group in enumerate(shown):
            look = found[group.arm]
            for when, face in (("first", "none"), ("best", look.colour)):
                ratios = [noise["relative"] for noise in measured_noise(group, when, own=True)]
                x = [ratio for ratio in ratios if ratio]  # none to draw: hidden by noise, or 0 without draws
                ax.plot(x, [place] * len(x), "o", color=look.colour, markerfacecolor=face, markersize=7)
        ax.plot([], [], "o", color=MUTED, markerfacecolor="none", linestyle="", label="at the first update")
        ax.plot([], [], "o", color=MUTED, linestyle="", label="at the best checkpoint")
        logarithmic(ax)
        ax.set_yticks(range(len(shown)), [group.label for group in shown])
        ax.set_ylim(len(shown) - 0.5, -0.5)
        ax.set_xlabel("variance of the gradient\n/ squared norm of its mean")
        legend(figure)
    caption = (
        f"Noise of the policy's gradient on one batch of {setting(results)}, independent draws of samples "
        "and dropout, a point for each run: above 1 the noise of one update outweighs its direction. Where "
        "algorithms begin at the same actor, open circles compare them at the same policy. The MLE term that "
        "joint training mixes in is left out."
    )
    return Drawing("gradient-noise", caption, figure)
