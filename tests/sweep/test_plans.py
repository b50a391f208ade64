from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from raysq.config import UserError
from raysq.sweep.plans import Trials, planned
from raysq.sweep.settings import TuneSettings
from raysq.sweep.space import Arm, Axis, Range, Space
from workflows.tune import recipe_named, space_named

SPACES = sorted(path.stem for path in Path("tune_spaces").glob("[!_]*.py"))
TAU = Axis("tau", (0.0, 0.2), keys=("critic.tau", "erac.tau"))
SPACE = Space(
    "x", "X", (Arm("ERAC", "erac", {"erac.lambda_mle": 0.5}, (TAU,)), Arm("MLE", "mle")), seeds=(1,)
)


def trials_of(space: Space = SPACE, **settings: Any) -> list[Any]:
    return Trials(space, TuneSettings(space=space.name, **settings), recipe_named).all()


def test_the_command_wins_over_the_space_and_the_space_over_the_task() -> None:
    (_, _, first), (_, _, second), (_, _, mle) = trials_of(
        settings=("critic.max-updates=7", "erac.learning_rate=0.3")
    )
    assert first.erac.lambda_mle == 0.5  # type: ignore[attr-defined]
    assert first.erac.critic_learning_rate == 1e-3  # type: ignore[attr-defined] # the demo's
    assert first.critic.max_updates == 7  # type: ignore[attr-defined]
    assert [c.critic.tau for c in (first, second)] == [0.0, 0.2]  # type: ignore[attr-defined]
    assert [c.erac.tau for c in (first, second)] == [0.0, 0.2]  # type: ignore[attr-defined]
    assert first.erac.learning_rate == 0.3  # type: ignore[attr-defined]
    assert mle.mle.max_updates == 1600  # type: ignore[attr-defined]
    assert first.num_learners == 0


@pytest.mark.parametrize(
    ("space", "settings", "message"),
    [
        (
            SPACE,
            {"settings": ("erac.taw=1",)},
            r"--settings erac.taw=1: no workflow of this space has erac.taw",
        ),
        (SPACE, {"settings": ("erac.tau",)}, r"--settings erac.tau: must be KEY=VALUE"),
        (SPACE, {"settings": ("critic.decay=-1",)}, r"--settings critic.decay=-1: must be above 0"),
        (SPACE, {"settings": ("erac.tau=1",)}, r"--settings erac.tau=1: erac.tau is what the trials"),
        (SPACE, {"settings": ("seed=3",)}, r"--settings seed=3: give --seeds instead"),
        (SPACE, {"settings": ("data-dir=x",)}, r"--settings data-dir=x: give --data-dir instead"),
        (SPACE, {"arms": ("AC",)}, r"--arms AC: must be of ERAC, MLE"),
        (SPACE, {"values": ("tau",)}, r"--values tau: must be AXIS=VALUE"),
        (SPACE, {"values": ("taw=0",)}, r"--values taw=..: must be an axis with a grid, .* tau"),
        (SPACE, {"values": ("tau=0.3",)}, r"--values tau=0.3: must be of 0.0,0.2"),
        (SPACE, {"scheduler": "asha"}, r"--scheduler asha: tune space x is a grid"),
        (SPACE, {"num_samples": 2}, r"--num-samples 2: tune space x has no Range"),
        (
            Space("x", "X", (Arm("ERAC", "erac", {"erac.taw": 1}),)),
            {},
            r"erac.taw = 1 in tune space x, arm ERAC: unknown key; did you mean erac.tau",
        ),
        (
            Space("x", "X", (Arm("ERAC", "erac", {"erac.tau": "hot"}),)),
            {},
            r"erac.tau = hot in tune space x, arm ERAC: must be a finite number",
        ),
        (
            Space("x", "X", (Arm("E", "erca"),)),
            {},
            r"recipe erca of the tune space: there is no workflow erca.py",
        ),
    ],
)
def test_mistakes_are_told_before_anything_begins(
    space: Space, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        trials_of(space, **settings)


def test_arms_of_a_command_are_a_part_of_the_space() -> None:
    assert [trial.said for trial, _, _ in trials_of(arms=("MLE",), seeds=(4, 5))] == [
        "MLE seed 4",
        "MLE seed 5",
    ]


def test_values_of_a_command_are_a_part_of_an_axis() -> None:
    """Written in any way; arms without the axis stay as they are."""
    assert [trial.said for trial, _, _ in trials_of(values=("tau=2e-1",))] == [
        "ERAC tau=0.2 seed 1",
        "MLE seed 1",
    ]
    assert len(trials_of(values=("tau=0.2", "tau=0"))) == 3


def test_the_baseline_need_not_be_among_the_arms_of_a_command() -> None:
    found = trials_of(space_named("comparison"), arms=("AC", "ERAC"), seeds=(1,))
    assert [trial.said for trial, _, _ in found] == ["ERAC seed 1", "AC seed 1"]


@pytest.mark.parametrize(
    ("name", "num_trials", "num_stages"),
    [
        ("tau", 30, 3 * (1 + 5 + 10)),
        ("lambda_var", 24, 3 * (1 + 8 + 8)),
        ("target_rate", 21, 3 * (1 + 7 + 7)),
        # 9 MLE (one is the grids' actor), 9 RAML, 3 + 9 of each grid; 3 critics of AC and 3 of ERAC
        ("seed_grid", 45, 9 + 9 + 3 * (3 + 9)),
        ("input_feeding", 36, 2 * 3 * (1 + 1 + 2 + 2 + 2 + 1)),
        # the critic that knows no entropy is AC's too
        ("future_entropy", 27, 9 * (1 + 2 + 3)),
        ("raml_temperature", 15, 15),
        ("alpha", 15, 15),
        ("comparison", 48, 3 * 19),
        ("dropout", 36, 36),
        ("search", 1, 3),
    ],
)
def test_the_spaces_share_what_they_have_in_common(
    tmp_path: Path, name: str, num_trials: int, num_stages: int
) -> None:
    assert name in SPACES
    trials = trials_of(space_named(name))
    graph = planned(trials, tmp_path, "data", "version")
    assert (len(graph.trials), len(graph.nodes)) == (num_trials, num_stages)
    configurations = {(found.trial.arm.label, found.configuration) for found in graph.trials}
    assert len(configurations) == len({found.trial.arm.label for found in graph.trials})


def test_no_space_is_left_out_above() -> None:
    counted = test_the_spaces_share_what_they_have_in_common.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert sorted(name for name, _, _ in counted) == SPACES


def test_a_space_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from raysq.sweep.space import Arm, Space\nSPACE = Space('mine', 'Mine', (Arm('a', 'mle'),))\n"
    )
    assert space_named(str(path)).name == "mine"
    with pytest.raises(UserError, match="--space maine: must be one of alpha, comparison, "):
        space_named("maine")
    path.write_text("SPACE = \n")
    with pytest.raises(UserError, match=r"mine\.py cannot be loaded \(SyntaxError"):
        space_named(str(path))
    path.write_text("SPACE = 3\n")
    with pytest.raises(UserError, match="must define SPACE"):
        space_named(str(path))


