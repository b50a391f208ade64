"""A workflow as data: named stages, what each starts from, and the identity by which finished ones are found.

ERAC = Recipe("erac", stages=(
    Stage("mle", Mle()),
    Stage("critic", CriticTraining(), policy="mle"),
    Stage("erac", ActorCritic(), policy="mle", critic="critic"),
))
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field, create_model

from raysq.algorithms import Algorithm, CriticTraining, Mle
from raysq.config import (
    DecodingConfig,
    NetworkConfig,
    Scalar,
    UserError,
    WorkflowConfig,
    as_typed,
    digest,
    flatten,
)
from raysq.files import replace_json
from raysq.options import spelling
from raysq.own import own_name, own_sources, require_importable
from raysq.records import RESULT, STAGE, StageRecord, read_record
from raysq.rewards.settings import RewardSettings
from raysq.storage import pull, pull_each, push, writing
from raysq.tasks import Task, task_named
from raysq.training.samples import staleness
from raysq.training.spec import StageSpec
from raysq.training.state import read_result


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a recipe: an algorithm with this workflow's defaults, and the stages it starts from."""

    name: str
    algorithm: Algorithm
    policy: str | None = None
    """Stage whose best policy it starts from; none: a fresh one."""
    critic: str | None = None
    """Stage whose best critic it starts from; none: a fresh one, where one is needed."""
    like: str | None = None
    """A control without own settings: this stage's optimiser and schedule, for as many updates."""


class TrainingConfig(WorkflowConfig):
    """Options of every workflow that trains."""

    network: NetworkConfig = NetworkConfig()
    """Networks of all stages."""
    decoding: DecodingConfig = DecodingConfig()
    """Decoding of dev and test."""
    reward: RewardSettings = RewardSettings()
    """What samples earn."""


class ControlledConfig(TrainingConfig):
    """Options of a workflow with a control stage."""

    control: bool = False
    """Train the control too: the same actor continued by MLE alone, with the joint stage's optimiser and
    selection, for as many updates."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A workflow: its stages in order, each able to use those before it."""

    name: str
    stages: tuple[Stage, ...]
    control: Stage | None = None
    """Appended with ``--control``."""
    reward: RewardSettings = field(default_factory=RewardSettings)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """Reward, decoding and networks with this workflow's defaults; reward and networks may be of a class that
    a user's file derives from `RewardSettings` or `OwnNetwork`."""
    tasks: tuple[Task, ...] = ()
    """Its own, beside the package's."""
    presets: Mapping[str, Mapping[str, Scalar]] = field(default_factory=dict)
    """Settings of a paper by dotted key, chosen with ``--preset NAME``; they win over the task's."""
    must_agree: tuple[tuple[str, str], ...] = ()
    """Settings of two stages, by dotted key, that mean one thing: refused where they differ."""
    should_agree: tuple[tuple[str, str], ...] = ()
    """The same, where a difference only deserves a warning."""

    def config_class(self) -> type[TrainingConfig]:
        """The workflow's settings: the common options and a section for every stage."""
        sections: dict[str, Any] = {s.name: (type(s.algorithm), s.algorithm) for s in self.stages}
        sections["reward"] = (type(self.reward), self.reward)
        sections["decoding"] = (DecodingConfig, self.decoding)
        if self.network != NetworkConfig():
            sections["network"] = (type(self.network), self.network)
        if self.presets:
            names = Literal[*self.presets]  # type: ignore[valid-type]
            about = "Settings of a paper; each can still be changed."
            sections["preset"] = (names | None, Field(None, description=about))
        base = ControlledConfig if self.control else TrainingConfig
        made = create_model(f"{self.name.title()}Config", __base__=base, **sections)
        return cast(type[TrainingConfig], made)

    def defaults(self, values: Mapping[str, object]) -> Mapping[str, Scalar]:
        """The task's settings and over them the preset's, given the top-level values."""
        task = task_named(str(values["task"]), self.tasks)
        return {**task.defaults, **self.presets.get(str(values.get("preset")), {})}

    def stages_of(self, config: TrainingConfig) -> list[Stage]:
        """The stages with their resolved settings, the control's taken from the stage it is like."""
        stages = [Stage(s.name, getattr(config, s.name), s.policy, s.critic, s.like) for s in self.stages]
        if self.control is not None and isinstance(config, ControlledConfig) and config.control:
            model = next(s for s in stages if s.name == self.control.like).algorithm
            schedule = {name: getattr(model, name) for name in Algorithm.model_fields}
            algorithm = Mle.model_validate(schedule)
            stages.append(Stage(self.control.name, algorithm, self.control.policy, like=self.control.like))
        return stages

    def check(self, config: TrainingConfig) -> None:
        """Refuse what cannot be trained as it is set, before anything begins. Raises UserError."""
        for difference in _differences(config, self.must_agree):
            raise UserError(f"{difference}: give both the same value")
        if config.num_learners:
            algorithms = [stage.algorithm for stage in self.stages]
            require_importable([config.network, config.reward, *algorithms])
        for stage in self.stages_of(config):
            stale = staleness(stage.algorithm, config.max_staleness)
            if stale and "delayed_policy" in stage.algorithm.following_rates():
                raise UserError(
                    f"--max-staleness {config.max_staleness}: stage {stage.name} draws its samples from a "
                    "delayed policy of its own: give --max-staleness 0, or no delayed policy"
                )
            if stage.algorithm.whole_batch and (config.num_learners > 1 or config.gradient_accumulation > 1):
                raise UserError(
                    f"stage {stage.name} as it is set needs each batch in one piece: give --num-learners 1 "
                    f"and --gradient-accumulation 1 (now {config.num_learners} and "
                    f"{config.gradient_accumulation})"
                )

    def warnings(self, config: TrainingConfig, stage: str) -> list[str]:
        """What a user should know of a stage's settings."""
        of_stage = [pair for pair in self.should_agree if pair[1].startswith(f"{stage}.")]
        return [f"{difference}: they should agree" for difference in _differences(config, of_stage)]


