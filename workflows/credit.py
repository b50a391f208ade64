"""Show how a finished stage assigns credit: what every token earned, and what policy and critic say of it.

    python workflows/credit.py --run runs/erac-demo-seed1                       # credit/credit.html there
    python workflows/credit.py --run runs/vaml-demo-seed1 --sentences 20 --split test
    python workflows/credit.py --run RUN_ID --tracking-uri http://server:5000 --data-dir data/multi30k

The page needs nothing but a browser; credit.json beside it has its numbers. Both are attached to the stage's
run in MLflow, whose interface shows the page.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field
from rich.console import Console

from raysq.addresses import Place, placed
from raysq.commandline import run_command
from raysq.config import Config, UserError, flatten
from raysq.credit.page import page
from raysq.credit.records import CreditRecord
from raysq.credit.view import CreditView
from raysq.data.corpus import SplitName
from raysq.data.shards import Corpus
from raysq.files import replace_json, write_lines
from raysq.finished import FinishedStage, data_dir_of
from raysq.places import lasting
from raysq.records import SETTINGS, SettingsRecord, read_record
from raysq.rewards.scoring import LocalScorer
from raysq.storage import pull, push
from raysq.terminal import terminal
from raysq.tracked import Tracked, TrackedRun
from raysq.tracking import Tracker, without_credentials
from raysq.training.job import local_device


class CreditSettings(Config):
    """Which finished stage is shown, and how much of it."""

    run: str
    """Output folder of a workflow that is finished, the folder of a finished stage, or the id of a stage's or
    a trial's run in MLflow."""
    stage: str | None = None
    """Stage of the workflow or of the trial; none: the last one that trains a policy and is no control."""
    split: SplitName = "dev"
    """Split of the prepared data that the sentences are from."""
    sentences: int = Field(8, ge=1)
    """How many, chosen at random by the seed [sentences]."""
    samples: int = Field(3, ge=0)
    """Draws of the policy for each, beside the best hypothesis and the greedy one [sequences]."""
    alternatives: int = Field(5, ge=1)
    """Words shown beside each token, by probability and by value [words]."""
    seed: int = Field(1, ge=0)
    """Of the choice of sentences and of the draws: the same for stages that are to be compared."""
    data_dir: Place | None = None
    """Folder that workflows/prepare.py wrote; none: the one that the workflow was trained on."""
    output_dir: Place | None = None
    """Folder for credit.html and credit.json; none: credit/ in the folder of the run."""
    tracking_uri: str | None = None
    """MLflow's store; none: the one that the workflow's output folder names."""
    experiment: str = "raysq"
    """Experiment of that store, any that is there."""
    no_log: bool = False
    """Leave MLflow alone."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the networks run; auto takes a GPU where this machine has any."""


FILES = ("credit.html", "credit.json")
RUN_ID = re.compile("[0-9a-f]{32}")


def main(settings: CreditSettings) -> None:
    """Read the stage, write page and numbers, attach them to its run."""
    console = terminal()
    folder, uri = located(settings)
    stage = FinishedStage.open(folder, settings.stage)
    output = lasting("--output-dir", settings.output_dir or folder / "credit")
    corpus = corpus_of(settings, folder, stage, console)
    split = corpus.splits[settings.split]
    run_id = stage.record().run_id
    tracker = None if uri is None else tracker_of(uri, settings.experiment, run_id)
    view = CreditView(
        stage.networks(local_device(settings.device)),
        stage.algorithm(),
        LocalScorer(stage.reward().function(), stage.reward().scale_by_length),
        stage.decoding,
        stage.preparation.target_vocabulary,
        settings.samples,
        settings.alternatives,
        settings.seed,
    )
    order = np.random.default_rng(settings.seed).permutation(len(split))
    positions = sorted(order[: settings.sentences].tolist())
    record = CreditRecord(
        stage.name,
        type(view.algorithm).__name__,
        view.algorithm.critic_form,
        flatten(view.algorithm),
        flatten(stage.reward()),
        stage.best_update,
        settings.split,
        corpus.digest,
        settings.seed,
        tuple(view.sentence(split, position) for position in positions),
    )
    write(output, record)
    push(output)
    console.print(f"{len(positions)} sentences of {settings.split}: {output / 'credit.html'}")
    if tracker is not None:
        if all(tracker.log_artifact(run_id, output / name, "credit") for name in FILES):
            console.print(f"in MLflow: artifact credit/credit.html of run {run_id}")
    elif not settings.no_log:
        console.print("not in MLflow: a stage's folder does not name its store, --tracking-uri does")


