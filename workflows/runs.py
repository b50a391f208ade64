"""What is in run storage: runs, where they stand, what they scored, and how to go on with them.

    python workflows/runs.py                            # every run under runs/
    python workflows/runs.py --stages                   # and every stage
    python workflows/runs.py --run runs/erac-demo-seed1 # one run: its stages, how to continue or use it
    python workflows/runs.py --run FOLDER --deliver     # what MLflow missed while it was away
    python workflows/runs.py --prune                    # checkpoints that nothing needs; --yes removes them

Run it from the root of the repository, or with raysq installed.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator
from rich.console import Console
from rich.table import Table

from raysq.addresses import Place, address_of, written
from raysq.claim import claim
from raysq.commandline import run_command
from raysq.config import Config, UserError
from raysq.inventory import Inventory, RunEntry, StageEntry, is_run, read_run, take_inventory
from raysq.outbox import UNDELIVERED, Outbox, delivers, kept_in
from raysq.places import fetch_run
from raysq.prune import Pruned, prune
from raysq.records import SETTINGS
from raysq.storage import push
from raysq.terminal import as_started, terminal
from raysq.tracking import Tracker, without_credentials

METRICS = {
    "bleu": "BLEU {:.2f}",
    "rouge": "ROUGE {:.2f}",
    "greedy_bleu": "greedy BLEU {:.2f}",
    "greedy_rouge": "greedy ROUGE {:.2f}",
    "oracle_bleu": "oracle BLEU {:.2f}",
    "oracle_rouge": "oracle ROUGE {:.2f}",
    "td_error": "|TD error| {:.3f}",
    "": "{:.3f}",
}


class RunsSettings(Config):
    """Options of this command."""

    root: Path = Path("runs")
    """Folder of run storage; everything under it is found."""
    stages: bool = False
    """List the stages too."""
    run: Place | None = None
    """A workflow's output folder: show this run alone, with its stages, and how to go on with it."""
    deliver: bool = False
    """With --run, which may be a sweep's folder too: bring to MLflow what it did not take when the command
    ended."""
    tracking_uri: str | None = None
    """With --deliver: where MLflow is now, or its address with user and password; none: where it was."""
    prune: bool = False
    """Name the checkpoints that nothing needs any more: all but the best of finished stages, all but the
    best and the latest of others. Nothing is removed without --yes."""
    unreferenced: bool = False
    """With --prune: whole stages too, where no run under the root refers to them."""
    older_than: float = Field(0.0, ge=0)
    """With --prune: only of stages that have not changed for so long [days]."""
    yes: bool = False
    """With --prune: remove it."""
    format: Literal["table", "json"] = "table"
    """How to print: for people or for programs."""

    @model_validator(mode="after")
    def _prune_alone(self) -> RunsSettings:
        if not self.prune and (self.unreferenced or self.older_than or self.yes):
            raise ValueError("`unreferenced`, `older_than` and `yes` need `prune`")
        if self.prune and (self.run or self.stages):
            raise ValueError("`prune` goes with neither `run` nor `stages`: name a folder with `root`")
        if self.deliver and not self.run:
            raise ValueError("`deliver` needs `run`")
        if self.tracking_uri and not self.deliver:
            raise ValueError("`tracking_uri` needs `deliver`")
        return self


def main(settings: RunsSettings) -> None:
    """Read run storage and print what was asked for."""
    # a table cut to 80 columns is of no use in a file or a pipe
    console = terminal(width=None if sys.stdout.isatty() else 200)
    if settings.run is not None:
        folder = settings.run.expanduser().resolve()
        if address_of(folder) is not None:
            fetch_run(folder)
        if settings.deliver:
            _deliver(folder, settings.tracking_uri, console)
        else:
            _show_run(settings, folder, console)
        return
    inventory = take_inventory(settings.root)
    if settings.prune:
        _prune(settings, inventory, console)
    elif settings.format == "json":
        stages = {"stages": inventory.stages} if settings.stages else {}
        _print_json({"runs": inventory.runs, "damage": inventory.damage, **stages})
    else:
        _show(settings, inventory, console)


