import logging
import math
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.store.tracking.rest_store import RestStore

from raysq.config import UserError
from raysq.delivery import Delivery, Undelivered
from raysq.tracking import Tracker, Update, default_uri, open_client
from raysq.training.journal import Journal

POLL = 0.01


@pytest.fixture(scope="session")
def tracker(tmp_path_factory):
    """One store for all tests: creating its tables takes seconds."""
    return Tracker(default_uri(tmp_path_factory.mktemp("a store")), "raysq-test")


@pytest.fixture
def run_id(tracker):
    return tracker.create_run("stage", {}, {})


def history(tracker, run_id, name):
    return [(m.step, m.value) for m in tracker._client.get_metric_history(run_id, name)]


def write(journal, steps, name="loss"):
    with Journal(journal) as writer:
        for step in steps:
            writer.write(step, {name: step / 2})


def deliver(tracker, journal, run_id, timeout=10.0):
    delivery = Delivery(tracker, poll_seconds=POLL)
    delivery.add(journal, run_id)
    return delivery.close(timeout)


def spy(tracker, monkeypatch):
    """The steps of each call that sends points from now on."""
    sent = []
    original = tracker.log_points

    def log_points(run_id, points):
        sent.append([point.step for point in points])
        original(run_id, points)

    monkeypatch.setattr(tracker, "log_points", log_points)
    return sent


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(POLL)


def test_parent_and_child_runs(tracker, tmp_path):
    parent = tracker.create_run("erac", {"recipe": "erac"}, {"seed": 1})
    params = {f"mle.field-{i}": i for i in range(250)} | {"long": "x" * 7000, "none": None}
    child = tracker.create_run("mle", {"raysq.stage": "mle", "long": "y" * 9000}, params, parent_id=parent)
    run = tracker._client.get_run(child)
    assert run.info.run_name == "mle"
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert len(run.data.params) == 252
    assert run.data.params["mle.field-249"] == "249"
    assert run.data.params["long"].startswith("xxx")
    assert run.data.params["long"].endswith(" ... [cut, 7000 characters]")
    assert len(run.data.params["long"]) == 6000
    assert len(run.data.tags["long"]) == 8000

    (tmp_path / "hypotheses").mkdir()
    (tmp_path / "hypotheses" / "test.txt").write_text("a b\n")
    assert tracker.log_artifact(child, tmp_path / "hypotheses" / "test.txt")
    tracker.send(Update(child, file=tmp_path / "hypotheses" / "test.txt", folder="all"))
    assert {a.path for a in tracker._client.list_artifacts(child)} == {"test.txt", "all"}
    tracker.send(Update(child, tags={"early": "stop", "long": "z" * 9000}, status="KILLED", ended=7))
    run = tracker._client.get_run(child)
    assert (run.info.status, run.info.end_time, run.data.tags["early"]) == ("KILLED", 7, "stop")
    assert len(run.data.tags["long"]) == 8000
    assert tracker.reopen(child)
    assert tracker._client.get_run(child).info.status == "RUNNING"
    assert not tracker.reopen("0" * 32)
    assert not tracker.log_artifact(child, tmp_path / "absent")


def test_artifacts_lie_beside_the_database_whatever_the_working_directory(tracker):
    location = tracker._client.get_experiment(tracker.experiment_id).artifact_location
    assert location == (Path(tracker.uri.removeprefix("sqlite:///")).parent / "artifacts").as_uri()


def test_replayed_steps_are_delivered_once(tracker, run_id, tmp_path):
    journal = tmp_path / "metrics.jsonl"
    delivery = Delivery(tracker, poll_seconds=POLL)
    delivery.add(journal, run_id)  # before the learner begins it
    write(journal, range(1, 11))
    wait_until(lambda: history(tracker, run_id, "loss")[-1:] == [(10, 5.0)])
    write(journal, range(6, 16))  # a restart from the checkpoint of step 5
    with Journal(journal) as writer:
        writer.write(15, {"dev/bleu": math.nan})  # another metric of a step that is there already
    assert delivery.close(10) == []
    assert history(tracker, run_id, "loss") == [(step, step / 2) for step in range(1, 16)]
    assert [step for step, _ in history(tracker, run_id, "dev/bleu")] == [15]
    assert math.isnan(history(tracker, run_id, "dev/bleu")[0][1])


