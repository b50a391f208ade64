import logging
import math
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from raysq.config import UserError
from raysq.delivery import Delivery
from raysq.tracking import Tracker, comparison_text, comparison_url, default_uri, source_tags
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
    assert tracker.log_artifacts(child, tmp_path / "hypotheses", "all")
    assert {a.path for a in tracker._client.list_artifacts(child)} == {"test.txt", "all"}
    assert tracker.finish(child, "KILLED", {"early": "stop"})
    run = tracker._client.get_run(child)
    assert (run.info.status, run.data.tags["early"]) == ("KILLED", "stop")
    assert tracker.reopen(child)
    assert tracker._client.get_run(child).info.status == "RUNNING"
    assert not tracker.reopen("0" * 32)
    with pytest.raises(FileNotFoundError):
        tracker.log_artifact(child, tmp_path / "absent")


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


def test_close_is_bounded_and_the_same_command_delivers_the_rest(tracker, run_id, tmp_path, monkeypatch):
    journal = tmp_path / "metrics.jsonl"
    write(journal, range(1, 4))
    hang = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(tracker, "log_points", lambda run, points: hang.wait(30))
        left = deliver(tracker, journal, run_id, timeout=0.3)
        assert [(item.journal, item.run_id) for item in left] == [(journal, run_id)]
        assert "the same command delivers the rest" in str(left[0])

    def refuse(run, points):
        raise ConnectionError("refused")

    with monkeypatch.context() as patch:
        patch.setattr(tracker, "log_points", refuse)
        left = deliver(tracker, journal, run_id, timeout=0.3)
        assert "refused" in str(left[0])
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


def test_late_calls_warn_and_never_raise(tracker, run_id, monkeypatch, caplog):
    def away(*arguments, **options):
        raise ConnectionError("connection refused")

    monkeypatch.setattr(tracker._client, "log_batch", away)
    monkeypatch.setattr(tracker._client, "set_terminated", away)
    with caplog.at_level(logging.WARNING):
        assert not tracker.set_tags(run_id, {"a": "b"})
        assert not tracker.finish(run_id, "FINISHED")
    assert "connection refused" in caplog.text
    with pytest.raises(ValueError, match="status"):
        tracker.finish(run_id, "DONE")
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


def test_where_to_look():
    url = comparison_url("http://host:5000/", "7", ["ab", "cd"])
    parts = urlsplit(url)
    assert (parts.netloc, parts.path) == ("host:5000", "/")
    path, query = parts.fragment.split("?")
    assert path == "/compare-runs"
    assert parse_qs(query) == {"runs": ['["ab","cd"]'], "experiments": ['["7"]']}
    local = comparison_text("sqlite:////a b/mlflow.db", "7", ["ab"])
    assert local.splitlines()[0] == "mlflow ui --backend-store-uri 'sqlite:////a b/mlflow.db'"
    assert local.splitlines()[1].startswith("http://127.0.0.1:5000/#/experiments/7/runs?")
    assert local.splitlines()[2].startswith("http://127.0.0.1:5000/#/compare-runs?")
    served = comparison_text("https://me:secret@host", "7", ["ab"]).splitlines()
    assert [line.partition("?")[0] for line in served] == [
        "https://host/#/experiments/7/runs",
        "https://host/#/compare-runs",
    ]


def test_source_tags(tmp_path):
    def git(*arguments):
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


def test_commands_that_begin_at_once_share_a_new_store(tmp_path):
    """Two migrations of one new database at the same time break each other."""
    script = "import sys; from raysq.tracking import Tracker; print(Tracker(sys.argv[1], 'x').experiment_id)"
    command = [sys.executable, "-c", script, default_uri(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    ended = [(process.communicate(timeout=120), process.returncode) for process in both]
    assert [status for _, status in ended] == [0, 0], ended
    (first, _), (second, _) = (output for output, _ in ended)
    assert first == second
