from pathlib import Path

import pytest
import torch

from tests.benchmarks import machine
from tests.benchmarks.measure import Times
from tests.benchmarks.settings import BenchmarkSettings


@pytest.fixture
def quarter_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every form runs once and takes 0.25 s."""

    def compare(runs, repeats):
        for run in runs.values():
            run()
        return {name: Times((0.25,) * repeats) for name in runs}

    monkeypatch.setattr(machine, "compare", compare)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("preallocated", [True, False])
def test_product_rate_counts_a_product_and_a_sum_for_each_triple(quarter_second, precision, preallocated):
    rate = machine.product_rate(100, 20, 500, precision=precision, preallocated=preallocated)
    assert rate == pytest.approx(2 * 100 * 20 * 500 / 0.25 / 1e9)


def test_copy_rate_counts_what_is_read_and_what_is_written(quarter_second):
    assert machine.copy_rate(num_bytes=1_000_000) == pytest.approx(2 * 1_000_000 / 0.25 / 1e9)


def test_machine_is_described(monkeypatch):
    monkeypatch.setattr(machine, "COPIED", 2**16)
    settings = BenchmarkSettings(
        output_dir=Path("unused"), device="cpu", threads=1, vocabulary=(300,), hidden=(16,), batch_size=4
    )
    described = machine.describe(settings)
    assert described["torch"] == torch.__version__
    assert described["threads"] == 1
    assert described["name"] == machine.name(settings)
    assert list(described["rates"]) == [
        "copy_gb_per_second",
        "float32_whole_gflops",
        "float32_whole_allocated_gflops",
        "float32_chunk_gflops",
        "bfloat16_whole_gflops",
        "bfloat16_whole_allocated_gflops",
        "bfloat16_chunk_gflops",
    ]
    assert min(described["rates"].values()) > 0
