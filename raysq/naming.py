"""What runs are called: label, task, seed and what was changed, ``ERAC demo seed 1 erac.tau=0.01``.

Runs that differ by seeds alone share ``group``; any other difference of settings is in it.
"""

from __future__ import annotations

from collections.abc import Mapping

from raysq.commandline import Given, settled
from raysq.config import Scalar, as_typed, flatten
from raysq.recipe import Recipe, TrainingConfig

LABELS = {
    "mle": "MLE",
    "continued_mle": "continued MLE",
    "raml": "RAML",
    "oracle": "soft-Q oracle",
    "vaml": "VAML",
    "ac": "AC",
    "erac": "ERAC",
    "reinforce": "REINFORCE",
    "reinforce_critic": "REINFORCE with critic",
    "mixer": "MIXER",
    "mrt": "MRT",
    "spg": "SPG",
    "scheduled_sampling": "scheduled sampling",
    "noising": "data noising",
    "alpha_dimt": "alpha-DiMT",
}
"""Of recipes and stages whose name is not what people call them."""
MAX_SHOWN = 3
"""Settings in a run's name; the interface cuts long ones."""


def label(name: str) -> str:
    """What people call a recipe or a stage."""
    return LABELS.get(name, name)


def changed_settings(recipe: Recipe, config: TrainingConfig) -> dict[str, Scalar]:
    """The preset, and the settings by dotted key that differ from those of preset and task, last stage first.

    Keys without a dot (places, processes, the seed) are left out: they change no result, or are named anyway.
    """
    fields = list(type(config).model_fields)
    chosen: dict[str, Scalar] = {key: getattr(config, key) for key in ("task", "preset") if key in fields}
    given = {key: Given(value, key) for key, value in chosen.items()}
    usual = flatten(settled(recipe.config_class(), given, recipe.defaults))
    changed = [item for item in flatten(config).items() if "." in item[0] and item[1] != usual[item[0]]]
    changed.sort(key=lambda item: fields.index(item[0].partition(".")[0]), reverse=True)
    return {"preset": chosen["preset"], **dict(changed)} if chosen.get("preset") else dict(changed)


def of_stage(recipe: Recipe, config: TrainingConfig, name: str) -> dict[str, Scalar]:
    """Those of ``changed_settings`` on which a stage depends: its own, its ancestors' and the common ones."""
    stages = {stage.name: stage for stage in recipe.stages_of(config)}
    others, todo = set(stages), [name]
    while todo:
        stage = stages[todo.pop()]
        others.discard(stage.name)
        todo += [parent for parent in (stage.policy, stage.critic, stage.like) if parent is not None]
    changed = changed_settings(recipe, config)
    mine = {key: value for key, value in changed.items() if key.partition(".")[0] not in others}
    mine.pop(f"{name}.seed", None)  # named anyway
    return mine


def group(title: str, task: str, changed: Mapping[str, object]) -> str:
    """All but the seeds: runs of one group are repetitions of one another."""
    typed = _typed({key: value for key, value in changed.items() if not key.endswith("seed")})
    return " ".join([title, task, *typed])


def run_name(title: str, task: str, seed: int, changed: Mapping[str, object]) -> str:
    """``ERAC demo seed 1 erac.tau=0.01``; of many changed settings the first few and how many more."""
    typed = _typed(changed)
    more = [f"+{len(typed) - MAX_SHOWN}"] if len(typed) > MAX_SHOWN else []
    return " ".join([title, task, f"seed {seed}", *typed[:MAX_SHOWN], *more])


def _typed(settings: Mapping[str, object]) -> list[str]:
    return [f"{key}={as_typed(value)}" for key, value in settings.items()]
