"""Every workflow's own settings go together with every task's and with its presets'."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from raysq.commandline import parse
from raysq.config import UserError, flatten
from raysq.recipe import Recipe, TrainingConfig
from raysq.tasks import TASKS
from workflows import ac, erac, mrt, vaml

ROOT = Path(__file__).parents[2]
MODULES = [import_module(f"workflows.{path.stem}") for path in sorted((ROOT / "workflows").glob("[!_]*.py"))]
RECIPES = [module.RECIPE for module in MODULES if hasattr(module, "RECIPE")]
WITH_PRESETS = [(recipe, preset) for recipe in RECIPES for preset in recipe.presets]


def config_of(recipe: Recipe, *argv: str) -> TrainingConfig:
    return parse(recipe.config_class(), argv, prog="", description="", defaults_for=recipe.defaults)


def read(recipe: Recipe, *argv: str) -> dict[str, Any]:
    """The settings, which can be trained without a warning."""
    config = config_of(recipe, *argv)
    recipe.check(config)
    assert [recipe.warnings(config, stage.name) for stage in recipe.stages] == [[]] * len(recipe.stages)
    return flatten(config)


def test_every_algorithm_has_a_workflow() -> None:
    from raysq.algorithms import ALGORITHMS

    assert {type(stage.algorithm) for recipe in RECIPES for stage in recipe.stages} == set(ALGORITHMS)


@pytest.mark.parametrize("task", [task.name for task in TASKS])
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_with_every_task(recipe: Recipe, task: str) -> None:
    assert read(recipe, "--task", task)["task"] == task


@pytest.mark.parametrize(("recipe", "preset"), WITH_PRESETS, ids=str)
@pytest.mark.parametrize("task", ["demo", "iwslt14"])
def test_with_every_preset(recipe: Recipe, preset: str, task: str) -> None:
    """And each of its settings is one that the workflow has."""
    settings = read(recipe, "--task", task, "--preset", preset)
    for key, value in recipe.presets[preset].items():
        assert settings[key] == value, key


def test_every_setting_of_the_demo_is_one_of_a_workflow() -> None:
    known = {key for recipe in RECIPES for key in read(recipe)}
    assert {key for task in TASKS for key in task.defaults} <= known


def test_settings_of_two_stages_are_settings() -> None:
    for recipe in RECIPES:
        known = flatten(recipe.config_class()())
        assert {key for pair in (*recipe.must_agree, *recipe.should_agree) for key in pair} <= known.keys()


def test_presets_are_called_by_authors_and_year() -> None:
    names = {preset for _, preset in WITH_PRESETS} - {"without_future_entropy"}
    assert [name for name in names if not re.fullmatch(r"[a-z]+20\d\d(_[a-z]+)?", name)] == []


def test_a_student_of_another_temperature_than_its_oracle_is_refused() -> None:
    config = config_of(vaml.RECIPE, "--vaml.tau", "0.5")
    with pytest.raises(UserError, match=r"--oracle.tau \(0.4\) and --vaml.tau \(0.5\) differ"):
        vaml.RECIPE.check(config)


@pytest.mark.parametrize("joint", [(erac.RECIPE, "erac"), (ac.RECIPE, "ac")], ids=lambda pair: pair[1])
@pytest.mark.parametrize(("setting", "value"), [("tau", "0.2"), ("forced_eos", "unrestricted")])
def test_a_critic_made_for_something_else_is_warned_of(
    joint: tuple[Recipe, str], setting: str, value: str
) -> None:
    recipe, stage = joint
    assert len(recipe.warnings(config_of(recipe, f"--{stage}.{setting}", value), stage)) == 1


def test_a_recipes_own_reward_can_be_changed_for_another() -> None:
    with pytest.raises(UserError, match=r"--reward.bleu has no effect .* leave it at lin_och_all \(now"):
        config_of(mrt.RECIPE, "--reward.name", "rouge")
    config_of(mrt.RECIPE, "--reward.name", "rouge", "--reward.bleu", "lin_och_all")
