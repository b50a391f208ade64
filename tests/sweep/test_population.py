from dataclasses import replace
from typing import Any

import pytest

from raysq.config import UserError
from raysq.sweep.plans import Trials
from raysq.sweep.population import first_round, next_round
from raysq.sweep.settings import TuneSettings
from raysq.sweep.space import Arm, Axis, Range, Space, Trial
from workflows.tune import recipe_named

RATE = Axis("rate", Range(1e-4, 1e-1, log=True), ("erac.learning_rate",))
WEIGHT = Axis("weight", Range(0.1, 0.5), ("erac.lambda_mle",))
ARM = Arm("ERAC", "erac", axes=(RATE, WEIGHT))


def population(space: Space, **settings: Any) -> list[Trial]:
    found = TuneSettings(space=space.name, scheduler="pbt", **settings)
    return first_round(Trials(space, found, recipe_named).all())


def members(count: int, seed: int = 1) -> list[Trial]:
    values = [{"rate": 0.001 * (k + 1), "weight": 0.2} for k in range(count)]
    return [Trial(ARM, seed, v, member=k + 1, round=1) for k, v in enumerate(values)]


def test_members_are_counted_by_arm_seed_and_fixed_values() -> None:
    tau = Axis("tau", (0.0, 0.1), ("critic.tau", "erac.tau"))
    space = Space(
        "s",
        "S",
        (
            Arm("ERAC", "erac", axes=(RATE, tau)),
            Arm("AC", "ac", axes=(Axis("rate", Range(0.0, 1.0), ("ac.learning_rate",)),)),
        ),
        seeds=(1, 2),
    )
    found = population(space, num_samples=3)
    assert [m.member for m in found] == [1, 2, 3] * 6
    assert {m.round for m in found} == {1}
    assert found[0].said.endswith("seed 1 member 1 round 1")


@pytest.mark.parametrize(
    ("axis", "samples", "message"),
    [
        (Axis("tau", Range(0.0, 1.0), ("critic.tau", "erac.tau")), 4, "axis tau of arm ERAC sets critic.tau"),
        (Axis("dropout", Range(0.0, 1.0), ("network.dropout",)), 4, "axis dropout of arm ERAC sets network"),
        (RATE, 1, "a population needs 2 members or more"),
    ],
)
def test_what_has_no_population_is_a_mistake(axis: Axis, samples: int, message: str) -> None:
    space = Space("s", "S", (Arm("ERAC", "erac", axes=(axis,)),), seeds=(1,))
    with pytest.raises(UserError, match=message):
        population(space, num_samples=samples)


@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_worst_quarter_goes_on_from_the_best_quarter(mode: Any) -> None:
    before = members(8)
    scores = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6, 5.0, 3.5]
    if mode == "min":
        scores = [-score for score in scores]
    found = next_round("s", before, scores, mode)
    assert [m.member for m, _ in found] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert {m.round for m, _ in found} == {2}
    for place, (member, donor) in enumerate(found):
        if place in (1, 3):
            assert donor in (4, 6)
            for name, axis in (("rate", RATE), ("weight", WEIGHT)):
                ratio = member.values[name] / before[donor].values[name]  # type: ignore[operator]
                assert isinstance(axis.values, Range)
                assert axis.values.low <= member.values[name] <= axis.values.high  # type: ignore[operator]
                assert ratio != 1.0
        else:
            assert (donor, member.values) == (place, before[place].values)
    assert next_round("s", before, scores, mode) == found


def test_a_value_is_drawn_anew_in_a_quarter_of_the_cases_else_multiplied() -> None:
    """Counted over 400 replaced members."""
    kinds = {0.8: 0, 1.2: 0, 0.0: 0}
    for seed in range(400):
        before = [replace(m, values={"rate": 0.01, "weight": 0.2}) for m in members(2, seed)]
        (member, donor) = next_round("s", before, [1.0, 0.0], "max")[1]
        assert donor == 0
        ratio = round(member.values["rate"] / 0.01, 6)  # type: ignore[operator]
        kinds[ratio if ratio in kinds else 0.0] += 1
    assert 70 < kinds[0.0] < 130  # 100, standard deviation 8.7
    assert 115 < kinds[0.8] < 185  # 150, 9.7
    assert 115 < kinds[1.2] < 185


def test_values_stay_in_their_range() -> None:
    before = [replace(m, values={"rate": 0.1, "weight": 0.5}) for m in members(2)]
    for seed in range(50):
        at = [replace(m, seed=seed) for m in before]
        (member, _) = next_round("s", at, [1.0, 0.0], "max")[1]
        assert member.values["rate"] <= 0.1  # type: ignore[operator]
        assert member.values["weight"] <= 0.5  # type: ignore[operator]


def test_what_came_to_nothing_is_replaced_beside_the_worst() -> None:
    found = next_round("s", members(4), [None, 2.0, 1.0, None], "max")
    assert [donor for _, donor in found] == [1, 1, 1, 1]
    assert found[1][0].values == members(4)[1].values
    assert next_round("s", members(2), [None, None], "max") == []


def test_the_best_of_two_populations_stay_among_themselves() -> None:
    found = next_round("s", [*members(2, seed=1), *members(2, seed=2)], [1.0, 2.0, 9.0, 8.0], "max")
    assert [donor for _, donor in found] == [1, 1, 2, 2]
