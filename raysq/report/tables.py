"""The tables of a space: results in the papers' form, what they took, and the papers' own rows."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from raysq.config import same_typed
from raysq.metrics import NAMES
from raysq.report.formats import NONE, Cell, Column, Table
from raysq.report.groups import Group, setting, settings_of
from raysq.report.papers import PaperRow, PaperTable, Published
from raysq.report.rows import SpaceResults
from raysq.report.summary import Summary
from raysq.sweep.space import Space

METRICS = NAMES | {"sample_bleu": "sample BLEU", "greedy_bleu": "greedy BLEU"}
"""What people call a score."""


def metric_name(metric: str) -> str:
    """What people call a score; its own name where they do not."""
    return METRICS.get(metric, metric)


def judged_by(results: SpaceResults, paper: PaperTable | None) -> tuple[str, str]:
    """Split and score that a space is shown by: the paper's, or its own on test."""
    return (paper.split, paper.metric) if paper else ("test", results.space.metric)


def results_table(results: SpaceResults, groups: Sequence[Group], paper: PaperTable | None) -> Table:
    """Mean, spread, range and number of runs of every group; beside them the paper's numbers.

    The paper's rows come first, each with our groups of the same algorithm and settings, or "not run"; what
    the paper does not have follows.
    """
    split, metric = judged_by(results, paper)
    rows: list[list[Cell]] = []
    shown: list[Group] = []
    for theirs in paper.rows if paper else ():
        of_row = [group for group in groups if _matches(results.space, group, theirs)]
        shown += of_row
        numbers = [_published(number) for number in theirs.numbers]
        rows += [[*_ours(group, split, metric), *numbers] for group in of_row]
        if not of_row:
            said = "not run" if theirs.arm else "quoted, not in raysq"
            rows.append([Cell(theirs.label), Cell(said), *[Cell(NONE, "")] * 5, *numbers])
    columns = paper.columns if paper else ()
    others = [group for group in groups if group not in shown]
    rows += [[*_ours(group, split, metric), *[Cell(NONE, "")] * len(columns)] for group in others]
    ours = [Column(title) for title in ("algorithm", "mean", "sd", "min", "max", "n", "not counted")]
    titles = [Column(f"{paper.paper}: {c.title} ({c.data})", theirs=True) for c in columns] if paper else []
    caption = f"{results.space.title}: {split} {metric_name(metric)}, {setting(results)}"
    return Table("results", caption, [*ours, *titles], rows, _notes(groups, paper))


def scores_table(results: SpaceResults, groups: Sequence[Group]) -> list[Table]:
    """Every corpus score that the test split has, with its spread; nothing where BLEU is the only one."""
    names = [name for name in NAMES if any(group.scores("test", name) for group in groups)]
    if len(names) < 2:
        return []
    names = [name for name in names if not (name == "bleu" and "bleu4" in names)]  # the same number
    rows = [
        [Cell(group.marked), *(_spread(group.summary("test", name)) for name in names)]
        for group in groups
        if group.finished
    ]
    titles = ["algorithm", *map(metric_name, names)]
    caption = (
        f"{results.space.title}: all test scores, mean ± standard deviation over runs, {setting(results)}"
    )
    return [Table("scores", caption, [Column(title) for title in titles], rows, [])]


def details_table(results: SpaceResults, groups: Sequence[Group]) -> Table:
    """Means of the other scores, and what the judged stage and those before it took."""
    rows = []
    for group in groups:
        if not group.finished:
            continue
        judged = [trial.judged for trial in group.finished if trial.judged]
        calls = [stage.reward_calls for stage in judged if stage.reward_calls is not None]
        before = [sum(stage.seconds for stage in trial.before()) for trial in group.finished]
        rows.append(
            [
                Cell(group.marked),
                Cell.number(_mean(group.scores("dev", results.space.metric))),
                Cell.number(_mean(group.scores("test", "sample_bleu"))),
                Cell.number(_mean(group.scores("test", "length_ratio")), 3),
                Cell.number(_mean(group.scores("test", "perplexity"))),
                Cell.number(_mean([stage.updates for stage in judged]), 0),
                Cell.number(_mean([stage.best_update for stage in judged]), 0),
                Cell.number(_minutes([stage.seconds for stage in judged]), 1),
                Cell.number(_mean(calls), 0),
                Cell.number(_minutes(before), 1),
            ]
        )
    titles = (
        "algorithm",
        f"dev {metric_name(results.space.metric)}",
        "test sample BLEU [%]",
        "length ratio",
        "perplexity",
        "updates",
        "best update",
        "time [min]",
        "reward calls [sequences]",
        "time of the stages before [min]",
    )
    caption = f"{results.space.title}: other test scores and costs, means over runs, {setting(results)}"
    note = "Updates, time and reward calls are those of the stage whose policy is judged."
    return Table("details", caption, [Column(title) for title in titles], rows, [note])


