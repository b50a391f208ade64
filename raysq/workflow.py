"""Runs a recipe: data, plan, learners, MLflow, result.json and the table at the end."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from raysq.commandline import run_command
from raysq.config import UserError, flatten
from raysq.data.prepare import prepare
from raysq.data.shards import Corpus
from raysq.delivery import Delivery
from raysq.progress import Progress
from raysq.recipe import PlannedStage, Recipe, TrainingConfig, package_digest, plan
from raysq.tasks import task_defaults, task_named
from raysq.tasks.translation import demo_settings, demo_text
from raysq.tracking import Point, RunStatus, Tracker, comparison_text, default_uri, source_tags
from raysq.training.job import Job, run_job
from raysq.training.journal import replace_json
from raysq.training.stage import read_result

EXPERIMENT = "raysq"
DIVERGED = 3
"""Exit status of a workflow whose last stage diverged; its best checkpoint was kept and scored."""


def main(recipe: Recipe, description: str | None, argv: Sequence[str] | None = None) -> int:
    """The command line of a recipe; returns the exit status."""
    return run_command(
        recipe.config_class(),
        partial(run, recipe),
        description=description,
        defaults_for=task_defaults,
        argv=argv,
    )


@dataclass(frozen=True, slots=True)
class Places:
    """Where a workflow keeps things; all absolute, because workers change their directory."""

    output: Path
    store: Path
    tracking_uri: str

    @classmethod
    def of(cls, recipe: Recipe, config: TrainingConfig) -> Places:
        """The places that the settings name, or their defaults."""
        default = Path("runs") / f"{recipe.name}-{config.task}-seed{config.seed}"
        output = (config.output_dir or default).expanduser().resolve()
        store = (config.store_dir or output.parent / "stages").expanduser().resolve()
        return cls(output, store, config.tracking_uri or default_uri(output.parent))


def run(recipe: Recipe, config: TrainingConfig) -> int:
    """Run the workflow to its end, reusing and resuming stages; returns the exit status."""
    logging.basicConfig(level=logging.INFO if config.verbose else logging.WARNING, format="%(message)s")
    console = Console(quiet=config.quiet)
    places = Places.of(recipe, config)
    places.output.mkdir(parents=True, exist_ok=True)
    data_dir = _data(config, places)
    corpus = Corpus.load(data_dir)
    version = _version(config, places)
    stages = plan(recipe, config, places.store, corpus.digest, version)
    tracker = Tracker(places.tracking_uri, EXPERIMENT)
    parent_id = _open_runs(recipe, config, places, corpus, tracker, stages)
    for stage in stages:
        console.print(_intention(stage), highlight=False)
    progress = Progress(console, stages)
    delivery = Delivery(tracker, on_record=progress.show)
    for stage in stages:
        if stage.record.get("run_id"):
            delivery.add(stage.spec.folder / "journal.jsonl", stage.record["run_id"])
    status: RunStatus = "FAILED"
    try:
        _train(config, places, data_dir, stages)
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        progress.close()
        undelivered = delivery.close()
        _close_runs(tracker, parent_id, stages, places, status)
    result = _write_result(recipe, config, places, parent_id, stages)
    (places.output / "attempt").unlink(missing_ok=True)
    Console().print(_table(result["stages"]))
    for line in undelivered:
        console.print(f"warning: {line}", highlight=False, soft_wrap=True)
    run_ids = [stage.record["run_id"] for stage in stages]
    print(f"results: {places.output / 'result.json'}")
    print(comparison_text(tracker.uri, tracker.experiment_id, run_ids))
    return DIVERGED if result["stages"][-1]["state"] == "diverged" else 0


def _data(config: TrainingConfig, places: Places) -> Path:
    """The prepared folder: what --data-dir names, or the demo's, generated once."""
    task = task_named(config.task)
    if config.data_dir is not None:
        return config.data_dir.expanduser().resolve()
    if not task.generated:
        raise UserError(
            f"--task {task.name} needs --data-dir, a folder that "
            f"python workflows/prepare.py --task {task.name} has written"
        )
    return prepare(demo_settings(places.output.parent / f"data-{task.name}"), demo_text()).folder


def _version(config: TrainingConfig, places: Places) -> str:
    """Digest of the package's sources; with --reuse never something of this run's own, kept until it ends."""
    if config.reuse != "never":
        return package_digest()
    attempt = places.output / "attempt"
    if not attempt.exists():
        attempt.write_text(uuid.uuid4().hex)
    return attempt.read_text()


def _intention(stage: PlannedStage) -> str:
    said = {"train": "trains", "resume": "resumes in", "reuse": "is reused from"}[stage.action]
    where = f"in {stage.spec.folder}" if stage.action == "train" else str(stage.spec.folder)
    return f"stage {stage.spec.name} {said} {where}"


def _train(config: TrainingConfig, places: Places, data_dir: Path, stages: list[PlannedStage]) -> None:
    """Train what is not finished, on Ray or (--num-learners 0) in this process."""
    todo = tuple(stage.spec for stage in stages if stage.action != "reuse")
    if not todo:
        return
    from raysq.rewards import SentenceBleu
    from raysq.rewards.scoring import LocalScorer
    from raysq.training.collective import Collective

    job = Job(
        stages=todo,
        data_dir=data_dir,
        network=config.network,
        decoding=config.decoding,
        seed=config.seed,
        checkpoint_seconds=60 * config.checkpoint_minutes,
        device=_device(config),
        threads=config.threads_per_learner or _threads(config.num_learners),
    )
    if config.num_learners == 0:
        run_job(job, LocalScorer(SentenceBleu()), Collective(), lambda metrics, folder: None)
        return
    from raysq.cluster.driver import run_on_ray

    run_on_ray(
        job,
        SentenceBleu(),
        places.output / "ray",
        num_learners=config.num_learners,
        num_reward_workers=config.num_reward_workers,
        verbose=config.verbose,
    )


