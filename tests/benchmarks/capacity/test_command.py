"""The whole command at small sizes, real trainings included; it takes minutes."""

import subprocess
import sys

import pytest

from tests.benchmarks.capacity.constants import read
from tests.benchmarks.capacity.settings import ROOT, CapacitySettings

SMALL = ["--vocabulary=300", "--hidden=16", "--batch-size=8", "--length=8", "--repeats=1"]


@pytest.mark.slow
def test_it_measures_runs_and_writes_the_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(CapacitySettings().page.read_text(encoding="utf-8"))
    command = [sys.executable, "-m", "tests.benchmarks.capacity", *SMALL]
    done = subprocess.run(
        [*command, f"--output-dir={tmp_path}", f"--page={page}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    record = read(tmp_path)
    assert set(record.workloads) == {"published", "demo"}
    assert [check.count for check in record.checks] == [1, 2, 4] * 5
    for check in record.checks:  # of the right size at least, on whatever machine
        assert check.predicted / 10 < check.measured.median < check.predicted * 10, check
    assert record.machine.date in page.read_text()
