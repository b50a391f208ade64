"""The MLflow runs of a workflow: one parent, and a child for every stage that is not reused."""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from raysq.addresses import written
from raysq.card import CARD
from raysq.config import flatten
from raysq.data.shards import Corpus
from raysq.files import replace_json, write_lines
from raysq.mlflow_views import view_tags
from raysq.naming import changed_settings, group, label, of_stage, run_name
from raysq.outbox import Outbox
from raysq.recipe import PlannedStage, Recipe, TrainingConfig
from raysq.records import RESULT, SETTINGS, STAGE, write_plan
from raysq.tracking import Point, RunStatus, Tracker, Update, without_credentials
from raysq.training.state import read_result

_log = logging.getLogger(__name__)


def common_tags(config: TrainingConfig, recipe: Recipe, corpus: Corpus) -> dict[str, str]:
    """What a run of a workflow says of itself, and those of its stages."""
    return {
        "raysq.recipe": recipe.name,
        "raysq.task": config.task,
        "raysq.seed": str(config.seed),
        "raysq.data": corpus.digest,
        **source_tags(Path(__file__).parent.parent),
    }


def source_tags(root: Path) -> dict[str, str]:
    """Git commit of the sources at ``root`` and whether they differ from it, or "unknown"."""
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None or not _git(root, "ls-files"):  # a repository around an installed package says nothing
        return {"git_commit": "unknown", "git_dirty": "unknown"}
    changes = _git(root, "status", "--porcelain")
    dirty = "unknown" if changes is None else str(bool(changes)).lower()
    return {"git_commit": commit, "git_dirty": dirty, "mlflow.source.git.commit": commit}