def _threads(num_learners: int) -> int:
    """A learner's share of the cores, one of which is left to the driver and the reward workers."""
    cores = os.cpu_count() or 1
    return max(1, (cores - 1) // max(1, num_learners))


def _device(config: TrainingConfig) -> str:
    import torch

    available = torch.cuda.is_available()
    if config.device == "cuda" and not available:
        raise UserError("--device cuda: this machine has no CUDA device; use --device auto or cpu")
    return "cuda" if available and config.device != "cpu" else "cpu"


def _open_runs(
    recipe: Recipe,
    config: TrainingConfig,
    places: Places,
    corpus: Corpus,
    tracker: Tracker,
    stages: list[PlannedStage],
) -> str:
    """The workflow's run, and a child for every stage to be trained; those of a resumed one go on."""
    tags = {
        "raysq.recipe": recipe.name,
        "raysq.task": config.task,
        "raysq.seed": str(config.seed),
        "raysq.data": corpus.digest,
        **source_tags(Path(__file__).parent.parent),
    }
    reused = {f"raysq.reused.{s.spec.name}": str(s.record["run_id"]) for s in stages if s.action == "reuse"}
    name = f"{recipe.name} {config.task} seed {config.seed}"
    parent_id = tracker.create_run(name, {**tags, "raysq.level": "workflow", **reused}, flatten(config))
    replace_json(places.output / "config.json", config.model_dump(mode="json"))
    tracker.log_artifact(parent_id, places.output / "config.json")
    tracker.log_artifact(parent_id, corpus.folder / "manifest.json")
    for stage in stages:
        if stage.action == "reuse":
            continue
        run_id = stage.record.get("run_id")
        settings = ((stage.spec.name, flatten(stage.spec.algorithm)), ("network", flatten(config.network)))
        if not (run_id and tracker.reopen(run_id)):
            stage.record["run_id"] = tracker.create_run(
                f"{stage.spec.name} {config.task} seed {config.seed}",
                {
                    **tags,
                    "raysq.level": "stage",
                    "raysq.stage": stage.spec.name,
                    "raysq.algorithm": type(stage.spec.algorithm).__name__,
                    "raysq.identity": stage.identity,
                    "raysq.folder": str(stage.spec.folder),
                },
                {f"{part}.{key}": value for part, values in settings for key, value in values.items()},
                parent_id=parent_id,
            )
        stage.write_record()
    return parent_id


def _close_runs(
    tracker: Tracker, parent_id: str, stages: list[PlannedStage], places: Places, status: RunStatus
) -> None:
    """End every open run; a stage that finished keeps its results whatever came after it."""
    for stage in stages:
        run_id, folder = stage.record["run_id"], stage.spec.folder
        done = (folder / "result.json").exists()
        if stage.action == "reuse":
            continue
        if done:
            result = read_result(folder)
            _log_result(tracker, run_id, result)
            for split in ("dev", "test"):
                hypotheses = folder / "hypotheses" / f"{split}.txt"
                if hypotheses.exists():
                    tracker.log_artifact(run_id, hypotheses, "hypotheses")
            tracker.log_artifact(run_id, folder / "result.json")
            tracker.finish(run_id, "FINISHED", {"raysq.state": result["state"]})
        else:
            tracker.finish(run_id, "KILLED" if status == "KILLED" else "FAILED")
    tracker.finish(parent_id, status)


def _log_result(tracker: Tracker, run_id: str, result: dict[str, Any]) -> None:
    """The closing scores of a stage as metrics, so that the UI can sort by them."""
    now = int(time.time() * 1000)
    points = [
        Point(f"{split}_best/{name}", value, result["updates"], now)
        for split in ("dev", "test")
        for name, value in result[split].items()
        if isinstance(value, float)
    ]
    tracker.log_points(run_id, points)


def _write_result(
    recipe: Recipe, config: TrainingConfig, places: Places, parent_id: str, stages: list[PlannedStage]
) -> dict[str, Any]:
    """result.json in the output directory, with the hypotheses beside it."""
    entries = []
    for stage in stages:
        entry = {"run_id": stage.record["run_id"], "reused": stage.action == "reuse"}
        entries.append(read_result(stage.spec.folder) | entry | {"folder": str(stage.spec.folder)})
        for file in sorted((stage.spec.folder / "hypotheses").glob("*.txt")):
            target = places.output / "hypotheses" / f"{stage.spec.name}.{file.name}"
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, target)
    result = {
        "workflow": recipe.name,
        "task": config.task,
        "seed": config.seed,
        "run_id": parent_id,
        "updates": sum(entry["updates"] for entry in entries),
        "stages": entries,
    }
    replace_json(places.output / "result.json", result)
    return result


def _table(entries: list[dict[str, Any]]) -> Table:
    table = Table(title=None)
    for column in ("stage", "test BLEU", "test sample BLEU", "dev BLEU", "dev |TD error|", "updates", "time"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for entry in entries:
        dev, test = entry["dev"], entry["test"]

        def shown(scores: dict[str, Any], name: str, digits: int = 2) -> str:
            return f"{scores[name]:.{digits}f}" if name in scores else ""

        table.add_row(
            entry["name"] + (" (diverged)" if entry["state"] == "diverged" else ""),
            shown(test, "bleu"),
            shown(test, "sample_bleu"),
            shown(dev, "bleu"),
            shown(dev, "td_error", 3),
            str(entry["updates"]),
            "reused" if entry["reused"] else f"{entry['seconds']:.0f} s",
        )
    return table


if __name__ == "__main__":
    sys.exit("run one of the files in workflows/")
