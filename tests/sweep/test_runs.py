import json
from pathlib import Path
from typing import Any

import pytest

from raysq.cluster.ready import Outcome
from raysq.config import UserError
from raysq.data.shards import Corpus
from raysq.files import write_lines
from raysq.outbox import Outbox
from raysq.sweep.graph import Graph
from raysq.sweep.plans import Trials, planned
from raysq.sweep.runs import SweepRuns
from raysq.sweep.settings import TuneSettings
from raysq.sweep.space import Arm, Axis, Space
from raysq.tracking import Update
from workflows.tune import recipe_named

SPACE = Space(
    "small",
    "Small",
    (Arm("MLE", "mle"), Arm("AC", "ac", axes=(Axis("rate", (1e-4, 1e-3), ("ac.learning_rate",)),))),
    seeds=(1, 2),
)
SETTINGS = TuneSettings(space="small", seeds=(3,), tracking_uri="http://me:secret@host:5000")


class StubTracker:
    """Notes the runs it is asked for."""

    uri = "http://host:5000"

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.away = False

    def create_run(self, name: str, tags: Any, params: Any, parent_id: str | None = None) -> str:
        run_id = f"run {len(self.runs)}"
        self.runs[run_id] = {"name": name, "tags": dict(tags), "params": dict(params), "parent": parent_id}
        self.runs[run_id] |= {"status": "RUNNING", "points": []}
        return run_id

    def reopen(self, run_id: str) -> bool:
        self.runs[run_id]["status"] = "RUNNING"
        return True

    def tag_experiment(self, tags: Any) -> bool:
        return True

    def send(self, update: Update) -> None:
        if self.away:
            raise ConnectionError("connection refused")
        run = self.runs[update.run_id]
        run["points"] += update.points
        run["tags"] |= update.tags
        run["status"] = update.status or run["status"]


@pytest.fixture
def tracker() -> StubTracker:
    return StubTracker()


def opened(tracker: StubTracker, corpus: Corpus, place: Path) -> tuple[SweepRuns, Graph]:
    trials = Trials(SPACE, SETTINGS, recipe_named).all()
    graph = planned(trials, place / "stages", corpus.digest, "version")
    (place / "sweep").mkdir(exist_ok=True)
    runs = SweepRuns(tracker, SPACE, SETTINGS, corpus, place / "sweep")  # type: ignore[arg-type]
    runs.open(graph)
    return runs, graph


def finish(graph: Graph, name: str) -> None:
    for node in graph.nodes.values():
        if node.stage.spec.name == name:
            result = {"name": name, "state": "finished", "updates": 4, "best_update": 2, "stopped_by": "x"}
            result["warnings"] = []
            result |= {"seconds": 8.0, "reward_calls": 5, "dev": {"bleu": 1.5}, "test": {"bleu": 2.5}}
            (node.folder / "result.json").write_text(json.dumps(result))


def by_level(tracker: StubTracker, level: str) -> list[dict[str, Any]]:
    return [run for run in tracker.runs.values() if run["tags"]["raysq.level"] == level]


def test_two_levels_and_what_tells_the_runs_apart(
    tracker: StubTracker, small_corpus: Corpus, tmp_path: Path
) -> None:
    runs, _ = opened(tracker, small_corpus, tmp_path)
    assert [run["name"] for run in by_level(tracker, "sweep")] == ["small demo"]
    assert [run["name"] for run in by_level(tracker, "trial")] == [
        "MLE demo seed 3",
        "AC demo seed 3 rate=0.0001",
        "AC demo seed 3 rate=0.001",
    ]
    assert len(by_level(tracker, "stage")) == 4
    assert {run["parent"] for run in tracker.runs.values()} == {None, runs.sweep_id}
    trial = by_level(tracker, "trial")[2]
    assert trial["tags"]["raysq.axis.rate"] == "0.001"
    assert trial["tags"]["raysq.final"] == "ac"
    mle, *of_ac = (run["tags"]["raysq.configuration"] for run in by_level(tracker, "trial"))
    assert (len(mle), len(set(of_ac)), mle in of_ac) == (16, 1, False)
    stage = tracker.runs[trial["tags"]["raysq.stage.ac"]]
    assert stage["params"]["ac.learning_rate"] == 0.001
    assert "secret" not in json.dumps(tracker.runs)
    space = json.loads((tmp_path / "sweep" / "space.json").read_text())
    assert (space["seeds"], [arm["label"] for arm in space["arms"]]) == ([3], ["MLE", "AC"])


def test_a_trial_ends_with_its_last_stage(tracker: StubTracker, small_corpus: Corpus, tmp_path: Path) -> None:
    runs, graph = opened(tracker, small_corpus, tmp_path)
    finish(graph, "mle")
    node = next(node for node in graph.nodes.values() if node.stage.spec.name == "mle")
    runs.close_stage(graph, node, Outcome("finished", "x"))
    mle, *others = by_level(tracker, "trial")
    assert mle["status"] == "FINISHED"
    assert mle["tags"]["raysq.state"] == "finished"
    points = {point.name: (point.value, point.step) for point in mle["points"]}
    assert points["test_best/bleu"] == (2.5, 0)
    assert points["reward_calls"] == (5.0, 4)
    assert {run["status"] for run in others} == {"RUNNING"}