def quoted_table(paper: PaperTable) -> Table:
    """A paper's table of which nothing of ours has been run."""
    rows = [
        [
            Cell(row.label),
            Cell("not run" if row.arm else "quoted, not in raysq"),
            *map(_published, row.numbers),
        ]
        for row in paper.rows
    ]
    theirs = [Column(f"{c.title} ({c.data})", theirs=True) for c in paper.columns]
    caption = f"{paper.paper}, {paper.place}: {paper.title}"
    return Table(
        paper.key, caption, [Column("algorithm"), Column("ours"), *theirs], rows, _paper_notes(paper)
    )


def paper_rows(space: Space, paper: PaperTable | None, group: Group) -> list[PaperRow]:
    """The paper's rows of the same algorithm and settings as a group."""
    return [row for row in paper.rows if _matches(space, group, row)] if paper else []


def _matches(space: Space, group: Group, row: PaperRow) -> bool:
    if row.arm != group.arm:
        return False
    values = settings_of(space, group)
    return all(name in values and same_typed(values[name], value) for name, value in row.settings.items())


def _ours(group: Group, split: str, metric: str) -> list[Cell]:
    summary = group.summary(split, metric)
    if summary is None:
        said = f"no {metric_name(metric)}" if group.finished else _states(group)
        return [Cell(group.marked), Cell(said), *[Cell(NONE, "")] * 3, Cell("0", 0), _not_counted(group)]
    return [
        Cell(group.marked),
        Cell.number(summary.mean),
        Cell.number(summary.deviation),
        Cell.number(summary.lowest),
        Cell.number(summary.highest),
        Cell(f"{summary.n}", summary.n),
        _not_counted(group),
    ]


def _not_counted(group: Group) -> Cell:
    return Cell(_counts(group)) if group.finished and group.excluded else Cell(NONE, "")


def _spread(summary: Summary | None) -> Cell:
    """``27.01 ± 0.20``."""
    if summary is None:
        return Cell(NONE, "")
    spread = "" if summary.deviation is None else f" ± {summary.deviation:.2f}"
    return Cell(f"{summary.mean:.2f}{spread}", summary.mean)


def _states(group: Group) -> str:
    """``not run``, ``2 diverged, 1 not run``."""
    counts = group.excluded
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def _published(number: Published | None) -> Cell:
    """``27.01 ± 0.20 (26.72 .. 27.27)``."""
    if number is None:
        return Cell(NONE, "")
    text = f"{number.mean:.2f}"
    if number.deviation is not None:
        text += f" ± {number.deviation:.2f}"
    if number.lowest is not None:
        text += f" ({number.lowest:.2f} .. {number.highest:.2f})"
    elif number.highest is not None:
        text += f" (max {number.highest:.2f})"
    return Cell(text + number.remark[:1])


def _notes(groups: Sequence[Group], paper: PaperTable | None) -> list[str]:
    notes = []
    if any(group.excluded and group.finished for group in groups):
        notes.append("† Not all runs are counted: see the column.")
    kept = [f"{g.label} {g.kept_start} of {len(g.finished)}" for g in groups if g.kept_start]
    if kept:
        notes.append(f"Runs whose best checkpoint is the actor they began with: {', '.join(kept)}.")
    parents = [f"{g.label} {count}" for g in groups if (count := _after_divergence(g))]
    if parents:
        notes.append(f"Runs that went on from the best checkpoint of a diverged stage: {', '.join(parents)}.")
    return notes + (_paper_notes(paper) if paper else [])


def _after_divergence(group: Group) -> int:
    return sum(any(stage.state == "diverged" for stage in trial.before()) for trial in group.finished)


def _counts(group: Group) -> str:
    return ", ".join(f"{count} {state}" for state, count in group.excluded.items())


def _paper_notes(paper: PaperTable) -> list[str]:
    notes = [f"Numbers in italics are theirs: {paper.paper}, {paper.place}, on the data named there."]
    if not paper.rows:
        notes = []
    if paper.remark:
        notes.append(f"{paper.paper}, {paper.place}: {paper.remark}")
    return notes


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _minutes(seconds: Sequence[float]) -> float | None:
    return fmean(seconds) / 60 if seconds else None
