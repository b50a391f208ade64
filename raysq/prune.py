"""Removes what no command needs any more from run storage: checkpoints, and stages that no run refers to.

A finished stage is evaluated, and is started from, by its best checkpoint; an interrupted one continues from
its latest and ends with its best. Everything else can go. The folders of live commands are left alone: their
own, and those of the stages they refer to.
"""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from raysq.claim import claim
from raysq.config import UserError
from raysq.inventory import Inventory, StageEntry
from raysq.training.journal import Journal

_REMOVING = ".removing-"


@dataclass(frozen=True, slots=True)
class Pruned:
    """What is removed, or would be, of one stage."""

    stage: StageEntry
    paths: tuple[Path, ...] = ()
    """Checkpoints; or the stage's folder itself, where no run refers to it."""
    size: int = 0
    """Of these [bytes]."""
    left_alone: str = ""
    """Why nothing is removed."""


def prune(inventory: Inventory, *, older_than: float, unreferenced: bool, really: bool) -> list[Pruned]:
    """What can go of every stage under the inventory's root.

    Args:
        inventory: read just now.
        older_than: stages that changed later are passed over [days].
        unreferenced: remove stages to which no run under the root refers, whole.
        really: remove it; else only tell.

    Returns:
        One entry for every stage of which something can go or should be looked at.

    Raises:
        UserError: ``unreferenced`` where it cannot be known which stages are.
    """
    if unreferenced:
        _require_known_references(inventory)
    latest_change = time.time() - older_than * 24 * 3600
    pruned = []
    # whole stages first: what the inventory says of who refers to them grows old
    for stage in sorted(inventory.stages, key=lambda stage: bool(inventory.runs_of(stage))):
        if stage.changed > latest_change:
            continue
        users = inventory.runs_of(stage)
        by = stage.holder or next((run.holder for run in users if run.holder), None)
        if by is not None:
            pruned.append(Pruned(stage, left_alone=f"in use by {by}"))
            continue
        try:
            found = _pruned(stage, whole=unreferenced and not users, really=really)
        except UserError as error:
            found = Pruned(stage, left_alone=str(error))
        if found.paths or found.left_alone:
            pruned.append(found)
    return pruned


def _require_known_references(inventory: Inventory) -> None:
    if not inventory.runs:
        raise UserError(
            f"--unreferenced: there is no run under {inventory.root}, which would make every stage one: "
            "name the folder that holds the runs with --root"
        )
    for folder, by in inventory.holders.items():
        raise UserError(
            f"--unreferenced: {folder} is in use by {by}, which may take up any stage: wait for it"
        )
    for run in inventory.runs:
        if not run.readable:
            raise UserError(f"--unreferenced: cannot tell which stages are: {run.damage[0]}")


def _pruned(stage: StageEntry, *, whole: bool, really: bool) -> Pruned:
    """Remove the stage, or checkpoints that nothing needs. Raises UserError where it is damaged or held."""
    with ExitStack() as held:
        if really:
            held.enter_context(claim(stage.folder, "the stage", "wait for it"))
            journal = stage.folder / "journal.jsonl"
            if journal.exists():  # held by a learner, which outlives a driver that was killed
                held.enter_context(Journal(journal, patience_seconds=0))
        paths = (stage.folder,) if whole else _unneeded(stage)
        size = sum(file.lstat().st_size for path in paths for file in path.rglob("*"))
        for path in paths if really else ():
            _remove(path)
    return Pruned(stage, paths, size)


def _unneeded(stage: StageEntry) -> tuple[Path, ...]:
    """The stage's checkpoints but those that are needed, which are read through first."""
    from raysq.training import checkpoint  # torch: seconds, which listing runs does without

    if stage.damage:
        raise UserError(stage.damage[0])
    folder = stage.folder / "checkpoints"
    found = [*folder.glob("step-*"), *folder.glob(".writing-*"), *folder.glob(f"{_REMOVING}*")]
    best = checkpoint.best(folder)
    latest = None if stage.done else checkpoint.latest(folder)
    if not stage.done and latest is None:
        return ()
    best_update = latest.state["best_update"] if latest else stage.best_update
    if best_update != (best.step if best else -1):
        raise UserError(f"the best checkpoint of {stage.folder} (update {best_update}) is missing or damaged")
    needed = {saved.path for saved in (best, latest) if saved is not None}
    return tuple(sorted(p for p in found if p not in needed and p.is_dir() and not p.is_symlink()))


def _remove(folder: Path) -> None:
    """Remove a folder under another name, so that a half-removed one is never taken for whole."""
    aside = folder
    if not folder.name.startswith(_REMOVING):
        aside = folder.rename(folder.with_name(f"{_REMOVING}{folder.name}"))
    shutil.rmtree(aside)