def test_more_than_one_call_holds(tracker, run_id, tmp_path, monkeypatch):
    sent = spy(tracker, monkeypatch)
    journal = tmp_path / "metrics.jsonl"
    with Journal(journal) as writer:
        for step in range(30):
            writer.write(step, {f"m/{i}": float(i) for i in range(50)})
    assert deliver(tracker, journal, run_id) == []
    assert [len(steps) for steps in sent] == [1000, 500]
    assert [step for step, _ in history(tracker, run_id, "m/49")] == list(range(30))


@pytest.mark.parametrize("state", ["kept", "lost", "older", "damaged", "of another run"])
def test_a_new_process_goes_on_and_doubles_nothing(tracker, run_id, tmp_path, state, monkeypatch):
    journal = tmp_path / "metrics.jsonl"
    delivered = tmp_path / "metrics.jsonl.delivered.json"
    write(journal, range(1, 4))
    assert deliver(tracker, journal, run_id) == []
    older = delivered.read_text()
    write(journal, range(4, 8))
    assert deliver(tracker, journal, run_id) == []
    if state == "lost":
        delivered.unlink()
    elif state == "older":  # killed between log_batch and writing it down
        delivered.write_text(older)
    elif state == "damaged":
        delivered.write_text('{"run_id": ')
    elif state == "of another run":
        delivered.write_text(delivered.read_text().replace(run_id, "0" * 32))
    write(journal, range(6, 10))
    sent = spy(tracker, monkeypatch)
    assert deliver(tracker, journal, run_id) == []
    assert sent == [[8, 9]]
    assert [step for step, _ in history(tracker, run_id, "loss")] == list(range(1, 10))


def test_a_journal_resumed_under_another_run_is_delivered_whole(tracker, tmp_path):
    journal = tmp_path / "metrics.jsonl"
    write(journal, range(1, 4))
    first, second = (tracker.create_run(name, {}, {}) for name in "ab")
    assert deliver(tracker, journal, first) == []
    assert deliver(tracker, journal, second) == []
    assert [step for step, _ in history(tracker, second, "loss")] == [1, 2, 3]


def test_an_outage_loses_and_doubles_nothing_and_is_told_once(tracker, run_id, tmp_path, monkeypatch, caplog):
    original = tracker._client.log_batch
    failures, stored = [], []

    def unreliable(run, metrics, synchronous):
        fails = len(failures) < 4
        if fails:
            failures.append(len(metrics))
        if not fails or len(failures) % 2:  # every other failure loses only the answer
            original(run, metrics=metrics, synchronous=synchronous)
            stored.extend(metric.step for metric in metrics)
        if fails:
            raise ConnectionError("connection reset")

    monkeypatch.setattr(tracker._client, "log_batch", unreliable)
    journal = tmp_path / "metrics.jsonl"
    delivery = Delivery(tracker, poll_seconds=POLL)
    delivery.add(journal, run_id)
    with caplog.at_level(logging.WARNING), Journal(journal) as writer:
        for step in range(1, 41):
            writer.write(step, {"loss": step / 2})
            time.sleep(POLL / 2)
        assert delivery.close(10) == []
    assert len(failures) == 4
    assert stored == list(range(1, 41))  # nothing that was stored is sent again
    assert history(tracker, run_id, "loss") == [(step, step / 2) for step in range(1, 41)]
    outages = [r for r in caplog.records if "connection reset" in r.message]
    recoveries = [r for r in caplog.records if "delivered again" in r.message]
    assert len(outages) == len(recoveries) <= len(failures)


def test_close_is_bounded_and_the_next_delivery_brings_the_rest(tracker, run_id, tmp_path, monkeypatch):
    journal = tmp_path / "metrics.jsonl"
    write(journal, range(1, 4))
    hang = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(tracker, "log_points", lambda run, points: hang.wait(30))
        left = deliver(tracker, journal, run_id, timeout=0.3)
        assert left == [Undelivered(journal, run_id)]

    def refuse(run, points):
        raise ConnectionError("refused")

    with monkeypatch.context() as patch:
        patch.setattr(tracker, "log_points", refuse)
        assert deliver(tracker, journal, run_id, timeout=0.3) == [Undelivered(journal, run_id)]
    assert history(tracker, run_id, "loss") == []
    assert deliver(tracker, journal, run_id) == []
    assert [step for step, _ in history(tracker, run_id, "loss")] == [1, 2, 3]


