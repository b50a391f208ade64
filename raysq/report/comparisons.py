"""Is it chance? Every group beside the space's baseline, over seeds and over sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from raysq.report.bootstrap import DRAWS, METRICS, Bootstrap, Difference
from raysq.report.formats import NONE, Cell, Column, Table
from raysq.report.groups import Group, baseline_of, pairs, setting
from raysq.report.rows import SpaceResults
from raysq.report.summary import PairedSeeds
from raysq.report.tables import metric_name


@dataclass(frozen=True, slots=True)
class Comparison:
    """A group beside its baseline."""

    group: Group
    baseline: Group
    gains: Sequence[float]
    """Of each pair of runs, upwards better."""
    over_seeds: PairedSeeds
    """Of the means of each seed's pairs: what shares a seed counts once."""
    over_sentences: Difference | None
    """All pairs together, the same sentences drawn for each; None: no references, or no hypotheses."""
    by_pair: Sequence[Difference]
    """Each pair alone, sacreBLEU's paired bootstrap."""
    of_means: float
    """Mean of all the group's runs less that of all the baseline's, upwards better."""


def compare(results: SpaceResults, groups: Sequence[Group]) -> list[Comparison]:
    """Every group that has runs in common with its baseline."""
    metric, baseline = results.space.metric, results.space.baseline
    sign = 1.0 if results.space.mode == "max" else -1.0
    bootstrap = Bootstrap(results.references, metric) if results.references and metric in METRICS else None
    found = []
    for group in groups:
        other = baseline_of(groups, baseline, group)
        by_seed = pairs(group, other, metric) if other else []
        if other is None or not by_seed:
            continue
        gains = [[sign * (a.test[metric] - b.test[metric]) for a, b in paired] for paired in by_seed]
        texts = [(a.hypotheses, b.hypotheses) for paired in by_seed for a, b in paired]
        complete = [(a, b) for a, b in texts if a is not None and b is not None]
        together, single = None, []
        if bootstrap is not None and complete:
            together = bootstrap.difference(complete)
            single = [bootstrap.difference([pair]) for pair in complete]
        seeds = PairedSeeds.of([fmean(of_seed) for of_seed in gains])
        of_means = sign * (fmean(group.scores("test", metric)) - fmean(other.scores("test", metric)))
        each = [g for of_seed in gains for g in of_seed]
        found.append(Comparison(group, other, each, seeds, together, single, of_means))
    return found


def significance_table(results: SpaceResults, comparisons: Sequence[Comparison]) -> Table:
    """Gains over the baseline with their intervals and p; what few seeds cannot show is said."""
    titles = (
        "algorithm",
        "difference of means",
        "runs",
        "mean gain of pairs",
        "sd",
        "95 % over seeds (t)",
        "better",
        "p, signs flipped (exact)",
        "p, sign test (exact)",
        "95 % over sentences",
        "p, paired bootstrap",
        "the same by pair",
    )
    rows = [
        [
            Cell(_said(results, c)),
            Cell(f"{c.of_means:+.2f}", c.of_means),
            Cell(f"{len(c.group.finished)} : {len(c.baseline.finished)}"),
            Cell(f"{c.over_seeds.mean:+.2f}", c.over_seeds.mean),
            Cell.number(c.over_seeds.deviation),
            _interval(c.over_seeds.interval),
            Cell(f"{c.over_seeds.better} of {c.over_seeds.n}"),
            Cell.number(c.over_seeds.p_signs_flipped, 3),
            Cell.number(c.over_seeds.p_sign_test, 3),
            _interval(c.over_sentences.interval if c.over_sentences else None),
            Cell.number(c.over_sentences.p if c.over_sentences else None, 3),
            Cell(", ".join(f"{d.p:.3f}" for d in c.by_pair) or NONE),
        ]
        for c in comparisons
    ]
    caption = (
        f"{results.space.title}: gain in test {metric_name(results.space.metric)} over "
        f"{results.space.baseline}, runs paired by seed, {setting(results)}"
    )
    notes = _notes(comparisons, results.space.metric)
    return Table("significance", caption, [Column(t) for t in titles], rows, notes)


def _said(results: SpaceResults, comparison: Comparison) -> str:
    """The group, and its baseline where that is one of several."""
    baseline = comparison.baseline.label
    return comparison.group.marked + ("" if baseline == results.space.baseline else f" (beside {baseline})")


def _interval(interval: tuple[float, float] | None) -> Cell:
    return Cell(NONE, "") if interval is None else Cell(f"{interval[0]:+.2f} .. {interval[1]:+.2f}")


def _notes(comparisons: Sequence[Comparison], metric: str) -> list[str]:
    notes = [
        "Pairs are runs of one seed. Runs that the other side has no partner for are in the difference of "
        "means alone; p and intervals are not corrected for the number of algorithms compared."
    ]
    if metric == "rouge":
        notes.append("ROUGE is the mean of ROUGE-1, ROUGE-2 and ROUGE-L.")
    for n in sorted({c.over_seeds.n for c in comparisons}):
        least = PairedSeeds.of([0.0] * n).least_p
        if least > 0.05:
            said = "one seed says nothing" if n == 1 else f"{n} seeds say little"
            notes.append(f"Over seeds: {said}, no p below {least:g} is possible in the exact tests.")
    repeated = [c for c in comparisons if len(c.gains) > c.over_seeds.n]
    if repeated:
        said = ", ".join(f"{c.group.label} ({len(c.gains)} pairs of runs)" for c in repeated)
        notes.append(f"Pairs of one seed share the baseline's run: their mean counts once. {said}.")
    sharing = [c.group.label for c in comparisons if _shares(c)]
    if sharing:
        notes.append(
            f"{', '.join(sharing)}: runs share critics and actors, so that they are not independent, and "
            "intervals and p over seeds are too small."
        )
    whose = "sacreBLEU's paired bootstrap" if metric == "bleu" else "paired bootstrap"
    notes.append(
        f"Over sentences: {whose}, {DRAWS} draws of the test sentences. All pairs "
        "together: the same sentences are drawn for every pair, and the mean of the pairs' differences is "
        "tested. It says whether these models differ on other sentences, not whether other seeds would."
    )
    return notes


def _shares(comparison: Comparison) -> bool:
    """Whether seeds that count as several share a stage: those of a grid, beside a grid's."""
    trials = comparison.group.finished
    return comparison.over_seeds.n > len({trial.seed for trial in trials})
