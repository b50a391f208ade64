import json
import math
import os
import re
import tempfile
from pathlib import Path
from threading import Timer

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysq.config import UserError
from raysq.training.journal import Journal, end, read


def test_records_come_back_as_written(tmp_path):
    path = tmp_path / "mle" / "metrics.jsonl"
    with Journal(path) as journal:
        journal.write(10, {"loss/mle": 3.25, "lr": 1e-3})
        journal.write(20, {"loss/mle": 0.1 + 0.2})
    records, offset = read(path)
    assert [(r.step, r.metrics) for r in records] == [
        (10, {"loss/mle": 3.25, "lr": 0.001}),
        (20, {"loss/mle": 0.30000000000000004}),
    ]
    assert records[0].time <= records[1].time
    assert offset == path.stat().st_size


def test_nan_and_infinities_survive_in_strict_json(tmp_path):
    path = tmp_path / "m.jsonl"
    with Journal(path) as journal:
        journal.write(1, {"a": math.nan, "b": math.inf, "c": -math.inf})

    def refuse(name):
        raise AssertionError(name)

    assert json.loads(path.read_text(), parse_constant=refuse)["metrics"]["a"] == "NaN"
    metrics = read(path)[0][0].metrics
    assert math.isnan(metrics["a"])
    assert (metrics["b"], metrics["c"]) == (math.inf, -math.inf)


def test_a_written_record_is_seen_while_the_journal_is_open(tmp_path):
    path = tmp_path / "m.jsonl"
    journal = Journal(path)
    journal.write(1, {"a": 1.0})
    first, offset = read(path)
    journal.write(2, {"a": 2.0})
    second, _ = read(path, offset)
    journal.close()
    journal.close()
    assert [r.step for r in first] == [1]
    assert [r.step for r in second] == [2]


def test_a_cut_line_is_left_by_the_reader_and_mended_by_the_next_writer(tmp_path):
    path = tmp_path / "m.jsonl"
    with Journal(path) as journal:
        journal.write(1, {"a": 1.0})
    whole = path.stat().st_size
    with path.open("ab") as file:
        file.write(b'{"step": 2, "time": 1.0, "met')
    records, offset = read(path)
    assert [r.step for r in records] == [1]
    assert offset == end(path) == whole
    with Journal(path) as journal:
        journal.write(3, {"a": 3.0})
    assert [r.step for r in read(path)[0]] == [1, 3]


def test_end_looks_further_back_than_one_block(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b"x" * 9 + b"\n" + b"y" * 200_000)
    assert end(path) == 10
    path.write_bytes(b"y" * 200_000)
    assert end(path) == 0
    path.write_bytes(b"")
    assert end(path) == 0


def test_a_portion_ends_with_a_line_and_portions_join_up(tmp_path):
    path = tmp_path / "m.jsonl"
    with Journal(path) as journal:
        for step in range(50):
            journal.write(step, {"a": step / 7})
    steps, offset, portions = [], 0, 0
    while True:
        records, offset = read(path, offset, at_least=100)
        if not records:
            break
        portions += 1
        steps += [r.step for r in records]
    assert steps == list(range(50))
    assert portions > 10


def test_a_damaged_complete_line_is_an_error_with_its_place(tmp_path):
    path = tmp_path / "m.jsonl"
    with Journal(path) as journal:
        journal.write(1, {"a": 1.0})
    place = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"\0\0\0\n")
    with pytest.raises(UserError, match=f"damaged at byte {place}"):
        read(path)


@pytest.mark.parametrize("name", ["", "a//b", "/a", "a/", "a b", "a=b", "größe"])
def test_a_name_no_store_takes_is_refused(tmp_path, name):
    with Journal(tmp_path / "m.jsonl") as journal, pytest.raises(ValueError, match="metric name"):
        journal.write(1, {name: 1.0})
    assert (tmp_path / "m.jsonl").read_bytes() == b""


def test_an_unwritable_place_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the metrics journal"):
        Journal(tmp_path / "file" / "m.jsonl")


def test_a_second_writer_waits_for_the_first_to_end(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first = Journal(path)
    with pytest.raises(UserError, match=f"^another learner is still writing to {re.escape(str(tmp_path))}: "):
        Journal(path, patience_seconds=0.05)
    Timer(0.3, first.close).start()
    first.write(1, {"loss": 2.0})
    with Journal(path) as second:
        second.write(2, {"loss": 1.0})
    assert [record.step for record in read(path)[0]] == [1, 2]


@pytest.mark.parametrize(
    "fields",
    [
        {"step": math.inf},
        {"step": -1},
        {"step": 2**63},
        {"time": math.nan},
        {"time": 1e300},
        {"metrics": {"a": 10**400}},
        {"metrics": {"a b\n": 1}},
        {"metrics": [1]},
    ],
)
def test_a_record_that_no_journal_has_is_damage(tmp_path, fields):
    path = tmp_path / "m.jsonl"
    good = {"step": 1, "time": 2.5, "metrics": {"a": "NaN"}}
    path.write_text(json.dumps(good) + "\n" + json.dumps({**good, **fields}) + "\n")
    with pytest.raises(UserError, match="damaged at byte 50; move it away"):
        read(path)
    path.write_text("[" * 100_000 + "\n")
    with pytest.raises(UserError, match="damaged at byte 0"):
        read(path)


def test_a_folder_or_a_pipe_in_its_place_is_told(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (("folder", "Is a directory"), ("pipe", "it is no regular file")):
        for function in (read, end):
            with pytest.raises(UserError, match=rf"{name} cannot be read \({reason}\): make it readable"):
                function(tmp_path / name)


@settings(derandomize=True, max_examples=50, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.from_regex(r"[a-z_.\-]+(/[a-z_.\-]+)?", fullmatch=True), st.floats(), max_size=3)
    )
)
def test_whatever_is_written_is_read(metrics):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.jsonl"
        with Journal(path) as journal:
            for step, values in enumerate(metrics):
                journal.write(step, values)
        records, _ = read(path)
    assert [record.step for record in records] == list(range(len(metrics)))
    assert str([record.metrics for record in records]) == str(metrics)  # nan is nan


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_records_or_a_users_error(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.jsonl"
        path.write_bytes(content)
        if b"\n" in content:
            with pytest.raises(UserError, match=r"m\.jsonl is damaged at byte"):
                read(path)
        else:  # no complete line
            assert read(path) == ([], 0)
