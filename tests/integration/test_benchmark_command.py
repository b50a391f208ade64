"""The command line of workflows/benchmark.py; the suites themselves are tested in tests/benchmarks."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from raysq.commandline import run_command
from tests.benchmarks import decoding, rewards
from tests.benchmarks.measure import Times
from tests.benchmarks.rows import Form, timed_row
from tests.benchmarks.settings import SUITES, BenchmarkSettings
from workflows import benchmark

ROOT = Path(__file__).parents[2]
SMALL = ["--vocabulary=300", "--hidden=16", "--batch-size=4", "--length=8", "--repeats=1", "--device=cpu"]


def command(*arguments: str | Path, script: Path = ROOT / "workflows" / "benchmark.py", cwd: Path = ROOT):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, script, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def names(folder: Path) -> list[tuple[str, str]]:
    return [(row["suite"], row["name"]) for row in json.loads((folder / "benchmark.json").read_text())]


def test_it_prints_and_writes_the_rows_of_the_suites_asked_for(tmp_path):
    output = tmp_path / "here"
    done = command("--suite=rewards,decoding", *SMALL, "--output-dir=here", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "sacrebleu_per_prefix" in done.stdout
    assert "textbook_beam_search_5" in done.stdout
    assert names(output)[0] == ("rewards", "prefix_bleu")
    assert names(output)[-2:] == [("decoding", "sampling")] * 2
    rows = json.loads((output / "benchmark.json").read_text())
    asked = {"suite", "name", "precision", "vocabulary", "baseline", "ratio", "median", "unit"}
    assert all(asked | {"peak_memory_ratio"} <= row.keys() for row in rows)
    assert json.loads((output / "machine.json").read_text())["rates"]["float32_whole_gflops"] > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--suite", "speed", "--output-dir", "x"],
            "must be updates, sizes, rewards, decoding, ray or scaling",
        ),
        (["--suite", "rewards"], "--output-dir PATH is required"),
        (["--suite", "rewards", "--output-dir", "/dev/null/x"], "Not a directory"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(arguments, said):
    done = command(*arguments)
    assert (done.returncode, done.stdout.count("\n")) == (2, 0)
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_without_the_tests_it_says_where_to_run_it(tmp_path):
    (tmp_path / "workflows").mkdir()
    shutil.copy(ROOT / "workflows" / "benchmark.py", tmp_path / "workflows")
    done = command("--suite=rewards", "--output-dir=x", script=tmp_path / "workflows" / "benchmark.py")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "in a checkout of the repository" in done.stderr


def test_an_interruption_keeps_the_suites_before_it_and_those_there(tmp_path, monkeypatch, capsys):
    (tmp_path / "benchmark.json").write_text('[{"suite": "ray", "name": "earlier"}]')
    figure = Form("prefix_bleu", Times((1.0,)))

    def interrupted(settings: BenchmarkSettings) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rewards, "run", lambda settings: [timed_row(settings, "rewards", figure)])
    monkeypatch.setattr(decoding, "run", interrupted)
    argv = ["--suite=rewards,decoding,ray", *SMALL, "--threads=1", f"--output-dir={tmp_path}"]
    assert run_command(BenchmarkSettings, benchmark.main, description="", argv=argv) == 130
    assert names(tmp_path) == [("ray", "earlier"), ("rewards", "prefix_bleu")]
    assert "in suite decoding; the suites before it are in" in capsys.readouterr().err


def test_every_suite_has_its_module():
    assert benchmark.MODULES.keys() == set(SUITES)
    for module in benchmark.MODULES.values():
        assert callable(importlib.import_module(f"tests.benchmarks.{module}").run)
