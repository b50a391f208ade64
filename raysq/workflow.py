"""Runs a recipe: data, plan, learners, MLflow, result.json and the table at the end."""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from raysq.addresses import written
from raysq.algorithms.moment import Moment
from raysq.claim import Claim, claim
from raysq.commandline import run_command
from raysq.config import UserError
from raysq.data.batches import collate
from raysq.data.manifest import MANIFEST
from raysq.data.prepare import prepare
from raysq.data.shards import Corpus
from raysq.delivery import Delivery
from raysq.disk import full_disk_told
from raysq.files import replace_json, write_lines
from raysq.logs import begin_command, enter
from raysq.metrics.rouge import check_script
from raysq.mlflow_runs import Runs
from raysq.mlflow_views import comparison_text
from raysq.places import Places
from raysq.progress import Progress
from raysq.recipe import PlannedStage, Recipe, TrainingConfig, package_digest, plan
from raysq.records import RESULT
from raysq.storage import pull, push, writing
from raysq.tasks import Task, task_named
from raysq.tasks.generated import demo_settings, generated, holds_generated
from raysq.terminal import as_started, terminal
from raysq.tracking import RunStatus, Tracker
from raysq.training.job import job_of, local_device, places_of, run_here, workers_of
from raysq.training.samples import NO_NETWORKS
from raysq.training.sharing import Journals, pushed
from raysq.training.state import read_result
from raysq.training.step import Diverged

DIVERGED = 3
"""Exit status of a workflow in which a stage diverged; its best checkpoint, if any, was kept and scored."""
REFERENCES_LOOKED_AT = 1000
"""Sources of dev and of test whose references tell whether ROUGE can read the script."""


def main(recipe: Recipe, description: str | None, argv: Sequence[str] | None = None) -> int:
    """The command line of a recipe; returns the exit status."""
    return run_command(
        recipe.config_class(),
        partial(run, recipe),
        description=description,
        defaults_for=recipe.defaults,
        argv=argv,
    )


def run(recipe: Recipe, config: TrainingConfig) -> int:
    """Run the workflow to its end, reusing and resuming stages; returns the exit status."""
    begin_command(config.log_format, verbose=config.verbose)
    say = terminal(quiet=config.quiet).print
    recipe.check(config)
    places = Places.of(f"{recipe.name}-{config.task}-seed{config.seed}", config)
    try:
        if config.num_learners == 0:
            return _run(recipe, config, places, local_device(config.device))
        from raysq.cluster.connection import connection
        from raysq.cluster.run_storage import check_shared

        num_places = places_of(config, [stage.algorithm for stage in recipe.stages_of(config)])
        with connection(config, say, num_places) as device:
            check_shared(places)
            return _run(recipe, config, places, device)
    except Diverged as error:
        print(f"error: {error}: give the stage a lower learning rate or clip norm", file=sys.stderr)
        return DIVERGED


def _run(recipe: Recipe, config: TrainingConfig, places: Places, device: str) -> int:
    """``run`` where the learners have their place."""
    # in this order a mistake about data or MLflow leaves nothing behind
    given = given_data(config, places, recipe.tasks)
    tracker = Tracker(places.tracking_uri, config.experiment)
    corpus = given or generated_data(config, places)
    try_proposals(recipe, config, corpus)
    claims = [claim(places.output, "the output folder", "wait for it, or give another --output-dir")]
    pull(places.output)
    stages, held = _planned(recipe, config, places, corpus)
    claims += held
    runs = Runs(tracker, recipe, config, corpus, places.output)
    status: RunStatus = "FAILED"
    sending = ExitStack()
    try:
        sending.enter_context(pushed(places.output))
        runs.open(stages)
        enter(run=runs.parent_id)
        _train_and_deliver(config, places, corpus, stages, device, tracker, runs)
        result = _write_result(recipe, config, places, runs.parent_id, stages)
        status = "FINISHED"
    except KeyboardInterrupt as stop:
        status = "KILLED"
        stop.add_note("repeat the command to continue from the last checkpoint")
        raise
    finally:
        runs.close(stages, status)
        try:
            sending.close()
        finally:
            for held_claim in claims:
                held_claim.close()
    (places.output / "attempt").unlink(missing_ok=True)
    push(places.output)
    terminal().print(_table(result["stages"]), soft_wrap=False)
    for line in (w for s in result["stages"] for w in s["warnings"]):
        terminal(quiet=config.quiet).print(f"warning: {line}")
    diverged = [stage for stage in result["stages"] if stage["state"] == "diverged"]
    for stage in diverged:
        kept = f"its best checkpoint, of update {stage['best_update']}, was kept"
        print(f"stage {stage['name']} diverged: {stage['stopped_by']}; {kept}", file=sys.stderr)
    print(f"results: {written(places.output / RESULT)}")
    run_ids = [stage.record["run_id"] for stage in stages]
    print(comparison_text(tracker.uri, tracker.experiment_id, run_ids))
    if runs.outbox.missing:
        print(f"warning: {runs.outbox.missing}", file=sys.stderr)
    return DIVERGED if diverged else 0


