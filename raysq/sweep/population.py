"""Population based training (Jaderberg et al. 2017), in rounds that a repeated command repeats exactly.

Between two rounds the worst quarter of a population goes on from members of the best quarter, with changed
values: each is drawn anew with probability 1/4, else it is multiplied by 0.8 or by 1.2, within its range.
What is drawn depends on space, member and round alone, and each round of a member is a stage of run storage:
nothing depends on which trial was faster, and a killed sweep goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, cast

from raysq.config import Scalar, UserError
from raysq.sweep.graph import judged_stage
from raysq.sweep.plans import Configured
from raysq.sweep.space import Arm, Range, Trial, share

QUARTER = 4
"""Inverse of the part of a population that is replaced, and of the probability of drawing anew."""
FACTORS = (0.8, 1.2)


def first_round(trials: Sequence[Configured]) -> list[Trial]:
    """The members of the populations: the trials of an arm and a seed that differ in drawn values alone.

    Raises:
        UserError: a population of one; or what is drawn is no number that can change while a stage trains.
    """
    members: list[Trial] = []
    for trial, recipe, _ in trials:
        judged = judged_stage(trial, recipe)
        for axis in trial.arm.axes:
            for key in axis.keys or (axis.name,):
                if isinstance(axis.values, Range) and not key.startswith(f"{judged}."):
                    raise UserError(
                        f"--scheduler pbt: it changes settings of stage {judged} while that trains, and axis "
                        f"{axis.name} of arm {trial.arm.label} sets {key}: leave it out of the axis"
                    )
        number = 1 + sum(_population(member) == _population(trial) for member in members)
        members.append(replace(trial, member=number, round=1))
    sizes = [_population(member) for member in members]
    if any(sizes.count(population) == 1 for population in sizes):
        raise UserError("--scheduler pbt: a population needs 2 members or more: give --num-samples 8")
    return members


def next_round(
    space: str, members: Sequence[Trial], scores: Sequence[float | None], mode: Literal["max", "min"]
) -> list[tuple[Trial, int]]:
    """The members of the next round, and the place of the one that each goes on from.

    Args:
        space: its name.
        members: of one round, of any number of populations.
        scores: of each at the end of the round; None: it has come to nothing, and is replaced.
        mode: which way is better.

    Returns:
        Those that can go on, in their order; none of a population of which nobody has a score.
    """
    found = []
    for place, member in enumerate(members):
        rivals = [p for p, other in enumerate(members) if _population(other) == _population(member)]
        known = {p: score for p in rivals if (score := scores[p]) is not None}
        ranked = sorted(known, key=lambda p: known[p], reverse=mode == "max")
        worst = ranked[1:][-max(1, len(rivals) // QUARTER) :]
        number = member.round + 1
        if place in known and place not in worst:
            found.append((replace(member, round=number), place))
        elif ranked:
            at = (space, *_population(member), member.member, number)
            best = ranked[: max(1, len(ranked) // QUARTER)]
            donor = best[int(share(*at, "donor") * len(best))]
            values = _explored(member.arm, members[donor].values, at)
            found.append((replace(member, values=values, round=number), donor))
    return found


def _explored(arm: Arm, values: Mapping[str, Scalar], at: Sequence[object]) -> dict[str, Scalar]:
    """Values near those of a better member, or anywhere in their ranges."""
    found = dict(values)
    for axis in arm.axes:
        if not isinstance(axis.values, Range):
            continue
        low, high = axis.values.low, axis.values.high
        if share(*at, axis.name, "anew") < 1 / QUARTER:
            found[axis.name] = axis.values.at(share(*at, axis.name, "value"))
        else:
            factor = FACTORS[share(*at, axis.name, "factor") < 0.5]
            value = min(high, max(low, cast(float, values[axis.name]) * factor))
            found[axis.name] = float(f"{value:.6g}")
    return found


def _population(trial: Trial) -> tuple[object, ...]:
    """What its members have in common."""
    return (trial.arm.label, trial.seed, *_fixed(trial).items())


def _fixed(trial: Trial) -> dict[str, Scalar]:
    ranges = {axis.name for axis in trial.arm.axes if isinstance(axis.values, Range)}
    return {name: value for name, value in trial.values.items() if name not in ranges}
