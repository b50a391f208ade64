"""What a folder of run storage holds: workflow runs, their stages, and the checkpoints that nothing needs.

Everything is found from files alone. A command claims each folder it writes to (``raysq.claim``), so runs and
stages are folders with a file ``claim``, a run's with one more of these at least::

    runs/erac-demo-seed1/   claim, plan.json, config.json, result.json (once finished)
    runs/stages/mle-.../    claim, stage.json, journal.jsonl, checkpoints/, result.json (once finished)

Reading imports neither torch nor Ray nor MLflow and may be done while runs train. Symbolic links are not
followed. What cannot be read is named in ``damage`` and never an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from raysq.claim import holder
from raysq.config import UserError
from raysq.records import (
    PLAN,
    RESULT,
    SETTINGS,
    STAGE,
    PlanRecord,
    ResultRecord,
    SettingsRecord,
    StageRecord,
    StageResultRecord,
    read_record,
)
from raysq.terminal import as_started
from raysq.tracking import without_credentials
from raysq.training import journal

METRICS = ("greedy_rouge", "greedy_bleu", "oracle_rouge", "oracle_bleu", "rouge", "bleu", "td_error")
"""Dev metrics by which the best checkpoint is chosen; the first that a stage has."""

State = Literal[
    "training", "waiting", "finished", "diverged", "interrupted", "not begun", "missing", "damaged"
]
"""waiting: claimed by a live command, not begun yet; missing: a run refers to a folder that is not there."""

_OF_A_RUN = {PLAN, SETTINGS, RESULT, "run_id"}
"""Files of which a workflow's output folder has one at least."""
_STAGE_NAME = re.compile(r".+-[0-9a-f]{12}-[0-9a-f]{8}")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class StageEntry:
    """A stage's folder."""

    folder: Path
    state: State
    name: str = ""
    """Texts are empty where they are unknown."""
    algorithm: str = ""
    seed: int | None = None
    control: bool = False
    """Whether it only continues another stage's actor for comparison."""
    run_id: str = ""
    """In MLflow."""
    version: str = ""
    """Digest of the package's sources that it was begun with."""
    update: int = 0
    """Updates done, as far as journal and checkpoints tell."""
    checkpoints: tuple[int, ...] = ()
    """Updates of the checkpoints, ascending."""
    best_update: int | None = None
    """Of a finished stage."""
    metric: str = ""
    """Name of the dev metric by which the best checkpoint is chosen."""
    dev: float | None = None
    """Best dev score so far."""
    test: float | None = None
    changed: float = 0.0
    """When something in the folder changed last [seconds since the epoch]."""
    size: int = 0
    """Of its files [bytes]."""
    holder: str | None = None
    """The live command that holds it."""
    damage: tuple[str, ...] = ()
    """What is wrong with it, and the remedy."""

    @property
    def done(self) -> bool:
        """Whether nothing is left to train."""
        return self.state in ("finished", "diverged")


@dataclass(frozen=True, slots=True)
class RunEntry:
    """A workflow's output folder."""

    folder: Path
    state: State
    workflow: str = ""
    """Texts are empty where they are unknown."""
    task: str = ""
    seed: int | None = None
    tracking_uri: str = ""
    """Without user and password."""
    stages: tuple[StageEntry, ...] = ()
    """In the order of the workflow."""
    references: tuple[Path, ...] = ()
    """Folders of these stages, and of those of its result, which may be an earlier command's."""
    readable: bool = True
    """Whether the files that say so could be read."""
    changed: float = 0.0
    """When something of it or of its stages changed last [seconds since the epoch]."""
    size: int = 0
    """Of its files and of those of its stages, which other runs may share [bytes]."""
    holder: str | None = None
    """The live command that holds it."""
    damage: tuple[str, ...] = ()
    """What is wrong with it or its stages, and the remedy."""

    @property
    def at(self) -> StageEntry | None:
        """The stage where it stands; None once all are done."""
        return next((stage for stage in self.stages if not stage.done), None)

    @property
    def models(self) -> list[StageEntry]:
        """The stages that train a policy and are no control, once they have a score."""
        judged = ("bleu", "rouge")
        return [s for s in self.stages if s.metric in judged and not s.control and s.dev is not None]


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything under a folder of run storage."""

    root: Path
    runs: tuple[RunEntry, ...]
    """The last changed is the last."""
    stages: tuple[StageEntry, ...]
    """Those under the root, whether a run refers to them or not; the last changed is the last."""
    holders: dict[Path, str]
    """Live commands by the folder they hold, one that is no run yet too; stages' apart."""
    damage: tuple[str, ...]
    """Folders that could not be read."""

    def runs_of(self, stage: StageEntry) -> list[RunEntry]:
        """The runs under the root that refer to a stage; by its folder's name, as storage may have moved."""
        name = stage.folder.name
        return [run for run in self.runs if any(folder.name == name for folder in run.references)]