def _train_and_deliver(
    config: TrainingConfig,
    places: Places,
    corpus: Corpus,
    stages: list[PlannedStage],
    device: str,
    tracker: Tracker,
    runs: Runs,
) -> None:
    """Train what is not finished, with progress on the terminal and metrics in MLflow while it goes on."""
    console = terminal(quiet=config.quiet)
    warnings = [f"warning: {line}" for stage in stages for line in stage.warnings]
    of_run = f"results go to {places.output} (run {runs.parent_id})"
    for line in [of_run, *map(_intention, stages), *warnings]:
        console.print(line)
    progress = Progress(console, stages, len(corpus.splits["train"]), config.num_learners)
    delivery, journals = Delivery(tracker, on_record=progress.show), Journals(places.output)
    try:
        for stage in stages:
            if not stage.record.get("closed"):
                delivery.add(journals.of(stage.spec.folder), stage.record["run_id"])
        with journals.followed():
            _train(config, places, corpus.folder, stages, device, runs.parent_id)
    finally:
        progress.close()
        runs.outbox.keep(delivery.close())
        for stage in stages:
            pull(stage.spec.folder, tensors=False)  # what learners elsewhere have made of it


def _planned(
    recipe: Recipe, config: TrainingConfig, places: Places, corpus: Corpus
) -> tuple[list[PlannedStage], list[Claim]]:
    """The plan, and the claims to the stages that this command will train."""
    version = version_of(config, places)
    held = []
    for stage in plan(recipe, config, places.store, corpus.digest, version):
        if not stage.reused:
            remedy = "wait for it, or give another --store-dir"
            held.append(claim(stage.spec.folder, f"stage {stage.spec.name}", remedy))
    # what another command has finished since is reused
    return plan(recipe, config, places.store, corpus.digest, version), held


def given_data(config: TrainingConfig, places: Places, own_tasks: tuple[Task, ...] = ()) -> Corpus | None:
    """The data that --data-dir names; None where the task generates its own.

    Raises:
        UserError: there is none, it is of another kind than the task's, or ROUGE cannot score it.
    """
    task = task_named(config.task, own_tasks)
    if places.data is not None:
        corpus = Corpus.load(places.data)
        prepared = task_named(corpus.manifest.settings["task"])
        if prepared.kind != task.kind:
            raise UserError(
                f"--task {task.name} learns from {task.kind} data, and {places.data} was prepared with "
                f"--task {prepared.name}: give --task {prepared.name}, or other data"
            )
        if config.decoding.scoring == "rouge":
            for split in (corpus.splits["dev"], corpus.splits["test"]):
                looked_at = range(min(len(split), REFERENCES_LOOKED_AT))
                check_script([split.reference_texts(i) for i in looked_at])
        return corpus
    if not task.generated:
        prepared_as = "" if task in own_tasks else f" --task {task.name}"
        raise UserError(
            f"--task {task.name} needs --data-dir, a folder that "
            f"{as_started('prepare')}{prepared_as} has written"
        )
    return None


def generated_data(config: TrainingConfig, places: Places) -> Corpus:
    """The data that the task makes, beside the output folder, made once."""
    folder = places.output.parent / f"data-{config.task}"
    pull(folder, whole_with=MANIFEST)
    if holds_generated(config.task, folder):
        corpus = Corpus.load(folder)
        corpus.verify()
        return corpus
    made, settings = generated(config.task, folder.parent), demo_settings(config.task, folder)
    with writing(folder):  # another seed's command may be at it
        prepare(settings, made.text, patience=60, features=made.features)
        push(folder)
    return Corpus.load(folder)


