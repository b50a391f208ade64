import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from rich.console import Console

from raysq.config import UserError
from tests.benchmarks.measure import Times
from tests.benchmarks.rows import BENCHMARK, Form, Row, read, table, timed_row, write
from tests.benchmarks.settings import BenchmarkSettings

SETTINGS = BenchmarkSettings(output_dir=Path("unused"), device="cpu", threads=3)
OURS = Form("mle_update", Times((0.1, 0.3, 0.2)), 1000.0, 50.0)
TEXTBOOK = Form("textbook_mle_update", Times((0.4, 1.2, 0.6)), 1000.0, 400.0)


def mle_row() -> Row:
    return timed_row(SETTINGS, "updates", OURS, TEXTBOOK, vocabulary=300, numbers={"gflops": 2.5})


def test_a_row_holds_times_ratio_and_memory() -> None:
    assert asdict(mle_row()) == {
        "suite": "updates",
        "name": "mle_update",
        "threads": 3,
        "device": "cpu",
        "precision": "float32",
        "vocabulary": 300,
        "hidden": None,
        "unit": "ms",
        "median": pytest.approx(200),
        "low": pytest.approx(100),
        "high": pytest.approx(300),
        "baseline": "textbook_mle_update",
        "baseline_median": pytest.approx(600),
        "ratio": pytest.approx(4),
        "ratio_low": pytest.approx(3.5),
        "ratio_high": pytest.approx(4),
        "peak_memory": 50.0,
        "baseline_peak_memory": 400.0,
        "peak_memory_ratio": 0.125,
        "numbers": {"gflops": 2.5},
    }


def test_a_baseline_that_does_less_in_a_run_is_compared_by_its_unit() -> None:
    ours = Form("kernel", Times((0.001,)), 1e6 / 500)
    loop = Form("loop", Times((0.002,)), 1e6 / 5)
    row = timed_row(SETTINGS, "rewards", ours, loop, unit="us per pair")
    assert (row.median, row.baseline_median, row.ratio) == pytest.approx((2, 400, 200))


def test_without_a_baseline_there_is_no_ratio() -> None:
    row = timed_row(SETTINGS, "updates", OURS)
    assert (row.baseline, row.ratio, row.baseline_median, row.peak_memory_ratio) == ("", None, None, None)
    assert row.peak_memory == 50.0


def test_suites_are_replaced_one_by_one(tmp_path: Path) -> None:
    row = mle_row()
    write([row, replace(row, suite="rewards", name="old")], tmp_path / "new")
    write([replace(row, suite="rewards", name=name) for name in "ab"], tmp_path / "new")
    kept = [(record["suite"], record["name"]) for record in read(tmp_path / "new")]
    assert kept == [("updates", "mle_update"), ("rewards", "a"), ("rewards", "b")]
    write([], tmp_path / "new")
    assert len(json.loads((tmp_path / "new" / BENCHMARK).read_text())) == 3


@pytest.mark.parametrize("content", ['[{"suite": "rewards"', '{"suite": "rewards"}', "[1, 2]"])
def test_a_file_of_something_else_is_not_overwritten(tmp_path: Path, content: str) -> None:
    (tmp_path / BENCHMARK).write_text(content)
    with pytest.raises(UserError, match="move it away"):
        write([mle_row()], tmp_path)
    assert (tmp_path / BENCHMARK).read_text() == content


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Not a directory"):
        write([], tmp_path / "file" / "folder")


def test_table_shows_figures_with_their_baselines(capsys: pytest.CaptureFixture[str]) -> None:
    Console(width=250).print(table([mle_row()]))
    shown = capsys.readouterr().out
    for part in (
        "mle_update",
        "200 (100 .. 300) ms",
        "textbook_mle_update: 600",
        "4 (3.5 .. 4)",
        "50 (400)",
        "gflops 2.5",
    ):
        assert part in shown