def take_inventory(root: Path) -> Inventory:
    """Read everything under ``root``.

    Raises:
        UserError: there is no run and no stage.
    """
    root = root.expanduser().resolve()
    damage: list[str] = []
    folders = list(_claimed(root, damage))
    stages = {folder: read_stage(folder) for folder in folders if _is_stage(folder)}
    runs = [read_run(folder, stages) for folder in folders if is_run(folder)]
    if not runs and not stages:
        raise UserError(
            f"{root} holds no runs: name the folder that does with --root, or begin one: "
            f"{as_started('erac')} --task demo"
        )
    return Inventory(
        root,
        tuple(sorted(runs, key=lambda run: run.changed)),
        tuple(sorted(stages.values(), key=lambda stage: stage.changed)),
        {folder: by for folder in folders if folder not in stages and (by := holder(folder))},
        tuple(damage),
    )


def is_run(folder: Path) -> bool:
    """Whether it is a workflow's output folder."""
    begun = any((folder / name).exists() for name in _OF_A_RUN)
    return begun and (folder / "claim").exists() and not _is_stage(folder)


def read_run(folder: Path, known: Mapping[Path, StageEntry]) -> RunEntry:
    """A workflow's output folder and its stages, those not in ``known`` read from their folders."""
    damage: list[str] = []
    plan = _read(lambda: read_record(folder / PLAN, PlanRecord), damage)
    config = _read(lambda: read_record(folder / SETTINGS, SettingsRecord), damage)
    result = _read(lambda: read_record(folder / RESULT, ResultRecord), damage)
    if plan is None and (config or result):
        damage.append(f"{folder} has no readable {PLAN}: repeat its command, which writes it again")
    readable = not damage
    stages = tuple(
        known.get(path) or (read_stage(path) if path.is_dir() else StageEntry(path, "missing", name))
        for name, path in (plan.stages.items() if plan else ())
    )
    for stage in stages:
        damage += stage.damage
        if stage.state == "missing" and result is not None:
            damage.append(f"stage {stage.folder} is missing: repeat the command, which trains it again")
    by = holder(folder)
    usage = [_usage(folder), *((stage.size, stage.changed) for stage in stages)]
    return RunEntry(
        folder,
        _run_state(stages, result, by is not None, bool(damage)),
        workflow=plan.workflow if plan else "",
        task=config.task if config else "",
        seed=config.seed if config else None,
        tracking_uri=without_credentials((config and config.tracking_uri) or ""),
        stages=stages,
        references=tuple(stage.folder for stage in (*stages, *(result.stages if result else ()))),
        readable=readable,
        changed=max(changed for _, changed in usage),
        size=sum(size for size, _ in usage),
        holder=by,
        damage=tuple(damage),
    )