def try_proposals(recipe: Recipe, config: TrainingConfig, corpus: Corpus) -> None:
    """Draw once from every proposal, which says what the vocabulary does not allow. Raises UserError."""
    example = collate(corpus.splits["train"], np.arange(1), 0, 1)
    for stage in recipe.stages_of(config):
        if stage.algorithm.model_free:
            moment = Moment(config.seed, stage.name, 0)  # any seed would do
            try:
                stage.algorithm.draw(example, NO_NETWORKS, config.reward.function(), moment)
            except UserError as error:
                raise UserError(f"stage {stage.name}: {error}") from error


def version_of(config: TrainingConfig, places: Places) -> str:
    """Digest of the package's sources; with --reuse never something of this run's own, kept until it ends."""
    if config.reuse != "never":
        return package_digest()
    attempt = places.output / "attempt"
    if not attempt.exists():
        write_lines(attempt, [uuid.uuid4().hex])
        push(places.output, only=(attempt.name,))
    return attempt.read_text().strip()


def _intention(stage: PlannedStage) -> str:
    said = {"train": "trains", "resume": "resumes in", "reuse": "is reused from"}[stage.action]
    where = f"in {stage.spec.folder}" if stage.action == "train" else str(stage.spec.folder)
    return f"stage {stage.spec.name} {said} {where}"


def _train(
    config: TrainingConfig, places: Places, data_dir: Path, stages: list[PlannedStage], device: str, run: str
) -> None:
    """Train what is not finished, on Ray or (--num-learners 0) in this process."""
    todo = [stage for stage in stages if not stage.reused]
    if not todo:
        return
    threads = config.threads_per_learner or _threads(config.num_learners)
    job = job_of(config, data_dir, todo, device, threads, run)
    if config.num_learners == 0:
        run_here(job)
        return
    from raysq.cluster.connection import Room
    from raysq.cluster.driver import run_on_ray

    num_places = places_of(config, [stage.spec.algorithm for stage in todo])
    room = Room(config, device, terminal(quiet=config.quiet).print, num_places)
    run_on_ray(job, places.output / "ray", workers_of(config), room.check, verbose=config.verbose)


def _threads(num_learners: int) -> int:
    """A learner's share of the cores, one of which is left to the driver and the reward workers."""
    cores = len(os.sched_getaffinity(0))
    return max(1, (cores - 1) // max(1, num_learners))


def _write_result(
    recipe: Recipe, config: TrainingConfig, places: Places, parent_id: str, stages: list[PlannedStage]
) -> dict[str, Any]:
    """result.json in the output directory, with the hypotheses beside it."""
    entries = []
    for stage in stages:
        entry = read_result(stage.spec.folder)
        entry |= {"run_id": stage.record["run_id"], "reused": stage.reused}
        entry |= {"folder": written(stage.spec.folder), "warnings": [*stage.warnings, *entry["warnings"]]}
        entries.append(entry)
        for file in sorted((stage.spec.folder / "hypotheses").glob("*.txt")):
            target = places.output / "hypotheses" / f"{stage.spec.name}.{file.name}"
            with full_disk_told(target):
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
    replace_json(places.output / RESULT, result)
    return result


COLUMNS = (
    ("test BLEU", "test", "bleu", 2),
    ("test ROUGE", "test", "rouge", 2),
    ("test CIDEr", "test", "cider", 1),
    ("test greedy BLEU", "test", "greedy_bleu", 2),
    ("test sample BLEU", "test", "sample_bleu", 2),
    ("dev BLEU", "dev", "bleu", 2),
    ("dev ROUGE", "dev", "rouge", 2),
    ("dev greedy BLEU", "dev", "greedy_bleu", 2),
    ("dev oracle BLEU", "dev", "oracle_bleu", 2),
    ("dev |TD error|", "dev", "td_error", 3),
)
"""Heading, split, score and digits of what the table at the end shows, where a stage has it."""


def _table(entries: list[dict[str, Any]]) -> Table:
    columns = [column for column in COLUMNS if any(column[2] in entry[column[1]] for entry in entries)]
    table = Table(title=None)
    for heading in ("stage", *(column[0] for column in columns), "updates", "time"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for entry in entries:
        table.add_row(
            entry["name"] + (" (diverged)" if entry["state"] == "diverged" else ""),
            *(
                f"{entry[split][name]:.{digits}f}" if name in entry[split] else ""
                for _, split, name, digits in columns
            ),
            str(entry["updates"]),
            "reused" if entry["reused"] else f"{entry['seconds']:.0f} s",
        )
    return table


if __name__ == "__main__":
    sys.exit("run one of the files in workflows/")