def test_progress_sees_new_records_only_and_may_break(tracker, run_id, tmp_path):
    journal = tmp_path / "metrics.jsonl"
    write(journal, [1, 2])
    seen = []

    def show(run, record):
        seen.append((run, record.step, record.metrics))
        raise RuntimeError("no terminal")

    delivery = Delivery(tracker, show, poll_seconds=POLL)
    delivery.add(journal, run_id)
    with pytest.raises(ValueError, match="already"):
        delivery.add(journal, run_id)
    write(journal, [3, 4])
    assert delivery.close(10) == []
    assert seen == [(run_id, 3, {"loss": 1.5})]
    assert [step for step, _ in history(tracker, run_id, "loss")] == [1, 2, 3, 4]
    with pytest.raises(RuntimeError, match="closed"):
        delivery.add(tmp_path / "other.jsonl", run_id)


def test_a_run_edited_by_hand_is_named(tracker, run_id, tmp_path):
    """To the command that goes on with it, and to the delivery of its metrics."""
    other = tracker.create_run("stage", {}, {})
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        with closing(sqlite3.connect(tracker.uri.removeprefix("sqlite:///"))) as original:
            original.backup(copy)
        copy.execute(f"UPDATE runs SET start_time = 'soon', name = NULL WHERE run_uuid = '{run_id}'")
        copy.execute(f"UPDATE runs SET user_id = NULL WHERE run_uuid = '{other}'")
        copy.commit()
    edited = Tracker(f"sqlite:///{tmp_path / 'copy.db'}", None)
    with pytest.raises(UserError, match=f"cannot be used for run {other} .user_id cannot be None"):
        edited.reopen(other)
    with pytest.raises(UserError, match=f"run {run_id} was edited by hand: "):
        edited.last_steps(run_id)


def test_without_an_experiment_nothing_is_created(tmp_path):
    with pytest.raises(UserError, match="there is no tracking database"):
        Tracker(default_uri(tmp_path / "missing"), None)
    assert list(tmp_path.iterdir()) == []


def test_a_deleted_run_is_tried_once_at_the_end_and_its_journal_named(tracker, run_id, tmp_path, monkeypatch):
    """It will not come back by itself: the end of a training does not wait for it."""
    tried = []
    original = tracker.log_points
    monkeypatch.setattr(tracker, "log_points", lambda *sent: tried.append(1) or original(*sent))
    tracker._client.delete_run(run_id)
    journal = tmp_path / "metrics.jsonl"
    write(journal, [1])
    delivery = Delivery(tracker, poll_seconds=POLL)
    delivery.add(journal, run_id)
    wait_until(lambda: tried)
    delivery._closing.set()
    tried.clear()
    assert delivery.close(10) == [Undelivered(journal, run_id)]
    assert len(tried) == 1
    tracker._client.restore_run(run_id)
    assert deliver(tracker, journal, run_id) == []
    assert history(tracker, run_id, "loss") == [(1, 0.5)]


def test_progress_is_shown_while_mlflow_is_away(tracker, run_id, tmp_path, monkeypatch):
    def refuse(run, points):
        raise ConnectionError("refused")

    monkeypatch.setattr(tracker, "log_points", refuse)
    monkeypatch.setattr("raysq.delivery._LONGEST_PAUSE", 1000.0)
    journal, seen = tmp_path / "metrics.jsonl", []
    delivery = Delivery(tracker, lambda run, record: seen.append(record.step), poll_seconds=POLL)
    delivery.add(journal, run_id)
    write(journal, [1])
    wait_until(lambda: delivery._tails[0].error)
    delivery._tails[0].next_attempt = math.inf  # a long pause
    write(journal, [2])
    wait_until(lambda: seen == [1, 2])
    delivery.close(0.1)


