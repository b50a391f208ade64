import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from raysq.algorithms import Algorithm, Mle, Raml
from raysq.commandline import parse
from raysq.config import Config, UserError
from raysq.own import own_name, own_sources, require_importable
from raysq.recipe import PlannedStage, Recipe, Stage, plan
from raysq.rewards.settings import RewardSettings
from raysq.tasks import Task

DEFINITION = """
from raysq.algorithms import Mle
class Mine(Mle):
    rate: float = 0.5
    \"\"\"A rate.\"\"\"
"""


def written(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> Any:
    """A module of the user's, under a name, from ``file.py``."""
    path = folder / "file.py"
    path.write_text(text)
    module = ModuleType(name)
    module.__file__ = str(path)
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(text, path, "exec"), module.__dict__)
    return module


def test_what_is_of_the_package_is_nobody_s_own() -> None:
    assert own_name(Mle) is None
    assert own_sources([Mle(), Raml(), RewardSettings()]) == []
    require_importable([Raml()])


def test_a_class_has_one_name_run_or_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = written(tmp_path, monkeypatch, "file", DEFINITION)
    run = written(tmp_path, monkeypatch, "__main__", DEFINITION)
    assert own_name(imported.Mine) == own_name(run.Mine) == "file.Mine"
    require_importable([imported.Mine()])
    with pytest.raises(
        UserError, match=r"^Mine is defined in file\.py as it is run.* `from file import RECIPE`"
    ):
        require_importable([run.Mine()])


def test_sources_change_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = written(tmp_path, monkeypatch, "file", DEFINITION)
    before = own_sources([module.Mine(), Mle()])
    assert len(before) == 1
    (tmp_path / "file.py").write_text(DEFINITION + "# changed")
    assert own_sources([module.Mine()]) != before


def test_sections_and_bases_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = written(tmp_path, monkeypatch, "file", DEFINITION)

    class Derived(module.Mine):
        """Its base is in another file."""

    class Whole(Config):
        """Of two files."""

        section: Config = module.Mine()
        """A section."""

    assert own_sources([Derived()]) == own_sources([Whole()]) == own_sources([OwnMle(), module.Mine()])


def test_a_class_of_no_file_is_refused() -> None:
    made = type("Made", (Mle,), {"__module__": "nowhere"})
    with pytest.raises(UserError, match="class Made is defined in no file"):
        own_name(made)


class OwnMle(Mle):
    """An algorithm that this file defines."""


def test_a_class_of_the_user_s_is_part_of_what_a_stage_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan_of(algorithm: Algorithm) -> PlannedStage:
        recipe = Recipe("mine", stages=(Stage("mle", algorithm),))
        return plan(recipe, recipe.config_class()(num_learners=0), tmp_path, "text", "now")[0]

    own, package = plan_of(OwnMle()), plan_of(Mle())
    assert own.record["own"] == {"algorithm": "test_own.OwnMle"}
    assert "own" not in package.record
    assert own.identity != package.identity
    monkeypatch.setattr("raysq.recipe.own_sources", lambda parts: ["of a changed file"])
    changed = plan_of(OwnMle())
    assert (changed.identity, changed.spec.folder) != (own.identity, own.spec.folder)
    assert changed.identity == own.identity


def test_a_recipe_s_own_tasks_stand_beside_the_package_s() -> None:
    task = Task("mine", defaults={"mle.learning_rate": 0.25, "raml.temperature": 3.0})
    recipe = Recipe("mle", stages=(Stage("mle", Mle()),), tasks=(task,))

    def rate(name: str) -> float:
        argv = ["--task", name]
        config = parse(recipe.config_class(), argv, prog="", description="", defaults_for=recipe.defaults)
        return config.mle.learning_rate  # type: ignore[attr-defined]

    assert rate("mine") == 0.25
    assert rate("iwslt14") == 0.6
    with pytest.raises(UserError, match="--task other: must be one of mine, demo, "):
        rate("other")