def read_stage(folder: Path) -> StageEntry:
    """A stage's folder."""
    damage: list[str] = []
    record = _read(lambda: read_record(folder / STAGE, StageRecord), damage)
    result = _read(lambda: read_record(folder / RESULT, StageResultRecord), damage)
    checkpoints = _checkpoints(folder)
    logged, metric, best = _logged(folder / "journal.jsonl", damage)
    if result is not None:
        metric = next((name for name in METRICS if name in result.dev), "")
        best = result.dev.get(metric)
    begun = bool(logged or checkpoints)
    if begun and record is None and not damage:
        damage.append(f"{folder} has no {STAGE}: move it away; its workflow trains the stage afresh")
    if result is not None and result.best_update not in checkpoints:
        damage.append(
            f"the best checkpoint of {folder} (update {result.best_update}) is missing: "
            "remove the folder and repeat the command"
        )
    by = holder(folder)
    state: State = "interrupted" if begun else "not begun"
    if by is not None:
        state = "training" if begun else "waiting"
    if result is not None:
        state = result.state
    size, changed = _usage(folder)
    return StageEntry(
        folder,
        "damaged" if damage else state,
        name=record.stage if record else folder.name.split("-")[0],
        algorithm=record.algorithm if record else "",
        seed=record.seed if record else None,
        control=record.control if record else False,
        run_id=record.run_id if record else "",
        version=record.version if record else "",
        update=result.updates if result else max(logged, *checkpoints, 0),
        checkpoints=checkpoints,
        best_update=result.best_update if result else None,
        metric=metric,
        dev=best,
        test=result.test.get(metric) if result else None,
        changed=changed,
        size=size,
        holder=by,
        damage=tuple(damage),
    )


def _read(read: Callable[[], R], damage: list[str]) -> R | None:
    """What a file holds; None where there is none, or where it is damaged, which is added to ``damage``."""
    try:
        return read()
    except FileNotFoundError:
        pass
    except (UserError, OSError) as error:
        damage.append(str(error))
    return None


def _run_state(stages: Iterable[StageEntry], result: ResultRecord | None, live: bool, damaged: bool) -> State:
    states = [stage.state for stage in stages]
    folders = [stage.folder for stage in stages]
    begun = {"training", "interrupted", "finished", "diverged"} & set(states)
    if live:
        return "training" if begun else "waiting"
    if damaged:
        return "damaged"
    # the result may be of an earlier command with other settings
    if result is not None and folders == [stage.folder for stage in result.stages]:
        return "diverged" if "diverged" in states else "finished"
    return "interrupted" if begun else "not begun"


def _claimed(root: Path, damage: list[str]) -> Iterator[Path]:
    """The folders of runs, of stages and what else commands claim under ``root``, sorted."""

    def unreadable(error: OSError) -> None:
        if Path(error.filename) != root:
            damage.append(f"{error.filename} cannot be read ({error.strerror}): make it readable")

    for name, folders, files in os.walk(root, onerror=unreadable):
        folder = Path(name)
        folders.sort()
        if "claim" not in files or "manifest.json" in files:  # prepared text may be claimed too
            continue
        if _is_stage(folder):
            folders.clear()
        elif folder.name.startswith(".") and folder.name.endswith(".partial"):  # where text is being prepared
            continue
        if os.access(folder / "claim", os.R_OK):
            yield folder
        else:
            damage.append(f"{folder / 'claim'} cannot be read: make it readable")


def _is_stage(folder: Path) -> bool:
    return (folder / STAGE).exists() or _STAGE_NAME.fullmatch(folder.name) is not None


def _usage(folder: Path) -> tuple[int, float]:
    """Bytes of a folder's files, those of claimed folders in it apart, and the time of the last change."""
    size, changed = 0, 0.0
    for name, folders, files in os.walk(folder):
        if "claim" in files and Path(name) != folder:
            folders.clear()
            continue
        for file in files:
            try:
                status = (Path(name) / file).lstat()
            except FileNotFoundError:  # a run goes on meanwhile
                continue
            size += status.st_size
            # a claim is written by commands that change nothing, too
            changed = max(changed, status.st_mtime if file != "claim" else 0.0)
    return size, changed or (folder / "claim").lstat().st_mtime


def _checkpoints(folder: Path) -> tuple[int, ...]:
    names = [re.fullmatch(r"step-(\d+)", path.name) for path in (folder / "checkpoints").glob("step-*")]
    return tuple(sorted(int(name[1]) for name in names if name))


def _logged(path: Path, damage: list[str]) -> tuple[int, str, float | None]:
    """Last update in a journal, the metric by which the best checkpoint is chosen, and its best value."""
    records, _ = _read(lambda: journal.read(path), damage) or ((), 0)
    update = max((record.step for record in records), default=0)
    evaluations = [record.metrics for record in records if "dev/best" in record.metrics]
    last = evaluations[-1] if evaluations else {}
    metric = next((name for name in METRICS if f"dev/{name}" in last), "")
    return update, metric, last.get("dev/best")