@pytest.mark.parametrize("field", ["table", "rouge_table"])
def test_a_table_that_is_not_there(tmp_path: Path, field: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from raysq.sweep.space import Arm, Space\n"
        f"SPACE = Space('mine', 'Mine', (Arm('a', 'mle'),), {field}='nope')\n"
    )
    with pytest.raises(
        UserError, match=r"mine\.py names table nope: it must be one of dai2018-table1, .*or none"
    ):
        space_named(str(path))


def test_rounds_are_of_populations() -> None:
    assert TuneSettings(space="x", scheduler="pbt", rounds=6).rounds == 6
    with pytest.raises(ValidationError, match="`rounds` has no effect unless `scheduler` is pbt"):
        TuneSettings(space="x", scheduler="asha", rounds=6)


def test_a_judged_stage_that_is_not_there(tmp_path: Path) -> None:
    space = Space("x", "X", (Arm("control", "erac", stage="continued_mle"),), seeds=(1,))
    with pytest.raises(
        UserError, match="arm control: recipe erac has no stage continued_mle as it is set; it has mle"
    ):
        planned(trials_of(space), tmp_path, "data", "version")


def test_ranges_can_be_searched() -> None:
    axes = (Axis("erac.learning_rate", Range(1e-5, 1e-3, log=True)),)
    space = Space("x", "X", (Arm("ERAC", "erac", axes=axes),), seeds=(1,))
    found = trials_of(space, num_samples=4, scheduler="asha")
    assert len({config.erac.learning_rate for _, _, config in found}) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must define SPACE, a raysq.sweep.space.Space"),
        ("SPACE = 3", "must define SPACE, a raysq.sweep.space.Space"),
        ("SPACE = (", r"cannot be loaded \(SyntaxError: .*\): mend it"),
        ("raise KeyError('x')", r"cannot be loaded \(KeyError: 'x'\): mend it"),
        ("raise SystemExit('bye')", r"cannot be loaded \(SystemExit: bye\): mend it"),
        ("\x00", r"cannot be loaded \(.*null bytes.*\): mend it"),
        (
            "from raysq.sweep.space import *\nSPACE = Space('x', 'X', (Arm('MLE', 'mle'),), seeds=5)",
            "own.py: seeds: Input should be a valid tuple: mend it",
        ),
    ],
)
def test_a_file_of_the_users_that_is_no_space(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(UserError, match=message):
        space_named(str(tmp_path / "own.py"))
