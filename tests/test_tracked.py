import math
import sqlite3
import time
from contextlib import closing

import pytest

from raysq.config import UserError
from raysq.tracked import Tracked
from raysq.tracking import Point, Tracker, default_uri


@pytest.fixture(scope="module")
def tracker(tmp_path_factory):
    return Tracker(default_uri(tmp_path_factory.mktemp("tracked store")), "read")


@pytest.fixture
def tracked(tracker):
    return Tracked(tracker.uri, "read")


def test_runs_of_a_level_newest_first(tracker, tracked):
    ids = []
    for name in ("old", "new"):
        ids.append(tracker.create_run(name, {"raysq.level": "sweep"}, {}))
        time.sleep(0.002)
    child = tracker.create_run("child", {"raysq.level": "trial", "raysq.seed": "3"}, {}, ids[0])
    tracker.create_run("other child", {"raysq.level": "trial"}, {}, ids[1])
    assert [run.id for run in tracked.runs("sweep")] == ids[::-1]
    (found,) = tracked.runs("trial", ids[0])
    assert (found.id, found.tags["raysq.seed"], found.status) == (child, "3", "RUNNING")


def test_more_runs_than_a_page(tracker, tracked, monkeypatch):
    monkeypatch.setattr("raysq.tracked._RUNS_PER_CALL", 2)
    ids = {tracker.create_run(str(k), {"raysq.level": "page"}, {}) for k in range(5)}
    assert {run.id for run in tracked.runs("page")} == ids


def test_histories_side_by_side(tracker, tracked):
    run_id = tracker.create_run("curves", {}, {})
    points = [Point("dev/bleu", 5.0, 20, 2), Point("dev/bleu", 4.0, 10, 1), Point("seconds", 1.5, 10, 1)]
    tracker.log_points(run_id, [*points, Point("dev/bleu", 9.0, 10, 3), Point("loss", 1.0, 10, 1)])
    assert tracked.history(run_id, ["dev/bleu", "seconds", "missing"]) == {
        10: {"dev/bleu": 4.0, "seconds": 1.5},
        20: {"dev/bleu": 5.0},
    }
    assert tracked.run(run_id).metrics["loss"] == 1.0


def test_a_value_that_is_no_number(tracker, tracked):
    run_id = tracker.create_run("curves", {}, {})
    tracker.log_points(run_id, [Point("dev/bleu", math.nan, 10, 1)])
    assert math.isnan(tracked.history(run_id, ["dev/bleu"])[10]["dev/bleu"])


def test_artifacts(tracker, tracked, tmp_path):
    run_id = tracker.create_run("files", {}, {})
    (tmp_path / "test.txt").write_text("ä\n")
    (tmp_path / "broken.json").write_text("{")
    tracker.log_artifact(run_id, tmp_path / "test.txt", "hypotheses")
    tracker.log_artifact(run_id, tmp_path / "broken.json")
    assert tracked.text(run_id, "hypotheses/test.txt") == "ä\n"
    assert tracked.text(run_id, "test.txt") is None
    assert tracked.json(run_id, "hypotheses/dev.json") is None
    with pytest.raises(UserError, match=r"artifact broken\.json of run .* is no JSON"):
        tracked.json(run_id, "broken.json")


def test_a_run_that_is_not_there(tracked):
    assert tracked.run("0" * 32) is None


def test_nothing_is_created(tracker, tmp_path):
    with pytest.raises(UserError, match="there is no tracking database"):
        Tracked(default_uri(tmp_path / "missing"), "read")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match=r"has no experiment 'other': --experiment must be one of .*read"):
        Tracked(tracker.uri, "other")


@pytest.fixture
def edited(tracker, tmp_path):
    """A run with an artifact in a copy of the store, after statements of SQL; its id and the store."""
    run_id = tracker.create_run("edited", {"raysq.level": "edited", "raysq.folder": "/x"}, {})
    tracker.log_points(run_id, [Point("dev/bleu", 1.0, 1, 1), Point("dev/bleu", 2.0, 2, 2)])
    (tmp_path / "bytes.txt").write_bytes(b"\xff")
    tracker.log_artifact(run_id, tmp_path / "bytes.txt")

    def edit(*statements):
        with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
            with closing(sqlite3.connect(tracker.uri.removeprefix("sqlite:///"))) as original:
                original.backup(copy)
            copy.execute("PRAGMA ignore_check_constraints = ON")
            for statement in statements:
                copy.execute(statement.format(run_id))
            copy.commit()
        return run_id, Tracked(f"sqlite:///{tmp_path / 'copy.db'}", "read")

    return edit


RUN = "WHERE run_uuid = '{}'"


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        (f"UPDATE runs SET start_time = 'soon' {RUN}", "run"),
        (f"UPDATE latest_metrics SET value = 'x' {RUN}", "run"),
        (f"UPDATE metrics SET value = 'x' {RUN}", "metric dev/bleu of run"),
        (f"UPDATE metrics SET step = 'x' {RUN}", "metric dev/bleu of run"),
        (f"UPDATE runs SET artifact_uri = NULL {RUN}", "artifact bytes.txt of run"),
        ("SELECT 1", "artifact bytes.txt of run"),  # bytes that are no text
    ],
)
def test_a_value_changed_by_hand_is_named(edited, capfd, statement, what):
    run_id, tracked = edited(statement)
    readings = {
        "run": lambda: tracked.run(run_id),
        "metric dev/bleu of run": lambda: tracked.history(run_id, ["dev/bleu"]),
        "artifact bytes.txt of run": lambda: tracked.text(run_id, "bytes.txt"),
    }
    with pytest.raises(
        UserError, match=r"; undo what was changed there by hand, or give another --tr"
    ) as said:
        readings[what]()
    assert f"cannot be used for {what} {run_id} (" in str(said.value)
    assert "\n" not in str(said.value)
    if what == "run":
        with pytest.raises(UserError, match="cannot be used for runs of level edited"):
            tracked.runs("edited")
    assert capfd.readouterr().err == ""


def test_what_is_gone_counts_for_nothing(edited):
    run_id, tracked = edited(f"UPDATE tags SET value = NULL {RUN} AND key = 'raysq.folder'")
    assert "raysq.folder" not in tracked.run(run_id).tags
    run_id, tracked = edited(f"DELETE FROM runs {RUN}")
    assert tracked.run(run_id) is None
    assert run_id not in {run.id for run in tracked.runs("edited")}


def test_a_table_that_is_gone_is_one_line(edited, capfd):
    """And no traceback that MLflow logs beside it."""
    run_id, tracked = edited("DROP TABLE metrics")
    with pytest.raises(
        UserError, match=r"MLflow at sqlite:///\S* cannot be used for metric .*no such column"
    ) as said:
        tracked.history(run_id, ["dev/bleu"])
    assert "\n" not in str(said.value)
    assert capfd.readouterr().err == ""
