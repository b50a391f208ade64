"""The trials that one line of a table, or one point of a figure, is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raysq.config import as_typed
from raysq.report.rows import SpaceResults, TrialRow
from raysq.report.summary import Summary
from raysq.sweep.space import Axis, Space


@dataclass(frozen=True, slots=True)
class Group:
    """Trials that differ in nothing but seeds."""

    arm: str
    values: Mapping[str, str]
    """As typed, by axis; axes of seeds are left out."""
    trials: Sequence[TrialRow]

    @property
    def label(self) -> str:
        """``ERAC, tau 0.045``."""
        return ", ".join([self.arm, *(f"{name} {value}" for name, value in self.values.items())])

    @property
    def marked(self) -> str:
        """``label``, with a dagger where some runs count and others do not."""
        return self.label + ("†" if self.finished and self.excluded else "")

    @property
    def finished(self) -> list[TrialRow]:
        """Those that count."""
        return [trial for trial in self.trials if trial.state == "finished"]

    @property
    def excluded(self) -> dict[str, int]:
        """How many do not count, by state."""
        return dict(Counter(trial.state for trial in self.trials if trial.state != "finished"))

    @property
    def kept_start(self) -> int:
        """Runs that count and whose best checkpoint is the policy that the judged stage began with."""
        return sum(
            t.judged is not None and bool(t.judged.after) and not t.judged.best_update for t in self.finished
        )

    def scores(self, split: str, metric: str) -> list[float]:
        """A closing score of every trial that counts and has it."""
        found = [(trial.dev if split == "dev" else trial.test).get(metric) for trial in self.finished]
        return [score for score in found if score is not None]

    def summary(self, split: str, metric: str) -> Summary | None:
        """Of these scores; None where there are none."""
        scores = self.scores(split, metric)
        return Summary.of(scores) if scores else None


def groups_of(results: SpaceResults) -> list[Group]:
    """The groups of a space in its order: arms, and their values as they first occur."""
    found: dict[tuple[object, ...], list[TrialRow]] = {}
    for arm in results.space.arms:
        for trial in results.trials:
            if trial.arm == arm.label:
                found.setdefault((arm.label, *_values(results.space, trial).items()), []).append(trial)
    return [Group(trials[0].arm, _values(results.space, trials[0]), trials) for trials in found.values()]


def baseline_of(groups: Sequence[Group], label: str | None, group: Group) -> Group | None:
    """The group of arm ``label`` that ``group`` is compared with: of the same values, or the only one.

    None: there is none, several would do, or it is the group itself.
    """
    candidates = [other for other in groups if other.arm == label]
    same = [other for other in candidates if other.values == group.values]
    chosen = same or candidates
    return chosen[0] if len(chosen) == 1 and chosen[0] is not group else None


Pair = tuple[TrialRow, TrialRow]
"""A trial and the baseline's."""


def pairs(group: Group, baseline: Group, metric: str) -> list[list[Pair]]:
    """Trials that count on both sides and have the same seeds; those of one seed together.

    Seeds of stages that only one side varies do not tell pairs apart: the nine actors of a grid, beside
    the one MLE actor they began at, are nine pairs of one seed.
    """
    shared = sorted(_seeds(group) & _seeds(baseline))

    def seeds(trial: TrialRow) -> tuple[object, ...]:
        return trial.seed, *(trial.values[axis] for axis in shared)

    found: dict[tuple[object, ...], list[Pair]] = {}
    for trial in group.finished:
        for other in baseline.finished:
            if seeds(trial) == seeds(other) and metric in trial.test and metric in other.test:
                found.setdefault(seeds(trial), []).append((trial, other))
    return list(found.values())


def setting(results: SpaceResults) -> str:
    """The task, and which schedules their number of updates ended: what captions say of every number."""
    return f"{results.task} (short schedules: {results.schedule})" if results.schedule else results.task


def axes_of(space: Space, arm: str) -> tuple[Axis, ...]:
    """The axes of an arm that are no seeds."""
    return tuple(axis for a in space.arms if a.label == arm for axis in a.axes if not of_seeds(axis))


def seed_axes_of(space: Space, arm: str) -> tuple[Axis, ...]:
    """The axes of an arm that are seeds of single stages."""
    return tuple(axis for a in space.arms if a.label == arm for axis in a.axes if of_seeds(axis))


def settings_of(space: Space, group: Group) -> dict[str, str]:
    """What a group sets, as typed, by the last part of the dotted key."""
    (arm,) = (arm for arm in space.arms if arm.label == group.arm)
    found = {key.rpartition(".")[2]: as_typed(value) for key, value in arm.settings.items()}
    for axis in axes_of(space, group.arm):
        for key in axis.keys or (axis.name,):
            found[key.rpartition(".")[2]] = group.values[axis.name]
    return found


def of_seeds(axis: Axis) -> bool:
    """Whether an axis varies nothing but seeds of stages (``critic.seed``): its trials are repetitions."""
    return all(key.rpartition(".")[2] == "seed" for key in axis.keys or (axis.name,))


def order(value: str) -> tuple[bool, float | str]:
    """A key that sorts values as typed: numbers by size, then words (whose key begins with True)."""
    try:
        return False, float(value)
    except ValueError:
        return True, value


def _values(space: Space, trial: TrialRow) -> dict[str, str]:
    seeds = {axis.name for axis in seed_axes_of(space, trial.arm)}
    return {name: value for name, value in trial.values.items() if name not in seeds}


def _seeds(group: Group) -> set[str]:
    """Axes of seeds, by what the group's own values leave out."""
    return {name for trial in group.trials for name in trial.values} - set(group.values)
