"""Runs a recipe: data, plan, learners, MLflow, result.json and the table at the end."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.table import Table

from raysq.claim import claim
from raysq.commandline import run_command
from raysq.config import UserError
from raysq.data.prepare import prepare
from raysq.data.shards import Corpus
from raysq.delivery import Delivery
from raysq.progress import Progress
from raysq.recipe import PlannedStage, Recipe, TrainingConfig, package_digest, plan
from raysq.runs import Runs
from raysq.tasks import task_defaults, task_named
from raysq.tasks.translation import demo_settings, demo_text
from raysq.tracking import RunStatus, Tracker, comparison_text, default_uri
from raysq.training.job import Job, run_job
from raysq.training.journal import replace_json
from raysq.training.state import read_result

EXPERIMENT = "raysq"
DIVERGED = 3
"""Exit status of a workflow in which a stage diverged; its best checkpoint was kept and scored."""


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
    device = _device(config)
    claims = [claim(places.output, "the output folder", "wait for it, or give another --output-dir")]
    signal.signal(signal.SIGTERM, _terminated)
    data_dir = _data(config, places)
    corpus = Corpus.load(data_dir)
    stages, held = _planned(recipe, config, places, corpus)
    claims += held
    tracker = Tracker(places.tracking_uri, EXPERIMENT)
    runs = Runs(tracker, recipe, config, corpus, places.output)
    runs.open(stages)
    for stage in stages:
        console.print(_intention(stage), highlight=False, soft_wrap=True)
    progress = Progress(console, stages, len(corpus.splits["train"]))
    delivery = Delivery(tracker, on_record=progress.show)
    status: RunStatus = "FAILED"
    try:
        for stage in stages:
            if not stage.record.get("closed"):
                delivery.add(stage.spec.folder / "journal.jsonl", stage.record["run_id"])
        _train(config, places, data_dir, stages, device)
        result = _write_result(recipe, config, places, runs.parent_id, stages)
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        progress.close()
        undelivered = delivery.close()
        runs.close(stages, status)
        for held_file in claims:
            held_file.close()
    (places.output / "attempt").unlink(missing_ok=True)
    Console().print(_table(result["stages"]))
    for line in [*undelivered, *(w for s in result["stages"] for w in s["warnings"])]:
        console.print(f"warning: {line}", highlight=False, soft_wrap=True)
    print(f"results: {places.output / 'result.json'}")
    run_ids = [stage.record["run_id"] for stage in stages]
    print(comparison_text(tracker.uri, tracker.experiment_id, run_ids))
    return DIVERGED if any(s["state"] == "diverged" for s in result["stages"]) else 0


def _terminated(signal_number: int, frame: object) -> None:
    """SIGTERM ends the command as an interruption does: checkpoints stand, runs are closed."""
    raise SystemExit(128 + signal_number)


def _planned(
    recipe: Recipe, config: TrainingConfig, places: Places, corpus: Corpus
) -> tuple[list[PlannedStage], list[IO[str]]]:
    """The plan, and the claims to the stages that this command will train."""
    version = _version(config, places)
    held = []
    for stage in plan(recipe, config, places.store, corpus.digest, version):
        if not stage.reused:
            remedy = "wait for it, or give another --store-dir"
            held.append(claim(stage.spec.folder, f"stage {stage.spec.name}", remedy))
    # what another command has finished since is reused
    return plan(recipe, config, places.store, corpus.digest, version), held


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


def _train(
    config: TrainingConfig, places: Places, data_dir: Path, stages: list[PlannedStage], device: str
) -> None:
    """Train what is not finished, on Ray or (--num-learners 0) in this process."""
    todo = tuple(stage.spec for stage in stages if not stage.reused)
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
        device=device,
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
    cores = len(os.sched_getaffinity(0))
    return max(1, (cores - 1) // max(1, num_learners))


def _device(config: TrainingConfig) -> str:
    import torch

    available = torch.cuda.is_available()
    if config.device == "cuda" and not available:
        raise UserError("--device cuda: this machine has no CUDA device; use --device auto or cpu")
    return "cuda" if available and config.device != "cpu" else "cpu"


def _write_result(
    recipe: Recipe, config: TrainingConfig, places: Places, parent_id: str, stages: list[PlannedStage]
) -> dict[str, Any]:
    """result.json in the output directory, with the hypotheses beside it."""
    entries = []
    for stage in stages:
        entry = {"run_id": stage.record["run_id"], "reused": stage.reused}
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