def test_the_same_command_finds_its_runs_again(
    tracker: StubTracker, small_corpus: Corpus, tmp_path: Path
) -> None:
    runs, graph = opened(tracker, small_corpus, tmp_path)
    finish(graph, "mle")
    lost = Outcome("not run", "the sweep ended first")
    runs.close(graph, [Outcome("finished", "x"), lost, lost], "KILLED")
    trials = by_level(tracker, "trial")
    assert [run["status"] for run in trials] == ["FINISHED", "KILLED", "KILLED"]
    assert by_level(tracker, "sweep")[0]["status"] == "KILLED"
    count, points = len(tracker.runs), len(trials[0]["points"])
    again, graph = opened(tracker, small_corpus, tmp_path)
    assert len(tracker.runs) == count
    assert [run["status"] for run in trials] == ["FINISHED", "RUNNING", "RUNNING"]
    for name in ("critic", "ac"):
        finish(graph, name)
    again.close(graph, [Outcome("finished", "x")] * 3, "FINISHED")
    assert [run["status"] for run in tracker.runs.values()] == ["FINISHED"] * count
    assert len(trials[0]["points"]) == points  # once complete, nothing is added
    assert again.run_ids(graph) == [key for key, run in tracker.runs.items() if run in trials]


@pytest.mark.parametrize(
    ("state", "status"), [("failed", "FAILED"), ("not run", "FAILED"), ("stopped", "FINISHED")]
)
def test_trials_without_a_result(
    tracker: StubTracker, small_corpus: Corpus, tmp_path: Path, state: Any, status: str
) -> None:
    """What a scheduler stopped is an end like others; a sweep can finish with trials that came to nothing."""
    runs, graph = opened(tracker, small_corpus, tmp_path)
    runs.close(graph, [Outcome(state, "because")] * 3, "FINISHED")
    trial = by_level(tracker, "trial")[0]
    assert (trial["status"], trial["tags"]["raysq.reason"]) == (status, "because")


@pytest.mark.parametrize("by", ["the next command", "the command that is named"])
def test_what_mlflow_does_not_take_is_kept(
    tracker: StubTracker, small_corpus: Corpus, tmp_path: Path, by: str
) -> None:
    runs, graph = opened(tracker, small_corpus, tmp_path)
    mle = next(node for node in graph.nodes.values() if node.stage.spec.name == "mle")
    finish(graph, "mle")
    tracker.away = True
    runs.close_stage(graph, mle, Outcome("finished", "x"))
    lost = Outcome("not run", "the sweep ended first")
    runs.close(graph, [Outcome("finished", "x"), lost, lost], "FINISHED")
    assert f"--run {tmp_path / 'sweep'} --deliver brings the rest" in runs.outbox.missing
    assert {run["status"] for run in tracker.runs.values()} == {"RUNNING"}
    tracker.away = False
    if by == "the next command":
        again, graph = opened(tracker, small_corpus, tmp_path)
        again.close(graph, [Outcome("finished", "x"), lost, lost], "FINISHED")
    else:
        outbox = Outbox(tracker, tmp_path / "sweep")  # type: ignore[arg-type]
        outbox.flush()
        assert outbox.missing == ""
    assert not (tmp_path / "sweep" / "undelivered.json").exists()
    trials = by_level(tracker, "trial")
    assert [run["status"] for run in trials] == ["FINISHED", "FAILED", "FAILED"]
    assert [run["tags"]["raysq.state"] for run in trials] == ["finished", "not run", "not run"]
    assert by_level(tracker, "sweep")[0]["status"] == "FINISHED"
    assert [run["status"] for run in by_level(tracker, "stage")] == ["FINISHED", "KILLED", "KILLED", "KILLED"]
    points = trials[0]["points"]
    assert {point.name for point in points} >= {"test_best/bleu", "updates"}
    assert len({(p.name, p.step) for p in points}) == len(set(points))  # said again they are the same


def test_curves_of_what_a_space_is_judged_by(
    tracker: StubTracker, small_corpus: Corpus, tmp_path: Path
) -> None:
    space = Space("small", "Small", (Arm("MLE", "mle"),), metric="rouge1")
    graph = planned(
        Trials(space, SETTINGS, recipe_named).all(), tmp_path / "stages", small_corpus.digest, "version"
    )
    (tmp_path / "sweep").mkdir()
    runs = SweepRuns(tracker, space, SETTINGS, small_corpus, tmp_path / "sweep")  # type: ignore[arg-type]
    runs.open(graph)
    names = ("bleu", "rouge", "rouge1", "rouge2", "cider", "sample_bleu", "perplexity")
    metrics = {f"dev/{name}": float(place) for place, name in enumerate(names)}
    (folder,) = graph.nodes
    write_lines(folder / "journal.jsonl", [json.dumps({"step": 4, "time": 1.5, "metrics": metrics})])
    finish(graph, "mle")
    runs.close(graph, [Outcome("finished", "x")], "FINISHED")
    points = {point.name: (point.value, point.step) for point in by_level(tracker, "trial")[0]["points"]}
    assert {name: point for name, point in points.items() if name.startswith("dev/")} == {
        "dev/bleu": (0.0, 4),
        "dev/rouge": (1.0, 4),
        "dev/rouge1": (2.0, 4),
        "dev/cider": (4.0, 4),
        "dev/sample_bleu": (5.0, 4),
    }


@pytest.mark.parametrize(
    "changes", [{"of": []}, {"runs": {"sweep": {}}}, {"runs": {"sweep": {"id": 3}}}, {"store": None}]
)
def test_a_damaged_note_of_the_runs_is_named(
    tracker: StubTracker, small_corpus: Corpus, tmp_path: Path, changes: dict[str, Any]
) -> None:
    opened(tracker, small_corpus, tmp_path)
    path = tmp_path / "sweep" / "runs.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UserError, match=r"runs\.json is damaged .*: remove it and repeat the command"):
        SweepRuns(tracker, SPACE, SETTINGS, small_corpus, tmp_path / "sweep")  # type: ignore[arg-type]
