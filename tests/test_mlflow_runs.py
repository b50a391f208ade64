import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raysq.algorithms import Mle
from raysq.commandline import Given, settled
from raysq.data.shards import Corpus
from raysq.mlflow_runs import Runs
from raysq.recipe import PlannedStage, Recipe, Stage
from raysq.tracking import Point
from raysq.training.spec import StageSpec

RECIPE = Recipe("mle", stages=(Stage("a", Mle()), Stage("b", Mle())))


class StubTracker:
    """Notes what it is called for; while ``away``, nothing of it is taken."""

    uri = "http://me:secret@host:5000"

    def __init__(self) -> None:
        self.away = False
        self.calls: list[str] = []
        self.statuses: dict[str, str] = {}
        self.params: dict[str, Any] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.points: dict[str, list[tuple[str, float, int]]] = {}

    def create_run(
        self, name: str, tags: dict[str, str], params: dict[str, Any], parent_id: str | None = None
    ) -> str:
        self.params |= params
        self.tags[name] = tags
        return f"run {name.split()[0]}"

    def reopen(self, run_id: str) -> bool:
        return True

    def tag_experiment(self, tags: object) -> bool:
        return self._taken("tags of the experiment")

    def _taken(self, what: str) -> bool:
        self.calls.append(what)
        return not self.away

    def log_artifact(self, run_id: str, file: Path, folder: str | None = None) -> bool:
        return self._taken(f"{run_id} {file.name}")

    def log_results(self, run_id: str, points: list[Point]) -> bool:
        self.points[run_id] = [(point.name, point.value, point.step) for point in points]
        return self._taken(f"{run_id} scores")

    def finish(self, run_id: str, status: str, tags: object = None) -> bool:
        taken = self._taken(f"{run_id} {status}")
        if taken:
            self.statuses[run_id] = status
        return taken


@pytest.fixture
def tracker() -> StubTracker:
    return StubTracker()


@pytest.fixture
def stages(tmp_path: Path) -> list[PlannedStage]:
    """Stage a has finished, stage b has begun."""
    planned = []
    for name in ("a", "b"):
        folder = tmp_path / "stages" / name
        (folder / "hypotheses").mkdir(parents=True)
        (folder / "journal.jsonl").touch()
        planned.append(
            PlannedStage(StageSpec(name, Mle(), folder, seed=1), "identity", "train", {"stage": name})
        )
    finished = tmp_path / "stages" / "a"
    scores = {"dev": {"bleu": 1.5}, "test": {"bleu": 2.5}}
    result = {"name": "a", "state": "finished", "updates": 4, "best_update": 2, **scores}
    (finished / "result.json").write_text(json.dumps(result))
    (finished / "hypotheses" / "test.txt").write_text("x\n")
    return planned


@pytest.fixture
def runs(tracker: StubTracker, stages: list[PlannedStage], small_corpus: Corpus, tmp_path: Path) -> Runs:
    """Opened, in the output folder ``run``."""
    (tmp_path / "run").mkdir()
    given = {"tracking_uri": Given(tracker.uri, "--tracking-uri")}
    config = settled(RECIPE.config_class(), given, RECIPE.defaults)
    opened = Runs(tracker, RECIPE, config, small_corpus, tmp_path / "run")  # type: ignore[arg-type]
    opened.open(stages)
    tracker.calls.clear()
    return opened


def test_everything_is_closed_and_attached_once(
    runs: Runs, stages: list[PlannedStage], tracker: StubTracker, tmp_path: Path
) -> None:
    runs.close(stages, "KILLED")
    assert tracker.statuses == {"run a": "FINISHED", "run b": "KILLED", "run MLE": "KILLED"}
    assert tracker.calls[-3:] == ["run a test.txt", "run a result.json", "run a stage.json"]
    assert stages[0].record["closed"]
    assert "closed" not in stages[1].record
    assert (tmp_path / "run" / "run_id").read_text() == "run MLE\n"  # for the command that continues
    tracker.calls.clear()
    runs.close(stages, "KILLED")
    assert tracker.calls == ["run MLE scores", "run b KILLED", "run MLE KILLED"]


def test_runs_are_named_by_label_task_and_seed_and_grouped_by_all_but_the_seed(
    runs: Runs, tracker: StubTracker
) -> None:
    names = ["MLE demo seed 1", "a demo seed 1", "b demo seed 1"]
    assert list(tracker.tags) == names
    assert [tracker.tags[name]["raysq.group"] for name in names] == ["MLE demo", "a demo", "b demo"]
    assert [tracker.tags[name]["raysq.level"] for name in names] == ["workflow", "stage", "stage"]


def test_the_workflow_has_the_scores_of_its_last_stage_first(
    runs: Runs, stages: list[PlannedStage], tracker: StubTracker
) -> None:
    result = {"name": "b", "state": "finished", "updates": 4, "best_update": 2}
    scores = {"dev": {"bleu": 3.5, "signature": "x"}, "test": {"bleu": 4.5, "perplexity": 5.5}}
    (stages[1].spec.folder / "result.json").write_text(json.dumps({**result, **scores}))
    runs.close(stages, "FINISHED")
    last = [("test_best/bleu", 4.5, 0), ("test_best/perplexity", 5.5, 0), ("dev_best/bleu", 3.5, 0)]
    assert tracker.points["run b"] == last
    each = [("a/test_best/bleu", 2.5, 0), ("b/test_best/bleu", 4.5, 0)]
    assert tracker.points["run MLE"] == [*last, *each]


@pytest.mark.parametrize("taken", range(8))
def test_the_first_call_that_mlflow_does_not_take_is_the_last(
    runs: Runs,
    stages: list[PlannedStage],
    tracker: StubTracker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    taken: int,
) -> None:
    """Each would wait for its time-out; what is missing comes with the same command."""

    def goes_away(what: str) -> bool:
        tracker.calls.append(what)
        return len(tracker.calls) <= taken

    monkeypatch.setattr(tracker, "_taken", goes_away)
    runs.close(stages, "FINISHED")
    assert len(tracker.calls) == taken + 1
    assert (tmp_path / "run" / "run_id").exists() == (taken < 5)  # until the parent's end is taken
    assert "closed" not in stages[0].record
    assert "the same command brings the rest" in caplog.text
    monkeypatch.undo()
    runs.close(stages, "FINISHED")
    assert tracker.statuses == {"run a": "FINISHED", "run b": "FINISHED", "run MLE": "FINISHED"}
    assert stages[0].record["closed"]
    assert not (tmp_path / "run" / "run_id").exists()


def test_an_earlier_commands_run_that_mlflow_refuses_keeps_nothing_open(
    runs: Runs,
    stages: list[PlannedStage],
    tracker: StubTracker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stage a is reused and its run was deleted: what this command opened is ended all the same."""
    stages[0] = replace(stages[0], action="reuse")
    taken = tracker._taken
    monkeypatch.setattr(tracker, "_taken", lambda what: not what.startswith("run a") and taken(what))
    runs.close(stages, "FINISHED")
    assert tracker.statuses == {"run b": "FINISHED", "run MLE": "FINISHED"}
    assert not (tmp_path / "run" / "run_id").exists()
    assert "closed" not in stages[0].record


def test_no_password_is_written_down(runs: Runs, tracker: StubTracker, tmp_path: Path) -> None:
    assert json.loads((tmp_path / "run" / "config.json").read_text())["tracking_uri"] == "http://host:5000"
    assert tracker.params["tracking_uri"] == "http://host:5000"
    assert [p for p in tmp_path.rglob("*") if p.is_file() and "secret" in p.read_text()] == []
