import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from raysq import outbox as module
from raysq.config import UserError
from raysq.delivery import Undelivered
from raysq.outbox import Outbox
from raysq.tracking import Point, Tracker, Update, default_uri
from raysq.training.journal import Journal


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return Tracker(default_uri(tmp_path_factory.mktemp("store")), "outbox")


@pytest.fixture
def client(store: Tracker) -> MlflowClient:
    return MlflowClient(store.uri)


@pytest.fixture
def run_id(store: Tracker) -> str:
    return store.create_run("a", {}, {})


@pytest.fixture
def away(store: Tracker, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """MLflow is away until ``undo``."""

    def refuse(update: Update) -> None:
        raise ConnectionError("connection refused")

    monkeypatch.setattr(store, "send", refuse)
    return monkeypatch


def points(client: MlflowClient, run_id: str, name: str) -> list[tuple[int, float, int]]:
    return [(p.step, p.value, p.timestamp) for p in client.get_metric_history(run_id, name)]


def test_what_is_kept_arrives_whole_and_once(
    store: Tracker, client: MlflowClient, run_id: str, tmp_path: Path, away: pytest.MonkeyPatch
) -> None:
    """Scores that JSON lacks, tags, a file, the journal, the end and its time, for another process."""
    (tmp_path / "test.txt").write_text("x\n")
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.write(3, {"loss": 0.5})
    first = Outbox(store, tmp_path)
    scores = (Point("bleu", 1.5, 0, 7), Point("worst", math.inf, 0, 7), Point("none", math.nan, 0, 7))
    assert not first.send(Update(run_id, scores, {"state": "finished"}))
    assert not first.send(Update(run_id, file=tmp_path / "test.txt", folder="texts"))
    assert not first.send(Update(run_id, status="FAILED", ended=9))
    first.keep([Undelivered(tmp_path / "journal.jsonl", run_id)] * 2)
    assert "once it is back, python workflows/runs.py --run" in first.missing
    assert first.missing.endswith("--deliver brings the rest (connection refused)")
    assert client.get_run(run_id).info.status == "RUNNING"
    kept = (tmp_path / "undelivered.json").read_text()
    away.undo()
    for _ in range(2):  # as after an answer that was lost
        (tmp_path / "undelivered.json").write_text(kept)
        second = Outbox(store, tmp_path)
        second.flush()
        assert second.missing == ""
        assert not (tmp_path / "undelivered.json").exists()
        run = client.get_run(run_id)
        assert (run.info.status, run.info.end_time, run.data.tags["state"]) == ("FAILED", 9, "finished")
        assert points(client, run_id, "bleu") == [(0, 1.5, 7)]
        assert [len(points(client, run_id, name)) for name in ("worst", "none", "loss")] == [1, 1, 1]
        assert [file.path for file in client.list_artifacts(run_id, "texts")] == ["texts/test.txt"]


def test_updates_arrive_in_their_order_and_mlflow_is_let_alone_while_it_is_away(
    store: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    failing = [True]

    def send(update: Update) -> None:
        tried.append(update.run_id)
        if failing[0]:
            raise MlflowException("timed out")

    monkeypatch.setattr(store, "send", send)
    outbox = Outbox(store, tmp_path)
    assert [outbox.send(Update(name)) for name in "abc"] == [False] * 3
    assert tried == ["a"]
    failing[0] = False
    monkeypatch.setattr(module, "PAUSE", -1.0)
    outbox._next_attempt = 0.0  # the pause is over
    assert outbox.send(Update("d"))
    assert tried == ["a", "a", "b", "c", "d"]
    assert outbox.missing == ""


def test_a_deleted_run_holds_up_no_other(
    store: Tracker, client: MlflowClient, run_id: str, tmp_path: Path
) -> None:
    other = store.create_run("b", {}, {})
    client.delete_run(run_id)
    outbox = Outbox(store, tmp_path)
    assert not outbox.send(Update(run_id, tags={"x": "y"}))
    assert not outbox.send(Update(run_id, file=tmp_path / "gone"))
    assert outbox.send(Update(other, status="KILLED"))
    assert client.get_run(other).info.status == "KILLED"
    assert f"run {run_id} cannot be completed" in outbox.missing
    assert f"mlflow runs restore --run-id {run_id}" in outbox.missing
    assert f"remove {tmp_path / 'undelivered.json'} to give it up" in outbox.missing
    assert "\n" not in outbox.missing
    client.restore_run(run_id)
    (tmp_path / "gone").write_text("x")
    again = Outbox(store, tmp_path)
    again.flush()
    assert again.missing == ""
    assert client.get_run(run_id).data.tags["x"] == "y"


def test_a_fault_of_the_program_is_no_outage(
    store: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "send", lambda update: [][0])
    with pytest.raises(IndexError):
        Outbox(store, tmp_path).send(Update("a"))


def test_what_waits_for_another_store_is_not_sent_to_this_one(
    store: Tracker, tmp_path: Path, away: pytest.MonkeyPatch
) -> None:
    Outbox(store, tmp_path).send(Update("a"))
    kept = json.loads((tmp_path / "undelivered.json").read_text())
    kept["tracking_uri"] = "http://host:5000"
    (tmp_path / "undelivered.json").write_text(json.dumps(kept))
    with pytest.raises(
        UserError, match=r"waits for MLflow at http://host:5000, not sqlite:.*--deliver brings"
    ):
        Outbox(store, tmp_path)
    assert Outbox(store, tmp_path, moved=True).missing


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"tracking_uri": "x", "journals": [], "updates": [{"run_id": 7}]}', "[" * 10**5]
)
def test_a_damaged_file_is_named(store: Tracker, tmp_path: Path, text: str) -> None:
    (tmp_path / "undelivered.json").write_text(text)
    with pytest.raises(
        UserError, match=r"undelivered.json is damaged .*: remove it to give up what MLflow misses"
    ):
        Outbox(store, tmp_path)