def _show(settings: RunsSettings, inventory: Inventory, console: Console) -> None:
    console.print(_runs_table(inventory))
    if settings.stages:
        console.print(_stages_table(inventory.stages, inventory))
    unreferenced = [stage for stage in inventory.stages if not inventory.runs_of(stage)]
    damage = [*inventory.damage, *(line for run in inventory.runs for line in run.damage)]
    _print_damage([*damage, *(line for stage in unreferenced for line in stage.damage)], console)
    if unreferenced:
        size = _size(sum(stage.size for stage in unreferenced))
        console.print(
            f"no run refers to {len(unreferenced)} stages ({size}): --stages, --prune --unreferenced"
        )
    console.print(f"a run's stages, and how to go on with it: {as_started('runs')} --run FOLDER")


def _show_run(settings: RunsSettings, folder: Path, console: Console) -> None:
    """One run, its checkpoints read through where no command is writing them."""
    if not is_run(folder):
        raise UserError(
            f"--run {folder} is no workflow's output folder: "
            f"{as_started('runs')} --root FOLDER lists those under a folder"
        )
    run = read_run(folder, {})
    damage = [*run.damage, *(_damaged_checkpoints(run) if run.holder is None else ())]
    advice = _advice(run)
    if settings.format == "json":
        _print_json({**dataclasses.asdict(run), "damage": damage, "advice": advice})
        return
    changed = f"last changed {_age(run.changed)} ago"
    console.print(f"{folder}: {_standing(run)}, {changed}, {_size(run.size)} with its stages")
    if run.stages:
        console.print(_stages_table(run.stages, None))
    for name, text in advice.items():
        console.print(f"{name + ':':<11}{text}")
    _print_damage(damage, console)


def _deliver(folder: Path, tracking_uri: str | None, console: Console) -> None:
    """Bring to MLflow what is kept for it in an output folder. Raises UserError where it does not take it."""
    if not (folder / "claim").is_file():
        raise UserError(f"--run {folder} is no output folder of a workflow or of a sweep: give one")
    kept = kept_in(folder)
    if kept is None:
        console.print(f"nothing waits for MLflow in {folder}")
        return
    tracker = Tracker(tracking_uri or kept.tracking_uri, None)
    with claim(folder, "the output folder", "wait for its end, which delivers it"):
        outbox = Outbox(tracker, folder, moved=True)
        outbox.flush()
        push(folder)
    if outbox.missing:
        raise UserError(outbox.missing)
    console.print(f"MLflow at {without_credentials(tracker.uri)} has what waited in {folder}")


def _advice(run: RunEntry) -> dict[str, str]:
    """How to continue, use and look at a run, as commands."""
    advice = {}
    finished = run.state in ("finished", "diverged")
    if run.holder is not None:
        advice["in use"] = f"by {run.holder}"
    elif run.workflow and not finished:
        config = shlex.quote(written(run.folder / SETTINGS))
        known = Path(__file__).with_name(f"{run.workflow}.py").is_file()
        command = as_started(run.workflow) if known else f"the file of recipe {run.workflow}, with"
        advice["continue"] = f"{command} --config {config}"
        if _sources_changed(run):
            advice["note"] = "raysq's sources have changed since: stages begun before are trained afresh"
    if run.holder is None and (run.folder / UNDELIVERED).exists():
        advice["deliver"] = delivers(run.folder)
    usable = [model.folder for model in run.models if model.done]
    if usable:
        model = shlex.quote(written(run.folder if finished else usable[-1]))
        advice["evaluate"] = f"{as_started('evaluate')} --run {model}"
        advice["translate"] = f"{as_started('translate')} --run {model} < FILE"
        advice["export"] = f"{as_started('export')} --run {model} --output-dir FOLDER"
    if run.tracking_uri.startswith("sqlite:"):
        advice["metrics"] = f"mlflow ui --backend-store-uri {shlex.quote(run.tracking_uri)}"
    elif run.tracking_uri:
        advice["metrics"] = run.tracking_uri
    return advice


def _sources_changed(run: RunEntry) -> bool:
    """Whether the same command would find none of the stages that were begun (--reuse auto and never)."""
    from raysq.recipe import package_digest  # torch: seconds, which listing runs does without

    attempt = run.folder / "attempt"
    version = attempt.read_text().strip() if attempt.exists() else package_digest()
    return any(stage.version != version for stage in run.stages if stage.version)


