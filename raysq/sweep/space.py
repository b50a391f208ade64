"""A tune space as data: recipes with what varies in them, and seeds; expanded to trials.

SPACE = Space("tau", arms=(
    Arm("ERAC", "erac", axes=(Axis("tau", (0.0, 0.045), keys=("critic.tau", "erac.tau")),)),
), seeds=(1, 2))
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from raysq.config import Scalar, UserError, as_typed
from raysq.metrics import NAMES
from raysq.records import first_reason

SCORES = {
    *NAMES,
    "brevity_penalty",
    "length_ratio",
    "sample_bleu",
    "sample_length",
    "perplexity",
    "greedy_bleu",
    "greedy_rouge",
    "oracle_bleu",
    "oracle_rouge",
    "oracle_length_ratio",
    "td_error",
    "explained",
    "correlation",
}
"""What evaluations of stages measure."""


MAX_TRIALS = 100_000
"""Of a space."""
NAME = r"\w[\w.+ -]*"
"""Names of spaces and of tasks, which name folders."""


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers to draw from, uniformly, or (``log``) uniformly in their logarithm."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise UserError(f"{self}: low must be under high, and above 0 with log")

    def at(self, share: float) -> float:
        """The value below which this share of the draws lies; 6 digits, so that it reads as it is."""
        if self.log:
            value = math.exp(math.log(self.low) + share * math.log(self.high / self.low))
        else:
            value = self.low + share * (self.high - self.low)
        return float(f"{value:.6g}")


@dataclass(frozen=True, slots=True)
class Axis:
    """Settings that vary together: one, or several that mean one thing."""

    name: str
    """How runs, tables and figures name it."""
    values: tuple[Scalar, ...] | Range
    """Every one of these, or numbers drawn from a range."""
    keys: tuple[str, ...] = ()
    """Dotted keys that take the value; none: its name."""

    def __post_init__(self) -> None:
        if not isinstance(self.values, Range) and not (isinstance(self.values, tuple) and self.values):
            raise UserError(
                f"axis {self.name}: values must be a Range or a tuple, (x,) of one, not {self.values}"
            )

    def settings(self, value: Scalar) -> dict[str, Scalar]:
        """The settings of one value."""
        return dict.fromkeys(self.keys or (self.name,), value)


@dataclass(frozen=True, slots=True)
class Arm:
    """One line of a comparison: a recipe, its fixed settings and what varies."""

    label: str
    """How tables name it."""
    recipe: str
    """Of the workflow of this name."""
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    """By dotted key, over the defaults of task and preset."""
    axes: tuple[Axis, ...] = ()
    seeds: tuple[int, ...] | None = None
    """None: the space's."""
    stage: str | None = None
    """Stage whose policy is judged; none: the last one that is no control."""


@dataclass(frozen=True, slots=True)
class Space:
    """What a sweep compares."""

    name: str
    title: str
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...] = (1, 2, 3)
    metric: str = "bleu"
    """Dev score of the judged stage by which a search picks its best trial, and schedulers stop others."""
    mode: Literal["max", "min"] = "max"
    baseline: str | None = None
    """Label of the arm that the others are compared with."""
    table: str | None = None
    """Table or figure of a paper that it repeats, as ``raysq/report/papers.py`` calls it."""
    rouge_table: str | None = None
    """The same where text is scored by ROUGE."""

    def __post_init__(self) -> None:
        if not re.fullmatch(NAME, self.name):
            raise UserError(f"tune space {self.name}: its name must fit a folder, as tau_2 does: mend it")
        labels = [arm.label for arm in self.arms]
        if not self.arms or not self.seeds or any("," in label for label in labels):
            raise UserError(f"tune space {self.name} needs arms, without commas in their labels, and seeds")
        if self.baseline is not None and self.baseline not in labels:
            raise UserError(
                f"tune space {self.name}: baseline {self.baseline} must be the label of an arm "
                f"({', '.join(labels)}), or none: mend it"
            )
        if self.metric not in SCORES:
            raise UserError(
                f"tune space {self.name}: metric {self.metric} must be one of {', '.join(sorted(SCORES))}: "
                "mend it"
            )

    @property
    def searches(self) -> bool:
        """Whether values are drawn: schedulers may stop trials of such a space, never those of a grid."""
        return any(isinstance(axis.values, Range) for arm in self.arms for axis in arm.axes)

    def scored_by(self, scoring: str) -> Space:
        """The space on a task with this ``decoding.scoring``: ROUGE takes the place of BLEU."""
        if scoring != "rouge" or self.metric != "bleu":
            return self
        return replace(self, metric="rouge", table=self.rouge_table)

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def check_types(self) -> None:
        """Python lets a file write anything into a space. Raises UserError where it is not as annotated."""
        try:
            meant = TypeAdapter(Space).validate_python(self.as_data())
        except ValidationError as error:
            raise UserError(f"{first_reason(error)}: mend it") from error
        except TypeError as error:  # what cannot be copied
            raise UserError(f"it holds what is no data ({error}): mend it") from error
        for name in (one.name for one in fields(self)):
            if getattr(meant, name) != getattr(self, name):
                raise UserError(f"{name}: must be {getattr(meant, name)}, not {getattr(self, name)}: mend it")


