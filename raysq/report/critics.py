"""Tables of the papers' claim: how far critics are right, and how noisy gradients are."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from raysq.report.formats import Cell, Column, Table
from raysq.report.groups import Group, setting
from raysq.report.rows import Calibration, SpaceResults, StageRow


def judged_critics(group: Group) -> list[StageRow]:
    """The judged stages of a group's runs whose critic was compared with returns."""
    return [t.judged for t in group.finished if t.judged is not None and t.judged.calibration]


def overall(stage: StageRow) -> Calibration:
    """The row over all positions of a stage that has a calibration."""
    return next(row for row in stage.calibration if row.position == 0)


def measured_noise(group: Group, when: str, *, own: bool) -> list[dict[str, float | None]]:
    """What was measured of the gradient in a group's runs.

    Args:
        group: of the runs.
        when: ``first``, at the first update, or ``best``, at the best checkpoint.
        own: of the algorithm's own terms, without the MLE that some mix in; otherwise of the whole loss.
    """
    found = [trial.judged.gradient_noise.get(when) for trial in group.finished if trial.judged]
    measured: list[dict[str, Any]] = [noise for noise in found if noise]
    return [noise.get("without_mle", noise) if own else noise for noise in measured]


def calibration_table(results: SpaceResults, groups: Sequence[Group]) -> list[Table]:
    """Critics beside the returns of dev samples; none where none was measured."""
    rows = []
    for group in groups:
        for name, critics in _critics(group).items():
            if not critics:
                continue
            rows.append(
                [
                    Cell(group.label),
                    Cell(name),
                    Cell.number(fmean(c.correlation for c in critics), 3),
                    Cell.number(fmean(c.mean_q for c in critics), 3),
                    Cell.number(fmean(c.mean_return for c in critics), 3),
                    Cell(f"{len(critics)}", len(critics)),
                ]
            )
    if not rows:
        return []
    titles = ("algorithm", "stage", "correlation of Q and return", "mean Q", "mean return", "runs")
    caption = f"{results.space.title}: critics beside Monte-Carlo returns of dev samples, {setting(results)}"
    return [Table("critics", caption, [Column(title) for title in titles], rows)]


def noise_table(results: SpaceResults, groups: Sequence[Group]) -> list[Table]:
    """Noise of the policies' gradients; none where none was measured."""
    rows = []
    for group in groups:
        cells = []
        for when in ("first", "best"):
            whole, own = (measured_noise(group, when, own=own) for own in (False, True))
            cells += [_mean_variance(whole), _ratio(whole), _ratio(own)]
        if any(cell.value != "" for cell in cells):
            rows.append([Cell(group.label), *cells])
    if not rows:
        return []
    titles = (
        "algorithm",
        "variance, first update",
        "variance / squared mean",
        "without the MLE term",
        "variance, best checkpoint",
        "variance / squared mean",
        "without the MLE term",
    )
    caption = f"{results.space.title}: noise of the policy's gradient on one batch, {setting(results)}"
    note = (
        "Of independent draws of samples and dropout for one batch: the mean variance over runs, and the sum "
        "of the variances over the sum of the squared means, so that runs whose mean the noise hides count "
        "too. Where that sum is not above 0 there is no ratio. Without the MLE term: what joint training "
        "mixes in is left out of the gradient, where there is any."
    )
    return [Table("gradient-noise", caption, [Column(title) for title in titles], rows, [note])]


def _critics(group: Group) -> dict[str, list[Calibration]]:
    """Critics of all stages of a group's runs by name of the stage, each over all positions."""
    found: dict[str, list[Calibration]] = {}
    for trial in group.finished:
        for stage in [*trial.before(), *([trial.judged] if trial.judged else [])]:
            if stage.calibration:
                found.setdefault(stage.name, []).append(overall(stage))
    return found


def _values(measured: Sequence[dict[str, float | None]], key: str) -> list[float]:
    return [value for noise in measured if (value := noise.get(key)) is not None]


def _mean_variance(measured: Sequence[dict[str, float | None]]) -> Cell:
    values = _values(measured, "variance")
    return Cell.number(fmean(values) if values else None, 3)


def _ratio(measured: Sequence[dict[str, float | None]]) -> Cell:
    """Variance over squared mean of all runs together: leaving out the noisiest would flatter."""
    squares = sum(_values(measured, "mean_squared_norm"))
    return Cell.number(sum(_values(measured, "variance")) / squares if squares > 0 else None, 3)