def test_an_artifact_that_is_not_taken_is_a_warning(tracker, run_id, tmp_path, monkeypatch, caplog):
    def away(*arguments, **options):
        raise ConnectionError("connection refused")

    (tmp_path / "report.html").touch()
    monkeypatch.setattr(tracker._client, "log_batch", away)
    monkeypatch.setattr(tracker._client, "log_artifact", away)
    with caplog.at_level(logging.WARNING):
        assert not tracker.log_artifact(run_id, tmp_path / "report.html")
    assert "connection refused" in caplog.text
    with pytest.raises(UserError, match=r"cannot be used .*connection refused"):
        tracker.create_run("x", {}, {"a": 1})


@pytest.mark.parametrize(
    "uri", ["mlruns", "file:///tmp/mlruns", "sqlite://", "sqlite:///", "ftp://u:secret@host"]
)
def test_an_unsupported_uri_names_the_remedy(uri):
    with pytest.raises(UserError, match="give sqlite:////absolute") as caught:
        Tracker(uri, "x")
    assert "secret" not in str(caught.value)


def test_an_unreachable_server_is_one_line():
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:9 cannot be used .*--tracking-uri") as caught:
        Tracker("http://me:secret@127.0.0.1:9", "x")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_an_unusable_database_is_one_line_at_once(tmp_path):
    (tmp_path / "text.db").write_text("no database " * 100)
    with pytest.raises(UserError, match=r"cannot be used .*not a database"):
        Tracker(f"sqlite:///{tmp_path}/text.db", "x")
    with pytest.raises(UserError, match="cannot be used"):
        Tracker(f"sqlite:///{tmp_path}/text.db/below.db", "x")


def test_a_relative_database_becomes_absolute(tmp_path, monkeypatch, tracker):
    source = tracker.uri.removeprefix("sqlite:///")
    with sqlite3.connect(source) as connection:
        connection.execute("PRAGMA wal_checkpoint")
    shutil.copy(source, tmp_path / "copy.db")
    monkeypatch.chdir(tmp_path)
    relative = Tracker("sqlite:///copy.db", "raysq-test")
    assert relative.uri == f"sqlite:///{tmp_path}/copy.db"
    assert relative.experiment_id == tracker.experiment_id
    relative._client.delete_experiment(relative.experiment_id)
    with pytest.raises(UserError, match="is deleted; restore it with 'mlflow experiments restore -x"):
        Tracker(relative.uri, "raysq-test")


def test_tags_of_the_experiment_are_written_where_they_differ(tracker, monkeypatch):
    assert tracker.tag_experiment({"one": "1", "two": "2"})
    written = []
    original = tracker._client.set_experiment_tag

    def set_experiment_tag(experiment_id, key, value):
        written.append(key)
        original(experiment_id, key, value)

    monkeypatch.setattr(tracker._client, "set_experiment_tag", set_experiment_tag)
    assert tracker.tag_experiment({"one": "1", "two": "3"})
    assert written == ["two"]
    tags = tracker._client.get_experiment(tracker.experiment_id).tags
    assert (tags["one"], tags["two"]) == ("1", "3")


def test_commands_that_begin_at_once_share_a_new_store(tmp_path):
    """Two migrations of one new database at the same time break each other."""
    script = "import sys; from raysq.tracking import Tracker; print(Tracker(sys.argv[1], 'x').experiment_id)"
    command = [sys.executable, "-c", script, default_uri(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    ended = [(process.communicate(timeout=120), process.returncode) for process in both]
    assert [status for _, status in ended] == [0, 0], ended
    (first, _), (second, _) = (output for output, _ in ended)
    assert first == second


def test_mlflow_does_not_print_the_address_of_its_server(monkeypatch, capsys):
    """As it would at the end of every run, user and password included."""
    monkeypatch.delenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", raising=False)
    client = open_client("http://me:secret@host:5000")
    run = SimpleNamespace(
        data=SimpleNamespace(tags={}), info=SimpleNamespace(experiment_id="1", run_name="mine")
    )
    monkeypatch.setattr(RestStore, "get_run", lambda store, run_id: run)
    monkeypatch.setattr(RestStore, "update_run_info", lambda store, *args, **kwargs: None)
    client.set_terminated("a" * 32)
    assert capsys.readouterr().out == ""
