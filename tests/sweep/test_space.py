import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from raysq.config import UserError
from raysq.metrics import text_scores
from raysq.sweep.space import SCORES, Arm, Axis, Range, Space, trials

TAU = Axis("tau", (0.0, 0.1), keys=("critic.tau", "erac.tau"))
RATE = Axis("erac.learning_rate", (1e-4, 1e-3, 1e-2))


def test_every_combination_with_every_seed() -> None:
    space = Space("x", "X", (Arm("ERAC", "erac", {"erac.lambda_mle": 0.3}, (TAU, RATE)),), seeds=(4, 5))
    found = trials(space)
    assert len(found) == 2 * 3 * 2
    assert found[0].said == "ERAC tau=0.0 erac.learning_rate=0.0001 seed 4"
    assert found[-1].settings == {
        "seed": 5,
        "erac.lambda_mle": 0.3,
        "critic.tau": 0.1,
        "erac.tau": 0.1,
        "erac.learning_rate": 1e-2,
    }


def test_seeds_of_the_command_replace_the_spaces_but_not_an_arms_own() -> None:
    space = Space("x", "X", (Arm("MLE", "mle"), Arm("RAML", "raml", seeds=(8, 9))), seeds=(1, 2, 3))
    assert [(t.arm.label, t.seed) for t in trials(space, seeds=(6,))] == [
        ("MLE", 6),
        ("RAML", 8),
        ("RAML", 9),
    ]


def test_draws_depend_on_their_place_alone() -> None:
    """The same command continues the same trials, more draws keep the earlier ones, seeds share them."""
    axes = (Axis("rate", Range(1e-5, 1e-3, log=True)), Axis("weight", Range(0.0, 0.5)), TAU)
    space = Space("x", "X", (Arm("ERAC", "erac", axes=axes),), seeds=(1, 2))
    three, five = trials(space, num_samples=3), trials(space, num_samples=5)
    assert space.searches
    assert len(three) == 2 * 2 * 3
    first = [(t.values["rate"], t.values["weight"]) for t in three if t.seed == 1 and t.values["tau"] == 0.1]
    again = [(t.values["rate"], t.values["weight"]) for t in five if t.seed == 2 and t.values["tau"] == 0.0]
    assert again[:3] == first
    assert len(set(again)) == 5
    other = trials(Space("y", "Y", space.arms), num_samples=3)
    assert {t.values["rate"] for t in other}.isdisjoint({t.values["rate"] for t in three})


def test_a_range_is_uniform_or_uniform_in_its_logarithm() -> None:
    assert [Range(2.0, 6.0).at(share) for share in (0.0, 0.25, 1.0)] == [2.0, 3.0, 6.0]
    assert [Range(1e-4, 1e-2, log=True).at(share) for share in (0.0, 0.5, 1.0)] == [1e-4, 1e-3, 1e-2]
    axes = (Axis("rate", Range(0.0, 1.0)),)
    values = [
        t.values["rate"] for t in trials(Space("x", "X", (Arm("a", "erac", axes=axes),), (1,)), (), 400)
    ]
    mean = sum(map(float, values)) / 400  # type: ignore[arg-type]
    assert abs(mean - 0.5) < 5 * math.sqrt(1 / 12 / 400)


def test_the_same_trial_twice_is_a_mistake() -> None:
    space = Space("x", "X", (Arm("ERAC", "erac", axes=(Axis("tau", (0.1, 0.1)),)),), seeds=(1,))
    with pytest.raises(UserError, match=r"tune space x has 2 trials ERAC tau=0\.1 seed 1"):
        trials(space)


def test_rouge_takes_the_place_of_bleu_and_of_its_paper() -> None:
    """What a space is judged by otherwise stays."""
    space = Space("x", "X", (Arm("MLE", "mle"),), table="erpo-table1", rouge_table="erpo-table2")
    found = space.scored_by("rouge")
    assert (found.metric, found.table, found.arms) == ("rouge", "erpo-table2", space.arms)
    assert space.scored_by("captions") is space
    by_td_error = Space("x", "X", (Arm("critic", "critic"),), metric="td_error", table="erpo-table1")
    assert by_td_error.scored_by("rouge") is by_td_error


