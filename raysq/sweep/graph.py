"""The distinct stages of all trials of a sweep, what they start from, and how long they may take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from raysq.config import UserError, digest, flatten
from raysq.recipe import PlannedStage, Recipe, Stage, TrainingConfig
from raysq.records import RESULT, STAGE, AccountRecord, TrainedRecord, read_record
from raysq.sweep.space import Trial
from raysq.training.samples import staleness

COST = ("batch_size", "num_samples")
"""Settings of an algorithm that change what an update costs, beside networks and data."""


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """A trial with its settings and its stages."""

    trial: Trial
    recipe: Recipe
    config: TrainingConfig
    stages: tuple[PlannedStage, ...]
    """In the order of the recipe; stages that trials share are one object."""
    judged: PlannedStage
    """The stage whose policy is judged."""

    @property
    def configuration(self) -> str:
        """Short digest of the settings that it is trained with: the same in all trials of an arm.

        Of the judged stage and of those that lead to it, seeds and what its axes vary left out.
        """
        axes = self.trial.arm.axes
        varied = {key for axis in axes for key in axis.keys or (axis.name,)}
        if "preset" in varied:
            varied |= {key for preset in self.recipe.presets.values() for key in preset}
        leading = _leading(self.recipe, self.config, self.judged.spec.name)
        parts = {"network", "decoding", *(stage.name for stage in leading)}
        if any(stage.algorithm.uses_rewards for stage in leading):
            parts.add("reward")
        settings: dict[str, object] = {
            key: value
            for key, value in flatten(self.config).items()
            if key.partition(".")[0] in parts and not key.endswith(".seed")
        }
        stale = max(staleness(stage.algorithm, self.config.max_staleness) for stage in leading)
        settings["max_staleness"] = stale
        return digest({key: value for key, value in settings.items() if key not in varied})[:16]


@dataclass(frozen=True, slots=True)
class Node:
    """A stage of one trial or more."""

    stage: PlannedStage
    config: TrainingConfig
    """Of the first trial that has it; what could change the stage is the same in all."""
    recipe: Recipe
    parents: tuple[Path, ...]
    """Folders of the stages it starts from."""
    trials: list[int] = field(default_factory=list)
    """Places of the trials that it is part of."""

    @property
    def folder(self) -> Path:
        """Of the stage."""
        return self.stage.spec.folder

    @property
    def name(self) -> str:
        """Of its folder: no other stage has it."""
        return self.folder.name


def graph(plans: Sequence[tuple[Trial, Recipe, TrainingConfig, Sequence[PlannedStage]]]) -> Graph:
    """Every distinct stage once, by its folder. Raises UserError: an arm names a stage that is not there."""
    nodes: dict[Path, Node] = {}
    found = []
    for place, (trial, recipe, config, stages) in enumerate(plans):
        for stage in stages:
            spec = stage.spec
            starts = (spec.policy_from, spec.critic_from, spec.updates_of, spec.continues)
            parents = tuple(dict.fromkeys(folder for folder in starts if folder is not None))
            node = nodes.setdefault(spec.folder, Node(stage, config, recipe, parents))
            node.trials.append(place)
        shared = {stage.spec.name: nodes[stage.spec.folder].stage for stage in stages}
        judged = judged_stage(trial, recipe)
        if judged not in shared:
            raise UserError(
                f"arm {trial.arm.label}: recipe {recipe.name} has no stage {judged} as it is set; "
                f"it has {', '.join(shared)}"
            )
        found.append(TrialPlan(trial, recipe, config, tuple(shared.values()), shared[judged]))
    return Graph(tuple(found), nodes)


def _leading(recipe: Recipe, config: TrainingConfig, name: str) -> list[Stage]:
    """A stage, and all that its networks or its number of updates come from."""
    stages = {stage.name: stage for stage in recipe.stages_of(config)}
    found, todo = dict[str, Stage](), [name]
    while todo:
        stage = found.setdefault(todo[0], stages[todo.pop(0)])
        todo += [parent for parent in (stage.policy, stage.critic, stage.like) if parent is not None]
    return list(found.values())


def judged_stage(trial: Trial, recipe: Recipe) -> str:
    """Name of the stage whose policy is judged."""
    return trial.arm.stage or recipe.stages[-1].name


@dataclass(frozen=True, slots=True)
class Graph:
    """Trials, and their distinct stages by folder, each after those it starts from."""

    trials: tuple[TrialPlan, ...]
    nodes: Mapping[Path, Node]

    @property
    def to_train(self) -> list[Node]:
        """What is not finished."""
        return [node for node in self.nodes.values() if not node.stage.reused]

    def remaining_seconds(self, seconds: Mapping[Path, float]) -> dict[Path, float]:
        """By stage to train: the longest way from its start to the end of all that starts from it [s]."""
        remaining: dict[Path, float] = {}
        for node in reversed(self.to_train):
            later = [remaining[n.folder] for n in self.to_train if node.folder in n.parents]
            remaining[node.folder] = seconds.get(node.folder, 1.0) + max(later, default=0.0)
        return remaining


def cost_kind(algorithm: str, settings: Mapping[str, Any], network: Mapping[str, Any], data: str) -> str:
    """Stages of one kind take as long for an update: same algorithm, sizes, batch and data."""
    cost = {key: settings[key] for key in COST if key in settings}
    return digest({"algorithm": algorithm, "cost": cost, "network": dict(network), "data": data})


def known_rates(store: Path) -> dict[str, float]:
    """Seconds for an update, evaluations included, by kind, of the finished stages in a store."""
    seconds: dict[str, list[float]] = {}
    for path in sorted(store.glob(f"*/{RESULT}")):
        try:
            record = read_record(path.with_name(STAGE), TrainedRecord)
            result = read_record(path, AccountRecord)
        except (FileNotFoundError, UserError):
            continue  # a damaged stage has no rate; whoever needs it says so
        kind = cost_kind(record.algorithm, record.settings, record.network, record.data)
        if result.updates:
            seconds.setdefault(kind, []).append(result.seconds / result.updates)
    return {kind: median(found) for kind, found in seconds.items()}


def kind_of(node: Node) -> str:
    """Which stages an update of this one takes as long as."""
    record, algorithm = node.stage.record, node.stage.spec.algorithm
    return cost_kind(
        type(algorithm).__name__, flatten(algorithm), flatten(node.config.network), record["data"]
    )