@dataclass(frozen=True, slots=True)
class Trial:
    """One arm with one value of each of its axes and one seed."""

    arm: Arm
    seed: int
    values: Mapping[str, Scalar]
    """By name of the axis."""
    member: int = 0
    """Of a population, from 1; 0: of none."""
    round: int = 0
    """Of the population's training, from 1."""

    @property
    def settings(self) -> dict[str, Scalar]:
        """All that it sets, by dotted key."""
        by_axis = [axis.settings(self.values[axis.name]) for axis in self.arm.axes]
        return {"seed": self.seed, **self.arm.settings, **{k: v for part in by_axis for k, v in part.items()}}

    @property
    def said(self) -> str:
        """Arm, values and seed, as tables and messages name it."""
        values = [f"{name}={as_typed(value)}" for name, value in self.values.items()]
        place = [f"member {self.member} round {self.round}"] if self.member else []
        return " ".join([self.arm.label, *values, f"seed {self.seed}", *place])


def trials(space: Space, seeds: Sequence[int] = (), num_samples: int = 1) -> list[Trial]:
    """The trials of a space, those of a seed together.

    Args:
        space: of the trials.
        seeds: instead of the space's; an arm's own stay.
        num_samples: draws of every arm that has a range; each seed takes the same draws.

    Raises:
        UserError: two trials would be the same, or there are more than ``MAX_TRIALS``.
    """
    every = (
        Trial(arm, seed, values)
        for arm in space.arms
        for seed in arm.seeds or tuple(seeds) or space.seeds
        for values in _points(space, arm, num_samples)
    )
    found = list(itertools.islice(every, MAX_TRIALS + 1))
    if len(found) > MAX_TRIALS:
        raise UserError(f"tune space {space.name} has more than {MAX_TRIALS:,} trials: give fewer values")
    for name, count in Counter(trial.said for trial in found).items():
        if count > 1:
            raise UserError(f"tune space {space.name} has {count} trials {name}: give each once")
    return found


def _points(space: Space, arm: Arm, num_samples: int) -> Iterator[dict[str, Scalar]]:
    """Every combination of an arm's values, and as many draws from its ranges for each."""
    grids = [axis.values for axis in arm.axes if not isinstance(axis.values, Range)]
    ranges = {axis.name: axis.values for axis in arm.axes if isinstance(axis.values, Range)}
    fixed = [axis.name for axis in arm.axes if axis.name not in ranges]
    for combination in itertools.product(*grids):
        for sample in range(num_samples if ranges else 1):
            values = dict(zip(fixed, combination, strict=True))
            values |= {name: r.at(share(space.name, arm.label, name, sample)) for name, r in ranges.items()}
            yield {axis.name: values[axis.name] for axis in arm.axes}


def share(*place: object) -> float:
    """A uniform number that depends on its place alone: the same command draws the same trials."""
    seed = hashlib.sha256("/".join(map(str, place)).encode()).digest()
    return float(np.random.default_rng(list(seed)).random())