def located(settings: CreditSettings) -> tuple[Path, str | None]:
    """The folder that ``run`` means, and MLflow's store; None where nothing is attached, or none is known.

    Raises:
        UserError: a run of MLflow is not there, or is no stage's and no trial's.
    """
    try:
        folder, uri = placed(settings.run).expanduser(), settings.tracking_uri
    except ValueError as error:
        raise UserError(f"--run {settings.run}: {error}") from error
    pull(folder, tensors=False)
    if not folder.exists() and RUN_ID.fullmatch(settings.run):
        if uri is None:
            raise UserError(f"--run {settings.run}: give --tracking-uri too, the store that has this run")
        folder = folder_of(Tracked(uri, settings.experiment), settings.run, settings.stage)
    elif uri is None and (folder / SETTINGS).is_file():
        uri = read_record(folder / SETTINGS, SettingsRecord).tracking_uri
    return folder.resolve(), None if settings.no_log else uri


def folder_of(tracked: Tracked, run_id: str, stage: str | None) -> Path:
    """The folder of a stage's run in MLflow; of a trial's that of a stage, its final one unless named."""
    run = _run(tracked, run_id)
    if run.tags.get("raysq.level") == "trial":
        named = stage or run.tags.get("raysq.final") or "that is judged"
        if f"raysq.stage.{named}" not in run.tags:
            names = sorted(tag[len("raysq.stage.") :] for tag in run.tags if tag.startswith("raysq.stage."))
            raise UserError(f"run {run_id} has no stage {named}: --stage must be one of {', '.join(names)}")
        run = _run(tracked, run.tags[f"raysq.stage.{named}"])
    if "raysq.folder" not in run.tags:
        raise UserError(
            f"run {run_id} is of no stage and of no trial: give the id of one, or a folder, with --run"
        )
    return placed(run.tags["raysq.folder"])


def tracker_of(uri: str, experiment: str, run_id: str) -> Tracker:
    """The store that has the stage's run.

    Raises:
        UserError: it has not, or is away.
    """
    _run(Tracked(uri, experiment), run_id)
    return Tracker(uri, experiment)


def _run(tracked: Tracked, run_id: str) -> TrackedRun:
    run = tracked.run(run_id)
    if run is None:
        raise UserError(
            f"{without_credentials(tracked.uri)} has no run {run_id}: give another --tracking-uri, or leave "
            "MLflow alone with --no-log"
        )
    return run


def corpus_of(settings: CreditSettings, folder: Path, stage: FinishedStage, console: Console) -> Corpus:
    """Prepared data whose words have the ids that the networks know.

    Raises:
        UserError: there is none, or it has other vocabularies.
    """
    corpus = Corpus.load(settings.data_dir or data_dir_of(folder))
    if corpus.preparation.vocabulary_digests != stage.preparation.vocabulary_digests:
        raise UserError(
            f"{corpus.folder} has other vocabularies than the training data of stage {stage.name}: give the "
            "--data-dir it was trained with"
        )
    if corpus.digest != stage.data_digest:
        console.print(f"note: data {corpus.digest[:12]} is not {stage.data_digest[:12]}, trained on")
    return corpus


def write(folder: Path, record: CreditRecord) -> None:
    """Write page and numbers.

    Raises:
        UserError: the disk is full or refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_lines(folder / "credit.html", [page(record)])
        replace_json(folder / "credit.json", dataclasses.asdict(record))
    except OSError as error:
        raise UserError(
            f"--output-dir {folder}: {error.strerror}: make room there, or give another folder"
        ) from error


if __name__ == "__main__":
    sys.exit(run_command(CreditSettings, main, description=__doc__))