def _damaged_checkpoints(run: RunEntry) -> list[str]:
    from raysq.training import checkpoint  # torch, too

    damage = []
    for stage in run.stages:
        for update in stage.checkpoints:
            try:
                checkpoint.load(stage.folder / "checkpoints" / f"step-{update:08d}")
            except UserError as error:
                damage.append(str(error))
    return damage


def _prune(settings: RunsSettings, inventory: Inventory, console: Console) -> None:
    pruned = prune(
        inventory,
        older_than=settings.older_than,
        unreferenced=settings.unreferenced,
        really=settings.yes,
    )
    if settings.format == "json":
        _print_json({"removed": settings.yes, "stages": pruned})
        return
    for entry in pruned:
        console.print(f"{entry.stage.folder}: {_fate(entry)}")
    left = [s for s in inventory.stages if not inventory.runs_of(s)]
    if left and not settings.unreferenced:
        console.print(f"no run under {inventory.root} refers to these; --unreferenced removes them whole:")
        for stage in left:
            console.print(f"{stage.folder}: {_size(stage.size)}, last changed {_age(stage.changed)} ago")
    size = _size(sum(entry.size for entry in pruned))
    console.print(f"{size} freed" if settings.yes else f"{size} can be freed; --yes removes it")


def _fate(entry: Pruned) -> str:
    """What is, or would be, removed of a stage."""
    if entry.left_alone:
        return f"left alone, {entry.left_alone}"
    if entry.paths == (entry.stage.folder,):
        return f"the stage itself, {_size(entry.size)}"
    return f"{', '.join(path.name for path in entry.paths)}, {_size(entry.size)}"


def _runs_table(inventory: Inventory) -> Table:
    table = _table("run", "workflow", "task", "seed", "state", "dev", "test", "age", "size")
    for run in inventory.runs:
        scored = run.models[-1] if run.models else None
        table.add_row(
            _place(run.folder),
            run.workflow,
            run.task,
            "" if run.seed is None else str(run.seed),
            _standing(run),
            _score(scored, scored.dev) if scored else "",
            _score(scored, scored.test) if scored else "",
            _age(run.changed),
            _size(run.size),
        )
    return table


def _stages_table(stages: Sequence[StageEntry], inventory: Inventory | None) -> Table:
    """Stages; with an inventory also the runs that refer to them."""
    columns = ("stage", "algorithm", "seed", "state", "updates", "checkpoints", "dev", "test", "age", "size")
    table = _table(*columns, *(("runs",) if inventory else ()), "place")
    for stage in stages:
        users = [", ".join(run.folder.name for run in inventory.runs_of(stage))] if inventory else []
        table.add_row(
            stage.name,
            stage.algorithm,
            "" if stage.seed is None else str(stage.seed),
            stage.state,
            str(stage.update),
            " ".join(
                f"{update}*" if update == stage.best_update else str(update) for update in stage.checkpoints
            ),
            _score(stage, stage.dev),
            _score(stage, stage.test),
            _age(stage.changed) if stage.changed else "",
            _size(stage.size),
            *users,
            _place(stage.folder),
        )
    return table


def _table(*columns: str) -> Table:
    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _standing(run: RunEntry) -> str:
    """The state of a run in words: ``interrupted at update 250 of erac``."""
    if run.state in ("training", "interrupted") and run.at is not None:
        return f"{run.state} at update {run.at.update} of {run.at.name}"
    if run.state == "interrupted":
        return "interrupted after its last stage"
    return run.state


def _score(stage: StageEntry, score: float | None) -> str:
    return "" if score is None else METRICS[stage.metric].format(score)


def _place(folder: Path) -> str:
    """The folder as one would type it here."""
    here = Path.cwd()
    return str(folder.relative_to(here)) if folder.is_relative_to(here) else written(folder)


def _age(moment: float) -> str:
    seconds = max(0.0, time.time() - moment)
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _print_damage(damage: Iterable[str], console: Console) -> None:
    for line in dict.fromkeys(damage):
        console.print(f"warning: {line}")


def _print_json(value: object) -> None:
    def plain(other: object) -> object:
        if dataclasses.is_dataclass(other) and not isinstance(other, type):
            return dataclasses.asdict(other)
        return written(str(other))

    print(json.dumps(value, indent=2, default=plain))


if __name__ == "__main__":
    sys.exit(run_command(RunsSettings, main, description=__doc__))
