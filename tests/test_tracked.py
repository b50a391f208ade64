import math
import time

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
