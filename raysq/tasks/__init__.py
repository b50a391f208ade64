"""Tasks: what is learnt from which data, and the settings that suit it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from raysq.config import Scalar, UserError


@dataclass(frozen=True, slots=True)
class Task:
    """A task by name, with its defaults for the settings of every workflow."""

    name: str
    generated: bool = False
    """Whether the project makes the data itself when no --data-dir is given."""
    defaults: Mapping[str, Scalar] = field(default_factory=dict)
    """Settings by dotted key; those of stages that a workflow does not have are passed over."""


JOINT: dict[str, Scalar] = {
    "target_rate": 0.01,  # at 1e-3 a schedule of thousands of updates would not forget the random start
    "learning_rate": 3e-5,  # a policy slower than its critic
    "critic_learning_rate": 3e-4,
    "lambda_mle": 0.3,
    "entropy_gradient": "normalised",
}


def _settings(**stages: Mapping[str, Scalar]) -> dict[str, Scalar]:
    return {f"{stage}.{key}": value for stage, part in stages.items() for key, value in part.items()}


DEMO = Task("demo", generated=True, defaults=_settings(critic={"target_rate": 0.01}, erac=JOINT, ac=JOINT))
MULTI30K = Task(
    "multi30k",
    defaults=_settings(
        critic={"target_rate": 0.01, "max_updates": 3000},
        erac=JOINT | {"max_updates": 3480},  # 6 epochs
        ac=JOINT | {"max_updates": 3480},
    ),
)
FILES = Task("files")

TASKS = (DEMO, MULTI30K, FILES)
"""The registry: every task there is."""


def task_named(name: str) -> Task:
    """The task of this name. Raises UserError for any other."""
    for task in TASKS:
        if task.name == name:
            return task
    raise UserError(f"--task {name}: must be one of {', '.join(task.name for task in TASKS)}")


def task_defaults(values: Mapping[str, object]) -> Mapping[str, Scalar]:
    """The task's settings, given the top-level values of the command line and of the file."""
    return task_named(str(values["task"])).defaults
