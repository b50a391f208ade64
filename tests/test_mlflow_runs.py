import json
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from raysq.algorithms import Mle
from raysq.commandline import Given, settled
from raysq.data.shards import Corpus
from raysq.mlflow_runs import Runs, source_tags
from raysq.outbox import Outbox
from raysq.recipe import PlannedStage, Recipe, Stage
from raysq.tracking import Update
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
        return True

    def send(self, update: Update) -> None:
        if self.away:
            raise ConnectionError("connection refused")
        run_id = update.run_id
        if update.points:
            self.calls.append(f"{run_id} scores")
            self.points[run_id] = [(point.name, point.value, point.step) for point in update.points]
        if update.file is not None:
            self.calls.append(f"{run_id} {update.file.name}")
        if update.status is not None:
            self.calls.append(f"{run_id} {update.status}")
            self.statuses[run_id] = update.status


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
    result |= {"stopped_by": "all of 4 updates done", "warnings": [], "seconds": 3.5}
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
    assert tracker.calls == [
        "run MLE scores",
        "run a scores",
        "run a FINISHED",
        "run a test.txt",
        "run a result.json",
        "run a stage.json",
        "run b KILLED",
        "run MLE KILLED",
    ]
    assert stages[0].record["closed"]
    assert "closed" not in stages[1].record
    assert (tmp_path / "run" / "run_id").read_text() == "run MLE\n"  # for the command that continues
    tracker.calls.clear()
    runs.close(stages, "KILLED")
    assert tracker.calls == ["run MLE scores", "run b KILLED", "run MLE KILLED"]


def test_a_model_card_is_attached_where_there_is_one(
    runs: Runs, stages: list[PlannedStage], tracker: StubTracker
) -> None:
    (stages[0].spec.folder / "README.md").write_text("# a\n")
    runs.close(stages, "FINISHED")
    assert "run a README.md" in tracker.calls
    assert not any("run b" in call and "README" in call for call in tracker.calls)


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
    result |= {"stopped_by": "all of 4 updates done", "warnings": [], "seconds": 3.5}
    scores = {"dev": {"bleu": 3.5, "signature": "x"}, "test": {"bleu": 4.5, "perplexity": 5.5}}
    (stages[1].spec.folder / "result.json").write_text(json.dumps({**result, **scores}))
    runs.close(stages, "FINISHED")
    last = [("test_best/bleu", 4.5, 0), ("test_best/perplexity", 5.5, 0), ("dev_best/bleu", 3.5, 0)]
    assert tracker.points["run b"] == last
    each = [("a/test_best/bleu", 2.5, 0), ("b/test_best/bleu", 4.5, 0)]
    assert tracker.points["run MLE"] == [*last, *each]


def sent(tracker: StubTracker) -> Counter[str]:
    return Counter(tracker.calls)


@pytest.mark.parametrize("taken", range(9))
def test_what_mlflow_does_not_take_is_kept_and_nothing_is_tried_again(
    runs: Runs,
    stages: list[PlannedStage],
    tracker: StubTracker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    taken: int,
) -> None:
    """It goes away after so many calls: each further one would wait for its time-out."""
    tried = []
    send = tracker.send

    def goes_away(update: Update) -> None:
        tried.append(update)
        tracker.away = len(tried) > taken
        send(update)

    monkeypatch.setattr(tracker, "send", goes_away)
    runs.close(stages, "FINISHED")
    everything = 7
    assert len(tried) == min(taken + 1, everything)
    assert not (tmp_path / "run" / "run_id").exists()
    assert ("closed" in stages[0].record) == (taken >= 5)
    asked = f"once it is back, python workflows/runs.py --run {tmp_path / 'run'} --deliver --tracking-uri http://USER"
    assert (asked in runs.outbox.missing) == (taken < everything)
    assert (tmp_path / "run" / "undelivered.json").exists() == (taken < everything)
    monkeypatch.undo()
    tracker.away = False
    assert deliver(tracker, tmp_path / "run") == ""
    assert tracker.statuses == {"run a": "FINISHED", "run b": "FINISHED", "run MLE": "FINISHED"}
    assert set(sent(tracker).values()) == {1}
    assert len(sent(tracker)) == 8
    assert not (tmp_path / "run" / "undelivered.json").exists()


def deliver(tracker: StubTracker, output: Path) -> str:
    """As the command that is named does it; what is then still missing."""
    outbox = Outbox(tracker, output)  # type: ignore[arg-type]
    outbox.flush()
    return outbox.missing


def test_an_earlier_commands_run_that_mlflow_refuses_keeps_nothing_open(
    runs: Runs,
    stages: list[PlannedStage],
    tracker: StubTracker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Stage a is reused and its run was deleted: what this command opened is ended all the same."""
    stages[0] = replace(stages[0], action="reuse")
    send = tracker.send

    def refuses(update: Update) -> None:
        if update.run_id == "run a":
            raise MlflowException("deleted", error_code=INVALID_PARAMETER_VALUE)
        send(update)

    monkeypatch.setattr(tracker, "send", refuses)
    runs.close(stages, "FINISHED")
    assert tracker.statuses == {"run b": "FINISHED", "run MLE": "FINISHED"}
    assert "closed" not in stages[0].record
    said = "run run a cannot be completed in MLflow at http://host:5000 (deleted): restore"
    assert runs.outbox.missing.startswith(said)
    runs.close(stages, "KILLED")
    assert said in caplog.text


def test_closing_again_says_the_same_of_a_finished_stage(
    runs: Runs, stages: list[PlannedStage], tracker: StubTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time, too: MLflow would take a point at another time for another point."""
    updates: list[Update] = []
    monkeypatch.setattr(tracker, "send", updates.append)
    runs.close(stages[:1], "FINISHED")
    del stages[0].record["closed"]
    first, count = list(updates), len(updates)
    monkeypatch.setattr("time.time", lambda: 1.0)
    runs.close(stages[:1], "FINISHED")
    assert updates[count:-1] == first[:-1]
    assert updates[-1] == Update("run MLE", status="FINISHED", ended=1000)


def test_no_password_is_written_down(runs: Runs, tracker: StubTracker, tmp_path: Path) -> None:
    assert json.loads((tmp_path / "run" / "config.json").read_text())["tracking_uri"] == "http://host:5000"
    assert tracker.params["tracking_uri"] == "http://host:5000"
    assert [p for p in tmp_path.rglob("*") if p.is_file() and "secret" in p.read_text()] == []


def test_source_tags(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    unknown = {"git_commit": "unknown", "git_dirty": "unknown"}
    assert source_tags(tmp_path / "absent") == unknown
    git("init")
    (tmp_path / "a.py").write_text("1\n")
    assert source_tags(tmp_path) == unknown  # no commit yet
    git("add", ".")
    git("commit", "-m", "x")
    clean = source_tags(tmp_path)
    assert len(clean["git_commit"]) == 40
    assert clean["git_dirty"] == "false"
    assert clean["mlflow.source.git.commit"] == clean["git_commit"]
    (tmp_path / "a.py").write_text("2\n")
    assert source_tags(tmp_path)["git_dirty"] == "true"
    (tmp_path / "installed").mkdir()
    assert source_tags(tmp_path / "installed") == unknown  # nothing of the repository lies there