def _git(root: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


class StageRuns:
    """Runs of stages: a repeated command finds them again, and each is complete once all is attached."""

    def __init__(self, tracker: Tracker, outbox: Outbox) -> None:
        self._tracker = tracker
        self._outbox = outbox

    def open(
        self,
        stage: PlannedStage,
        recipe: Recipe,
        config: TrainingConfig,
        tags: Mapping[str, str],
        parent_id: str,
    ) -> None:
        """Open a stage's run under a parent, or again that of an interrupted command."""
        run_id = stage.record.get("run_id")
        stage.record.pop("closed", None)  # its result may have been removed, to train it again
        if not (run_id and self._tracker.reopen(run_id)):
            parts = (
                (stage.spec.name, flatten(stage.spec.algorithm)),
                ("network", flatten(config.network)),
                ("decoding", flatten(config.decoding)),
            )
            params = {f"{part}.{key}": value for part, values in parts for key, value in values.items()}
            title, changed = label(stage.spec.name), of_stage(recipe, config, stage.spec.name)
            tags = {
                **tags,
                "raysq.level": "stage",
                "raysq.group": group(title, config.task, changed),
                "raysq.stage": stage.spec.name,
                "raysq.seed": str(stage.spec.seed),
                "raysq.algorithm": type(stage.spec.algorithm).__name__,
                "raysq.identity": stage.identity,
                "raysq.folder": written(stage.spec.folder),
                "raysq.checkpoints": written(stage.spec.folder / "checkpoints"),
            }
            name = run_name(title, config.task, stage.spec.seed, changed)
            params["seed"] = stage.spec.seed
            stage.record["run_id"] = self._tracker.create_run(name, tags, params, parent_id=parent_id)
        stage.write_record()

    def end(self, stage: PlannedStage, status: RunStatus) -> bool:
        """Scores and status of a stage's run; False where MLflow does not have them yet."""
        run_id = stage.record.get("run_id")
        if run_id is None or stage.record.get("closed"):
            return True
        if not finished(stage):
            began = (stage.spec.folder / "journal.jsonl").exists()
            return self._outbox.send(Update(run_id, status=status if began else "KILLED", ended=now()))
        result, ended = read_result(stage.spec.folder), ended_at(stage)
        points = tuple(closing_scores(result, ended))
        tags = {"raysq.state": str(result["state"])}
        return self._outbox.send(Update(run_id, points, tags, status="FINISHED", ended=ended))

    def close(self, stage: PlannedStage, status: RunStatus) -> None:
        """The same and, of a finished stage, hypotheses and records, after which its run is complete."""
        taken = self.end(stage, status)
        if not finished(stage) or stage.record.get("closed"):
            return
        run_id, folder = stage.record["run_id"], stage.spec.folder
        texts = sorted((folder / "hypotheses").glob("*.txt"))
        files = [Update(run_id, file=text, folder="hypotheses") for text in texts]
        names = (RESULT, STAGE, *([CARD] if (folder / CARD).is_file() else []))
        files += [Update(run_id, file=folder / name) for name in names]
        for update in files:
            taken = self._outbox.send(update) and taken
        if taken:
            stage.record["closed"] = True
            stage.write_record()


class Runs:
    """Runs that a repeated command finds again: no restart leaves one open, or opens a second."""

    def __init__(
        self, tracker: Tracker, recipe: Recipe, config: TrainingConfig, corpus: Corpus, output: Path
    ) -> None:
        self._tracker = tracker
        self.outbox = Outbox(tracker, output)
        self._stages = StageRuns(tracker, self.outbox)
        uri = config.tracking_uri and without_credentials(config.tracking_uri)
        self._config = config.model_copy(update={"tracking_uri": uri})  # what is written of it
        self._corpus = corpus
        self._output = output
        self._recipe = recipe
        self._tags = common_tags(config, recipe, corpus)
        self.parent_id = ""

    def open(self, stages: list[PlannedStage]) -> None:
        """Open the workflow's run and those of its stages, or open again those of an interrupted command."""
        self.outbox.flush()
        self._tracker.tag_experiment(view_tags())
        noted = self._output / "run_id"
        reused = {f"raysq.reused.{s.spec.name}": str(s.record["run_id"]) for s in stages if s.reused}
        earlier = noted.read_text().strip() if noted.exists() else ""
        if earlier and self._tracker.reopen(earlier):
            self.parent_id = earlier
        else:
            title, task = label(self._recipe.name), self._config.task
            changed = changed_settings(self._recipe, self._config)
            name = run_name(title, task, self._config.seed, changed)
            here = {"raysq.level": "workflow", "raysq.group": group(title, task, changed)}
            tags = {**self._tags, **here, **reused}
            self.parent_id = self._tracker.create_run(name, tags, flatten(self._config))
            write_lines(noted, [self.parent_id])
        write_plan(self._output, self._recipe.name, {s.spec.name: s.spec.folder for s in stages})
        # absolute: the command line that names this file works from anywhere
        store, data = stages[0].spec.folder.parent, self._corpus.folder
        uri = without_credentials(self._tracker.uri)
        places = {"output_dir": self._output, "store_dir": store, "data_dir": data, "tracking_uri": uri}
        settings = self._config.model_copy(update=places).model_dump(mode="json")
        replace_json(self._output / SETTINGS, settings)
        for file in (self._output / SETTINGS, self._corpus.folder / "manifest.json"):
            self.outbox.send(Update(self.parent_id, file=file))
        for stage in stages:
            if not stage.reused:
                self._stages.open(stage, self._recipe, self._config, self._tags, self.parent_id)

    def close(self, stages: list[PlannedStage], status: RunStatus) -> None:
        """End every open run; a stage that finished keeps its results whatever came after it.

        Reused stages come last: theirs are runs of earlier commands.
        """
        if not self.parent_id:
            return  # nothing was opened
        if points := self._headlines(stages):
            self.outbox.send(Update(self.parent_id, points))
        for stage in sorted(stages, key=lambda stage: stage.reused):
            self._stages.close(stage, status)
        self.outbox.send(Update(self.parent_id, status=status, ended=now()))
        if status == "FINISHED":
            (self._output / "run_id").unlink(missing_ok=True)
        if status != "FINISHED" and self.outbox.missing:  # else the end of the command says so
            _log.warning("%s", self.outbox.missing)

    def _headlines(self, stages: list[PlannedStage]) -> tuple[Point, ...]:
        """Scores in the workflow's run: those of its last stage as in a stage's run, and each stage's BLEU.

        The page of a run lists metrics in the order of their arrival.
        """
        scores = {
            stage.spec.name: list(closing_scores(read_result(stage.spec.folder), ended_at(stage)))
            for stage in stages
            if finished(stage)
        }
        points = list(scores.get(self._recipe.stages[-1].name, ()))
        points += [
            point._replace(name=f"{name}/{point.name}")
            for name, of_stage in scores.items()
            for point in of_stage
            if point.name in ("test_best/bleu", "test_best/sample_bleu")
        ]
        return tuple(points)


def closing_scores(result: Mapping[str, Any], milliseconds: int) -> Iterator[Point]:
    """The scores of a stage's best checkpoint, ``test_best/...`` and ``dev_best/...``, at the time given.

    All at step 0: MLflow draws bars of what has no history.
    """
    for split in ("test", "dev"):
        for name, value in result[split].items():
            if isinstance(value, float):
                yield Point(f"{split}_best/{name}", value, 0, milliseconds)


def ended_at(stage: PlannedStage) -> int:
    """When a finished stage ended: the same whenever it is told. [ms since the epoch]"""
    return int((stage.spec.folder / RESULT).stat().st_mtime * 1000)


def now() -> int:
    """[ms since the epoch]"""
    return int(time.time() * 1000)


def finished(stage: PlannedStage) -> bool:
    """Whether the stage's result is there, trained now or before."""
    return (stage.spec.folder / RESULT).exists()
