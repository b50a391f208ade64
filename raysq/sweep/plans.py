"""The trials of a space with their settings: the space's over the task's, the command line's over both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from raysq.commandline import Given, settled
from raysq.config import TrainingCommand, UserError, as_typed
from raysq.options import options_of
from raysq.recipe import Recipe, TrainingConfig, plan
from raysq.sweep.graph import Graph, graph
from raysq.sweep.settings import TuneSettings
from raysq.sweep.space import Space, Trial, trials

Configured = tuple[Trial, Recipe, TrainingConfig]


def configured(
    space: Space, settings: TuneSettings, recipe_named: Callable[[str], Recipe]
) -> list[Configured]:
    """Every trial with its recipe and its settings.

    Raises:
        UserError: a setting is unknown, out of range or without meaning for this space.
    """
    _check(space, settings)
    if settings.arms:
        chosen = tuple(arm for arm in space.arms if arm.label in settings.arms)
        space = replace(space, arms=chosen)
    recipes = {arm.recipe: recipe_named(arm.recipe) for arm in space.arms}
    typed = _typed(space, settings, recipes.values())
    found = []
    for trial in trials(space, settings.seeds or (), settings.num_samples):
        recipe = recipes[trial.arm.recipe]
        config = _config(recipe, trial, space, settings, typed)
        recipe.check(config)
        found.append((trial, recipe, config))
    return found


def planned(trials: Sequence[Configured], store: Path, data_digest: str, version: str) -> Graph:
    """The stages of all trials, each once; see ``recipe.plan``."""
    return graph([(t, r, config, plan(r, config, store, data_digest, version)) for t, r, config in trials])


def _config(
    recipe: Recipe, trial: Trial, space: Space, settings: TuneSettings, typed: dict[str, str]
) -> TrainingConfig:
    where = f"in tune space {space.name}, arm {trial.arm.label}"
    config_class = recipe.config_class()
    given = {
        name: Given(getattr(settings, name), f"--{name.replace('_', '-')}")
        for name in TrainingCommand.model_fields
        if name != "output_dir" and getattr(settings, name) is not None
    }
    own = trial.settings.items()
    given |= {key: Given(value, f"{key} = {as_typed(value)} {where}") for key, value in own}
    for option in options_of(config_class):
        if option.key in typed:
            text = typed[option.key]
            given[option.key] = Given(option.read(text), f"--settings {option.key}={text}")
    return settled(config_class, given, recipe.defaults)


def _typed(space: Space, settings: TuneSettings, recipes: Iterable[Recipe]) -> dict[str, str]:
    """Key and text of every KEY=VALUE of the command line; none may change what tells the trials apart."""
    told = {key for arm in space.arms for axis in arm.axes for key in axis.keys or (axis.name,)}
    known = {option.key for recipe in recipes for option in options_of(recipe.config_class())}
    found = {}
    for pair in settings.settings:
        name, equals, text = pair.partition("=")
        key = name.replace("-", "_")
        if not equals:
            raise UserError(f"--settings {pair}: must be KEY=VALUE,...")
        if key not in known:
            raise UserError(f"--settings {pair}: no workflow of this space has {key}; its --help lists all")
        if key in told:
            raise UserError(
                f"--settings {pair}: {key} is what the trials of this space differ in: leave it out"
            )
        if key == "seed" or key in TrainingCommand.model_fields:
            option = "seeds" if key == "seed" else key.replace("_", "-")
            raise UserError(f"--settings {pair}: give --{option} instead")
        found[key] = text
    return found


def _check(space: Space, settings: TuneSettings) -> None:
    labels = [arm.label for arm in space.arms]
    for label in settings.arms:
        if label not in labels:
            raise UserError(f"--arms {label}: must be of {', '.join(labels)}")
    if space.searches:
        return
    if settings.scheduler != "none":
        raise UserError(
            f"--scheduler {settings.scheduler}: tune space {space.name} is a grid, whose trials run to their "
            "end: leave it out, or give a space with a Range"
        )
    if settings.num_samples > 1:
        raise UserError(
            f"--num-samples {settings.num_samples}: tune space {space.name} has no Range to draw from: "
            "leave it out"
        )
