"""The MLflow runs of a workflow: one parent, and a child for every stage that is not reused."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from raysq.config import flatten
from raysq.data.shards import Corpus
from raysq.files import replace_json, write_lines
from raysq.mlflow_views import view_tags
from raysq.naming import changed_settings, group, label, of_stage, run_name
from raysq.recipe import PlannedStage, Recipe, TrainingConfig
from raysq.records import RESULT, SETTINGS, STAGE, write_plan
from raysq.tracking import Point, RunStatus, Tracker, source_tags, without_credentials
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


class StageRuns:
    """Runs of stages: a repeated command finds them again, and each is complete once all is attached."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

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
                "raysq.folder": str(stage.spec.folder),
                "raysq.checkpoints": str(stage.spec.folder / "checkpoints"),
            }
            name = run_name(title, config.task, stage.spec.seed, changed)
            params["seed"] = stage.spec.seed
            stage.record["run_id"] = self._tracker.create_run(name, tags, params, parent_id=parent_id)
        stage.write_record()

    def end(self, stage: PlannedStage, status: RunStatus) -> bool:
        """Scores and status of a stage's run; False where MLflow is away."""
        run_id = stage.record.get("run_id")
        if run_id is None or stage.record.get("closed"):
            return True
        if not finished(stage):
            began = (stage.spec.folder / "journal.jsonl").exists()
            return self._tracker.finish(run_id, status if began else "KILLED")
        result = read_result(stage.spec.folder)
        return self._tracker.log_results(run_id, list(closing_scores(result))) and self._tracker.finish(
            run_id, "FINISHED", {"raysq.state": result["state"]}
        )

    def attach(self, stage: PlannedStage) -> bool:
        """Hypotheses and records of a finished stage, after which its run is complete; False where not."""
        if stage.record.get("closed"):
            return True
        run_id, folder = stage.record["run_id"], stage.spec.folder
        texts = sorted((folder / "hypotheses").glob("*.txt"))
        attached = all(self._tracker.log_artifact(run_id, text, "hypotheses") for text in texts) and all(
            self._tracker.log_artifact(run_id, folder / name) for name in (RESULT, STAGE)
        )
        if attached:
            stage.record["closed"] = True
            stage.write_record()
        return attached


class Runs:
    """Runs that a repeated command finds again: no restart leaves one open, or opens a second."""

    def __init__(
        self, tracker: Tracker, recipe: Recipe, config: TrainingConfig, corpus: Corpus, output: Path
    ) -> None:
        self._tracker = tracker
        self._stages = StageRuns(tracker)
        uri = config.tracking_uri and without_credentials(config.tracking_uri)
        self._config = config.model_copy(update={"tracking_uri": uri})  # what is written of it
        self._corpus = corpus
        self._output = output
        self._recipe = recipe
        self._tags = common_tags(config, recipe, corpus)
        self.parent_id = ""

    def open(self, stages: list[PlannedStage]) -> None:
        """Open the workflow's run and those of its stages, or open again those of an interrupted command."""
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
        self._tracker.log_artifact(self.parent_id, self._output / SETTINGS)
        self._tracker.log_artifact(self.parent_id, self._corpus.folder / "manifest.json")
        for stage in stages:
            if not stage.reused:
                self._stages.open(stage, self._recipe, self._config, self._tags, self.parent_id)

    def close(self, stages: list[PlannedStage], status: RunStatus) -> None:
        """End every open run; a stage that finished keeps its results whatever came after it.

        The first call that MLflow does not take is the last: each could wait for its time-out. Repeating the
        command makes up for the rest. Reused stages come last: theirs are runs of earlier commands.
        """
        if not self.parent_id:
            return  # nothing was opened
        mine = [stage for stage in stages if not stage.reused]
        earlier = [stage for stage in stages if stage.reused]
        ended = (
            self._log_headlines(stages)
            and all(self._stages.end(stage, status) for stage in mine)
            and self._tracker.finish(self.parent_id, status)
        )
        if ended and status == "FINISHED":
            (self._output / "run_id").unlink(missing_ok=True)
        complete = (
            ended
            and all(self._stages.attach(stage) for stage in mine if finished(stage))
            and all(self._stages.end(stage, status) and self._stages.attach(stage) for stage in earlier)
        )
        if not complete:
            _log.warning("MLflow does not have all of these runs; the same command brings the rest")

    def _log_headlines(self, stages: list[PlannedStage]) -> bool:
        """Scores in the workflow's run: those of its last stage as in a stage's run, and each stage's BLEU.

        The page of a run lists metrics in the order of their arrival.
        """
        results = {s.spec.name: read_result(s.spec.folder) for s in stages if finished(s)}
        final = results.get(self._recipe.stages[-1].name)
        points = list(closing_scores(final)) if final else []
        points += [
            point._replace(name=f"{name}/{point.name}")
            for name, result in results.items()
            for point in closing_scores(result)
            if point.name in ("test_best/bleu", "test_best/sample_bleu")
        ]
        return not points or self._tracker.log_results(self.parent_id, points)


def closing_scores(result: Mapping[str, Any]) -> Iterator[Point]:
    """The scores of a stage's best checkpoint, ``test_best/...`` and ``dev_best/...``.

    All at step 0: MLflow draws bars of what has no history.
    """
    now = int(time.time() * 1000)
    for split in ("test", "dev"):
        for name, value in result[split].items():
            if isinstance(value, float):
                yield Point(f"{split}_best/{name}", value, 0, now)


def finished(stage: PlannedStage) -> bool:
    """Whether the stage's result is there, trained now or before."""
    return (stage.spec.folder / RESULT).exists()
