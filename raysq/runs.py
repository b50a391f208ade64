"""The MLflow runs of a workflow: one parent, and a child for every stage that is not reused."""

from __future__ import annotations

import time
from pathlib import Path

from raysq.config import flatten
from raysq.data.shards import Corpus
from raysq.recipe import PlannedStage, Recipe, TrainingConfig
from raysq.tracking import Point, RunStatus, Tracker, source_tags
from raysq.training.journal import replace_json
from raysq.training.state import read_result


class Runs:
    """Runs that a repeated command finds again: no restart leaves one open, or opens a second."""

    def __init__(
        self, tracker: Tracker, recipe: Recipe, config: TrainingConfig, corpus: Corpus, output: Path
    ) -> None:
        self._tracker = tracker
        self._config = config
        self._corpus = corpus
        self._output = output
        self._name = f"{config.task} seed {config.seed}"
        self._tags = {
            "raysq.recipe": recipe.name,
            "raysq.task": config.task,
            "raysq.seed": str(config.seed),
            "raysq.data": corpus.digest,
            **source_tags(Path(__file__).parent.parent),
        }
        self._recipe = recipe
        self.parent_id = ""

    def open(self, stages: list[PlannedStage]) -> None:
        """Open the workflow's run and those of its stages, or open again those of an interrupted command."""
        noted = self._output / "run_id"
        reused = {f"raysq.reused.{s.spec.name}": str(s.record["run_id"]) for s in stages if s.reused}
        earlier = noted.read_text() if noted.exists() else ""
        if earlier and self._tracker.reopen(earlier):
            self.parent_id = earlier
        else:
            tags = {**self._tags, "raysq.level": "workflow", **reused}
            name = f"{self._recipe.name} {self._name}"
            self.parent_id = self._tracker.create_run(name, tags, flatten(self._config))
            noted.write_text(self.parent_id)
        replace_json(self._output / "config.json", self._config.model_dump(mode="json"))
        self._tracker.log_artifact(self.parent_id, self._output / "config.json")
        self._tracker.log_artifact(self.parent_id, self._corpus.folder / "manifest.json")
        for stage in stages:
            if not stage.reused:
                self._open_stage(stage)

    def _open_stage(self, stage: PlannedStage) -> None:
        run_id = stage.record.get("run_id")
        if not (run_id and self._tracker.reopen(run_id)):
            config = self._config
            parts = (
                (stage.spec.name, flatten(stage.spec.algorithm)),
                ("network", flatten(config.network)),
                ("decoding", flatten(config.decoding)),
            )
            params = {f"{part}.{key}": value for part, values in parts for key, value in values.items()}
            tags = {
                **self._tags,
                "raysq.level": "stage",
                "raysq.stage": stage.spec.name,
                "raysq.algorithm": type(stage.spec.algorithm).__name__,
                "raysq.identity": stage.identity,
                "raysq.folder": str(stage.spec.folder),
                "raysq.checkpoints": str(stage.spec.folder / "checkpoints"),
            }
            name = f"{stage.spec.name} {self._name}"
            params["seed"] = config.seed
            stage.record["run_id"] = self._tracker.create_run(name, tags, params, parent_id=self.parent_id)
        stage.write_record()

    def close(self, stages: list[PlannedStage], status: RunStatus) -> None:
        """End every open run; a stage that finished keeps its results whatever came after it."""
        for stage in stages:
            if (stage.spec.folder / "result.json").exists():
                self._close_finished(stage)
            elif not stage.reused:
                began = (stage.spec.folder / "journal.jsonl").exists()
                self._tracker.finish(stage.record["run_id"], status if began else "KILLED")
        closed = self._tracker.finish(self.parent_id, status)
        if status == "FINISHED" and closed:
            (self._output / "run_id").unlink()

    def _close_finished(self, stage: PlannedStage) -> None:
        """Scores, hypotheses and the end of a stage's run; once, but again where MLflow was away."""
        run_id, folder, result = stage.record["run_id"], stage.spec.folder, read_result(stage.spec.folder)
        now = int(time.time() * 1000)
        points = [
            Point(f"{split}_best/{name}", value, result["updates"], now)
            for split in ("dev", "test")
            for name, value in result[split].items()
            if isinstance(value, float)
        ]
        headline = [
            Point(f"{stage.spec.name}/{point.name}", point.value, 0, now)
            for point in points
            if point.name in ("test_best/bleu", "test_best/sample_bleu")
        ]
        self._tracker.log_results(self.parent_id, headline)
        if stage.record.get("closed"):
            return
        self._tracker.log_results(run_id, points)
        for file in sorted((folder / "hypotheses").glob("*.txt")):
            self._tracker.log_artifact(run_id, file, "hypotheses")
        self._tracker.log_artifact(run_id, folder / "result.json")
        self._tracker.log_artifact(run_id, folder / "stage.json")
        if self._tracker.finish(run_id, "FINISHED", {"raysq.state": result["state"]}):
            stage.record["closed"] = True
            stage.write_record()
