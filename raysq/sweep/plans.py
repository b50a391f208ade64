"""The trials of a space with their settings: the space's over the task's, the command line's over both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from raysq.commandline import Given, settled
from raysq.config import TrainingCommand, UserError, as_typed, same_typed
from raysq.options import options_of
from raysq.recipe import Recipe, Segment, TrainingConfig, plan
from raysq.sweep.graph import Graph, graph
from raysq.sweep.settings import TuneSettings
from raysq.sweep.space import Axis, Range, Space, Trial, trials

Configured = tuple[Trial, Recipe, TrainingConfig]


class Trials:
    """The trials of a space, and the settings of each."""

    def __init__(self, space: Space, settings: TuneSettings, recipe_named: Callable[[str], Recipe]) -> None:
        """Take the arms and values that the settings name.

        Raises:
            UserError: settings without meaning for this space.
        """
        _check(space, settings)
        if settings.arms:
            chosen = tuple(arm for arm in space.arms if arm.label in settings.arms)
            space = replace(space, arms=chosen, baseline=None)  # which may not be among them
        if settings.values:
            space = _with_values(space, settings.values)
        self._space, self._settings = space, settings
        self._recipes = {arm.recipe: recipe_named(arm.recipe) for arm in space.arms}
        self._typed = _typed(space, settings, self._recipes.values())

    def all(self) -> list[Configured]:
        """Every trial with its recipe and its settings. Raises UserError: see ``configured``."""
        drawn = trials(self._space, self._settings.seeds or (), self._settings.num_samples)
        return [self.configured(trial) for trial in drawn]

    def configured(self, trial: Trial) -> Configured:
        """A trial with its recipe and its settings. Raises UserError: one is unknown or out of range."""
        recipe = self._recipes[trial.arm.recipe]
        config = _config(recipe, trial, self._space, self._settings, self._typed)
        recipe.check(config)
        return trial, recipe, config


def planned(
    trials: Sequence[Configured],
    store: Path,
    data_digest: str,
    version: str,
    segments: Sequence[Segment] = (),
) -> Graph:
    """The stages of all trials, each once, with a segment of each trial if any; see ``recipe.plan``."""
    parts: Sequence[Segment | None] = segments or [None] * len(trials)
    return graph(
        [
            (trial, recipe, config, plan(recipe, config, store, data_digest, version, part))
            for (trial, recipe, config), part in zip(trials, parts, strict=True)
        ]
    )


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


def _with_values(space: Space, pairs: Sequence[str]) -> Space:
    """The space with these values alone of the axes that ``AXIS=VALUE`` names."""
    wanted: dict[str, list[str]] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise UserError(f"--values {pair}: must be AXIS=VALUE,...")
        wanted.setdefault(name, []).append(text)
    grids = {axis.name for arm in space.arms for axis in arm.axes if not isinstance(axis.values, Range)}
    for name in wanted.keys() - grids:
        known = ", ".join(sorted(grids)) or "none"
        raise UserError(f"--values {name}=..: must be an axis with a grid, of which there are: {known}")

    def narrowed(axis: Axis) -> Axis:
        if axis.name not in wanted or isinstance(axis.values, Range):
            return axis
        for text in wanted[axis.name]:
            if not any(same_typed(text, as_typed(value)) for value in axis.values):
                raise UserError(f"--values {axis.name}={text}: must be of {as_typed(axis.values)}")
        kept = (v for v in axis.values if any(same_typed(text, as_typed(v)) for text in wanted[axis.name]))
        return replace(axis, values=tuple(kept))

    arms = (replace(arm, axes=tuple(map(narrowed, arm.axes))) for arm in space.arms)
    return replace(space, arms=tuple(arms))


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