def _differences(config: TrainingConfig, pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """One line for each pair of settings that differ, with their options and what they amount to."""
    for pair in pairs:
        one, other = (_amount(config, key) for key in pair)
        if one != other:
            yield f"{spelling(pair[0])} ({as_typed(one)}) and {spelling(pair[1])} ({as_typed(other)}) differ"


def _amount(config: TrainingConfig, key: str) -> object:
    """The value of a stage's setting; tau where there is a critic is that in what it learns."""
    stage, name = key.split(".")
    algorithm = getattr(config, stage)
    if name == "tau" and isinstance(algorithm, CriticTraining):
        return algorithm.target_tau()  # 0 without future entropy
    return getattr(algorithm, name)


Action = Literal["train", "resume", "reuse"]


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """A stage with its place in the store and what is to be done about it."""

    spec: StageSpec
    identity: str
    """Digest of everything that can change the stage's result, sources apart."""
    action: Action
    record: dict[str, Any]
    """Content of stage.json: identity, settings, parents, run id."""
    warnings: tuple[str, ...] = ()
    """What a user should know of its settings."""

    @property
    def reused(self) -> bool:
        """Whether it was finished before."""
        return self.action == "reuse"

    def write_record(self) -> None:
        """Write stage.json, by which later commands and people recognise the folder."""
        self.spec.folder.mkdir(parents=True, exist_ok=True)
        with writing(self.spec.folder):
            replace_json(self.spec.folder / STAGE, self.record)
            push(self.spec.folder, only=(STAGE,))


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a stage's schedule as a stage of its own: other settings may follow, or another's state."""

    stage: str
    """Which of the recipe's stages."""
    until: int
    """Update at which it ends. [updates]"""
    continues: PlannedStage | None = None
    """Finished segment from whose last state it goes on; none: it is the first."""


def plan(
    recipe: Recipe,
    config: TrainingConfig,
    store: Path,
    data_digest: str,
    version: str,
    segment: Segment | None = None,
) -> list[PlannedStage]:
    """Where each stage of the workflow lives, and whether it is trained, resumed or reused.

    A stage's folder is named by its identity and by its version, a digest of the package's sources (under
    ``--reuse never`` of this very run), of the user's own and of its parents' folders. With a ``segment`` of
    a stage, that part of it is planned in its place.

    Raises:
        UserError: what a stage's folder says of it is damaged.
    """
    planned: dict[str, PlannedStage] = {}
    for stage in recipe.stages_of(config):
        parents = {
            role: planned[name]
            for role, name in (("policy", stage.policy), ("critic", stage.critic), ("like", stage.like))
            if name is not None
        }
        part = segment if segment is not None and segment.stage == stage.name else None
        if part is not None and part.continues is not None:
            parents["continues"] = part.continues
        seed = config.seed if stage.algorithm.seed is None else stage.algorithm.seed
        settings = {
            "stage": stage.name,
            "algorithm": type(stage.algorithm).__name__,
            "settings": {key: value for key, value in flatten(stage.algorithm).items() if key != "seed"},
            "network": flatten(config.network),
            "decoding": flatten(config.decoding),
            "reward": flatten(config.reward) if stage.algorithm.uses_rewards else {},
            "max_staleness": staleness(stage.algorithm, config.max_staleness),
            "seed": seed,
            "data": data_digest,
            "parents": {role: parent.identity for role, parent in parents.items()},
        }
        if part is not None:
            settings["until"] = part.until
        parts = {"algorithm": stage.algorithm, "network": config.network}
        if stage.algorithm.uses_rewards:
            parts["reward"] = config.reward
        if own := {role: name for role, made in parts.items() if (name := own_name(type(made)))}:
            settings["own"] = own
        identity = digest(settings)
        lineage = [version, *own_sources(parts.values())]
        lineage += [parent.spec.folder.name for parent in parents.values()]
        suffix = hashlib.sha256("/".join(lineage).encode()).hexdigest()[:8]
        folder = store / f"{stage.name}-{identity[:12]}-{suffix}"
        if config.reuse == "same-config":
            pull_each(store, f"{stage.name}-{identity[:12]}-*/{RESULT}")
            folder = _finished_of(store, f"{stage.name}-{identity[:12]}-") or folder
        folders = {role: parent.spec.folder for role, parent in parents.items()}
        spec = StageSpec(
            stage.name,
            stage.algorithm,
            folder,
            seed,
            policy_from=folders.get("policy"),
            critic_from=folders.get("critic"),
            updates_of=folders.get("like"),
            until=part.until if part is not None else 0,
            continues=folders.get("continues"),
        )
        pull(folder, tensors=False)
        action = _action(folder)
        known = action == "reuse" or (folder / STAGE).exists()
        named = {"identity": identity, **settings}
        record = _known_record(folder, named) if known else {"version": version, **named}
        warnings = recipe.warnings(config, stage.name)
        planned[stage.name] = PlannedStage(spec, identity, action, record, tuple(warnings))
    return list(planned.values())


def package_digest() -> str:
    """Digest of the package's sources: results of other sources are other results.

    Recipes and tune spaces, which lie in the package where it is installed, are no part of it: what they say
    is in the identities of stages.
    """
    root = Path(__file__).parent
    state = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).parts[0] in ("workflows", "tune_spaces"):
            continue
        state.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return state.hexdigest()


def _action(folder: Path) -> Action:
    if (folder / RESULT).exists():
        read_result(folder)  # a damaged one is said now, not after hours of training
        return "reuse"
    return "resume" if (folder / "checkpoints").exists() else "train"


def _finished_of(store: Path, prefix: str) -> Path | None:
    found = [path.parent for path in store.glob(f"{prefix}*/{RESULT}")]
    return max(found, key=lambda folder: (folder / RESULT).stat().st_mtime, default=None)


def _known_record(folder: Path, named: Mapping[str, object]) -> dict[str, Any]:
    """What stage.json says, which must be what the folder is named after."""
    try:
        record = read_record(folder / STAGE, StageRecord).model_dump()
    except FileNotFoundError:
        raise UserError(
            f"{folder} has no {STAGE}: move it away and repeat the command, which trains the stage afresh"
        ) from None
    for key, value in named.items():
        if record.get(key) != value:
            raise UserError(f"{folder / STAGE} was changed: its {key} is another: {StageRecord.remedy}")
    return record