def test_a_space_is_data() -> None:
    space = Space(
        "x", "X", (Arm("ERAC", "erac", axes=(Axis("rate", Range(0.0, 1.0)), TAU)),), baseline="ERAC"
    )
    data = json.loads(json.dumps(space.as_data()))
    assert data["baseline"] == "ERAC"
    assert data["arms"][0]["axes"] == [
        {"name": "rate", "values": {"low": 0.0, "high": 1.0, "log": False}, "keys": []},
        {"name": "tau", "values": [0.0, 0.1], "keys": ["critic.tau", "erac.tau"]},
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Range(1.0, 1.0), "low must be under high"),
        (lambda: Range(0.0, 1.0, log=True), "above 0 with log"),
        (lambda: Axis("tau", (0.1)), r"axis tau: values must be a Range or a tuple, \(x,\) of one, not 0.1"),  # type: ignore[arg-type]
        (lambda: Space("x", "X", ()), "tune space x needs arms"),
        (lambda: Space("x", "X", (Arm("a", "mle"),), seeds=()), "tune space x needs arms"),
        (lambda: Space("x", "X", (Arm("a, b", "mle"),)), "without commas"),
        (
            lambda: Space("x", "X", (Arm("MLE", "mle"), Arm("AC", "ac")), baseline="mle"),
            r"tune space x: baseline mle must be the label of an arm \(MLE, AC\), or none",
        ),
        (
            lambda: Space("x", "X", (Arm("a", "mle"),), metric="BLEU"),
            "x: metric BLEU must be one of bleu, bleu1",
        ),
    ],
)
def test_mistakes_in_a_space(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_every_score_can_judge_a_space() -> None:
    """What finished stages of every algorithm have, and what text is scored by."""
    measured = {
        name
        for path in Path("tests/benchmarks/results/demo").glob("*.json")
        for stage in json.loads(path.read_text())["stages"]
        for name, value in stage["dev"].items()
        if isinstance(value, float)
    }
    for scoring in ("bleu", "captions", "rouge"):
        scores = text_scores(scoring, ["a b c d e"], [["a b c d e"]])
        measured |= {name for name, value in scores.items() if isinstance(value, float)}
    assert {"td_error", "oracle_bleu", "greedy_bleu", "cider", "rouge"} <= measured
    assert measured <= SCORES


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a\nb", "a\x00"])
def test_names_that_fit_no_folder(name: str) -> None:
    with pytest.raises(UserError, match="its name must fit a folder"):
        Space(name, "X", (Arm("MLE", "mle"),))


def test_a_space_without_end_is_refused() -> None:
    axes = tuple(Axis(f"axis {n}", tuple(range(1000)), ("erac.seed",)) for n in range(3))
    with pytest.raises(UserError, match="tune space x has more than 100,000 trials: give fewer values"):
        trials(Space("x", "X", (Arm("ERAC", "erac", {}, axes),), seeds=(1,)))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            Space("x", "X", (Arm("MLE", "mle"),), seeds=("1",)),
            r"seeds: must be \(1,\), not \('1',\): mend it",
        ),
        (Space("x", "X", [Arm("MLE", "mle")]), r"arms: must be \(Arm.*, not \[Arm"),
        (
            Space("x", "X", (Arm("MLE", "mle", seeds=5),)),
            r"arms.0.seeds: Input should be a valid tuple: mend",
        ),
        (Space("x", "X", (Arm("MLE", "mle", {"seed": {}}),)), r"arms.0.settings.seed.*: mend it"),
        (Space("x", (n for n in "X"), (Arm("MLE", "mle"),)), r"it holds what is no data \(.*generator.*\)"),
    ],
)
def test_what_python_lets_into_a_space(space: Space, message: str) -> None:
    with pytest.raises(UserError, match=message):
        space.check_types()
    Space("x", "X", (Arm("ERAC", "erac", {"erac.tau": 0.1}, (TAU, RATE)),)).check_types()
