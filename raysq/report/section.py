"""All that the report says of one space on one task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from raysq.config import UserError
from raysq.report.comparisons import Comparison, compare, significance_table
from raysq.report.critics import calibration_table, noise_table
from raysq.report.figures.by_axis import along_axis
from raysq.report.figures.critics import calibration, gradient_noise
from raysq.report.figures.curves import convergence
from raysq.report.figures.gains import gains
from raysq.report.figures.heat_map import heat_map
from raysq.report.figures.seed_grid import seed_grid
from raysq.report.figures.style import Drawing
from raysq.report.formats import Table
from raysq.report.groups import groups_of
from raysq.report.papers import TABLES, PaperTable
from raysq.report.rows import SpaceResults
from raysq.report.tables import details_table, metric_name, results_table, scores_table


@dataclass(frozen=True, slots=True)
class Section:
    """Sentences, tables and figures of a space on a task."""

    results: SpaceResults
    paper: PaperTable | None
    said: Sequence[str]
    """How far it is, what is gained, and what a reader should know."""
    tables: Sequence[Table]
    drawings: Sequence[Drawing]

    @property
    def name(self) -> str:
        """Its folder in the report."""
        return f"{self.results.space.name}-{self.results.task}"


def section_of(results: SpaceResults) -> Section:
    """Of results that are complete (``gather.completed``).

    Raises:
        UserError: the space names a table that ``papers`` does not have.
    """
    key = results.space.table
    if key is not None and key not in TABLES:
        raise UserError(
            f"space {results.space.name} names table {key}: it must be one of {', '.join(TABLES)}, or none"
        )
    paper = TABLES[key] if key else None
    groups = groups_of(results)
    comparisons = compare(results, groups)
    tables = [
        results_table(results, groups, paper),
        *([significance_table(results, comparisons)] if comparisons else []),
        *scores_table(results, groups),
        details_table(results, groups),
        *calibration_table(results, groups),
        *noise_table(results, groups),
    ]
    drawings = [
        gains(results, comparisons, paper),
        *along_axis(results, groups, paper),
        *heat_map(results, groups, paper),
        seed_grid(results, groups, paper),
        convergence(results, groups),
        calibration(results, groups),
        gradient_noise(results, groups),
    ]
    best = [_in_words(results, comparisons)] if comparisons else []
    said = [_standing(results), *best, *results.notes]
    return Section(
        results, paper, said, [t for t in tables if t.rows], [d for d in drawings if d is not None]
    )


def _standing(results: SpaceResults) -> str:
    """``7 of 9 trials have finished, 1 diverged, 1 not run.``"""
    counts = Counter(trial.state for trial in results.trials)
    finished = counts.pop("finished", 0)
    verb = "has" if finished == 1 else "have"
    parts = [f"{finished} of {len(results.trials)} trials {verb} finished"]
    parts += [f"{count} {state}" for state, count in sorted(counts.items())]
    standing = ", ".join(parts)
    return f"{standing}. The sweep is not finished: this is a part." if results.unfinished else f"{standing}."


def _in_words(results: SpaceResults, comparisons: Sequence[Comparison]) -> str:
    """The best comparison in a sentence, with what its numbers cannot show."""
    comparison = max(comparisons, key=lambda c: c.over_seeds.mean)
    seeds, sentences = comparison.over_seeds, comparison.over_sentences
    over = comparison.baseline.label
    if seeds.mean > 0:
        said = f"Most is gained over {over} by {comparison.group.marked}: {seeds.mean:+.2f}"
    else:
        said = f"Nothing gains over {over}; {comparison.group.marked} comes nearest: {seeds.mean:+.2f}"
    said += f" test {metric_name(results.space.metric)}"
    if seeds.interval is None:
        said += " with one seed, which says nothing of others"
    else:
        low, high = seeds.interval
        said += f" in the mean of {seeds.n} seeds (95 % t interval {low:+.2f} .. {high:+.2f}"
        if seeds.p_signs_flipped is not None:
            said += f", p = {seeds.p_signs_flipped:.3g} by exact change of signs"
        if seeds.least_p > 0.05:
            said += f", where {seeds.n} seeds allow no p below {seeds.least_p:g}"
        said += ")"
    if sentences is not None:
        said += f"; over sentences p = {sentences.p:.3f} (paired bootstrap)"
    if len(comparisons) > 1:
        said += f". It is the best of {len(comparisons)}, for which no p is corrected"
    return said + "."
