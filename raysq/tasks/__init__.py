"""Tasks: what is learnt from which data, and the settings that suit it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from raysq.config import Scalar, UserError


@dataclass(frozen=True, slots=True)
class Task:
    """A task by name, with its defaults for the settings of every workflow."""

    name: str
    generated: bool = False
    """Whether the project makes the data itself when no --data-dir is given."""
    kind: Literal["translation", "headline", "captioning"] = "translation"
    """What its data is; tasks of one kind can learn from each other's data."""
    defaults: Mapping[str, Scalar] = field(default_factory=dict)
    """Settings by dotted key; those of stages that a workflow does not have are passed over."""


JOINT: dict[str, Scalar] = {
    "target_rate": 0.01,  # at 1e-3 a schedule of thousands of updates would not forget the random start
    "learning_rate": 3e-5,  # a policy slower than its critic
    "critic_learning_rate": 3e-4,
    "lambda_mle": 0.3,
}
RELEASED_ENTROPY: dict[str, Scalar] = {"entropy_gradient": "normalised"}


def _settings(**stages: Mapping[str, Scalar]) -> dict[str, Scalar]:
    return {f"{stage}.{key}": value for stage, part in stages.items() for key, value in part.items()}


FROM_SCRATCH: dict[str, Scalar] = {
    "optimizer": "adam",
    "learning_rate": 4e-3,
    "batch_size": 50,
    "max_updates": 1600,
    "max_epochs": 100,
    "evaluate_every": 320,
    "linear_decay": True,
}
"""The demo's stages that start from a fresh policy."""
FIVE_SEQUENCES: dict[str, Scalar] = {"max_updates": 800, "evaluate_every": 200}
"""Fewer updates, where each has five sequences a sentence."""
FROM_ACTOR: dict[str, Scalar] = {
    "optimizer": "adam",
    "learning_rate": 3e-4,
    "batch_size": 50,
    "max_updates": 500,
    "max_epochs": 100,
    "evaluate_every": 125,
}
"""The demo's stages that start from the MLE actor: as many updates for each."""
DEMO_CRITIC: dict[str, Scalar] = {
    "learning_rate": 3e-3,
    "target_rate": 0.1,
    "num_samples": 1,
    "max_updates": 800,
    "max_epochs": 100,
    "evaluate_every": 400,
    "linear_decay": True,
}
DEMO_JOINT: dict[str, Scalar] = FROM_ACTOR | {
    "critic_learning_rate": 1e-3,
    "target_rate": 0.1,
    "lambda_mle": 0.3,
}
_DEMO = _settings(
    network={
        "embedding_size": 128,
        "hidden_size": 128,
        "critic_attention": "dot",
        "critic_embedding": "tied",
        "critic_embedding_range": 0.9,
    },
    mle=FROM_SCRATCH,
    raml=FROM_SCRATCH | FIVE_SEQUENCES,
    noising=FROM_SCRATCH,
    alpha_dimt=FROM_SCRATCH | FIVE_SEQUENCES,
    oracle={"learning_rate": 3e-3, "max_updates": 300, "max_epochs": 100, "evaluate_every": 300}
    | {"linear_decay": True},
    vaml=FROM_SCRATCH | FIVE_SEQUENCES,
    spg=FROM_SCRATCH | {"drop_rate": 0.1},
    interpolation=FROM_SCRATCH | {"evaluate_every": 80},  # the mixture may change at each
    scheduled_sampling=FROM_SCRATCH | {"k": 400.0},
    critic=DEMO_CRITIC,
    erac=DEMO_JOINT | RELEASED_ENTROPY,
    ac=DEMO_JOINT | RELEASED_ENTROPY,
    reinforce_critic=DEMO_JOINT,
    reinforce=FROM_ACTOR | {"lambda_mle": 0.2},
    mixer=FROM_ACTOR | {"start_prefix": 13, "updates_per_prefix": 125},
    mrt=FROM_ACTOR | {"num_samples": 4, "lambda_mle": 0.2},
)
DEMO = Task("demo", generated=True, defaults=_DEMO)
_ROUGE = _settings(
    decoding={"scoring": "rouge"},
    reward={"name": "rouge", "bleu": "lin_och_all"},  # a workflow's own smoothing of BLEU means nothing here
)
"""Headlines are trained by ROUGE-1 + ROUGE-2 + ROUGE-L and chosen by it (Tan et al. 2019)."""
DEMO_HEADLINE = Task("demo-headline", generated=True, kind="headline", defaults=_DEMO | _ROUGE)
_CAPTIONS = _settings(decoding={"scoring": "captions", "max_length": 30})
DEMO_CAPTIONING = Task("demo-captioning", generated=True, kind="captioning", defaults=_DEMO | _CAPTIONS)
SHORT: dict[str, Scalar] = {"max_updates": 2320, "evaluate_every": 290}
"""Multi30k's short schedule of what starts from the actor: 4 epochs."""
_SHORT_POLICY = SHORT | {"optimizer": "adam", "learning_rate": 3e-5, "batch_size": 50}
_TEN_EPOCHS: dict[str, Scalar] = {"max_updates": 5800}
MULTI30K = Task(
    "multi30k",
    defaults=_settings(
        # until the dev TD error has stopped improving: one halving of the rate
        critic={"target_rate": 0.01, "max_decays": 1, "max_epochs": 10},
        erac=JOINT | RELEASED_ENTROPY | SHORT,
        ac=JOINT | RELEASED_ENTROPY | SHORT,
        reinforce_critic=JOINT | SHORT,
        reinforce=_SHORT_POLICY | {"lambda_mle": 0.3},
        mixer=_SHORT_POLICY | {"start_prefix": 13, "updates_per_prefix": 580},
        mrt=_SHORT_POLICY | {"num_samples": 4, "lambda_mle": 0.3},
        raml=_TEN_EPOCHS,
        oracle=_TEN_EPOCHS,
        vaml=_TEN_EPOCHS,
        alpha_dimt=_TEN_EPOCHS | {"batch_size": 50},
    ),
)
"""Its schedules are short, and named so beside every result: published ones take a day on two cores."""
IWSLT14 = Task("iwslt14")
"""The published settings are those of this task."""
_OTHER_TEXT = _settings(
    critic={"target_rate": 0.01}, erac=JOINT | RELEASED_ENTROPY, ac=JOINT | RELEASED_ENTROPY
)
"""Rates as for Multi30k, because most schedules are shorter than the published one; nothing was measured."""
EUROPARL = Task("europarl", defaults=_OTHER_TEXT)
TSV = Task("tsv", defaults=_OTHER_TEXT)
FILES = Task("files", defaults=_OTHER_TEXT)
HEADLINE = Task("headline", kind="headline", defaults=_OTHER_TEXT | _ROUGE)
CAPTIONING = Task("captioning", kind="captioning", defaults=_OTHER_TEXT | _CAPTIONS)

TASKS = (
    DEMO,
    DEMO_HEADLINE,
    DEMO_CAPTIONING,
    MULTI30K,
    EUROPARL,
    IWSLT14,
    TSV,
    FILES,
    HEADLINE,
    CAPTIONING,
)
"""The registry: every task of the package; a recipe may have more of its own."""


def task_named(name: str, own: tuple[Task, ...] = ()) -> Task:
    """The task of this name, of the package's or of a recipe's ``own``. Raises UserError for any other."""
    known = (*own, *TASKS)
    for task in known:
        if task.name == name:
            return task
    raise UserError(f"--task {name}: must be one of {', '.join(task.name for task in known)}")
