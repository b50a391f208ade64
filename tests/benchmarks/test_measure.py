import pytest
import torch

from tests.benchmarks.measure import Spread, Times, compare, peak_memory

MIB = 2**20


def test_spread_is_median_least_and_greatest_in_the_unit() -> None:
    assert Times((0.003, 0.001, 0.002, 0.008)).spread(1000.0) == pytest.approx(Spread(2.5, 1.0, 8.0))


def test_ratio_is_taken_run_by_run() -> None:
    """Load that slowed both forms of the second run cancels."""
    theirs, ours = Times((4.0, 40.0, 6.0)), Times((2.0, 20.0, 1.0))
    assert theirs.over(ours) == pytest.approx(Spread(2.0, 2.0, 4.0))
    assert Times((3.0,)).over(Times((2.0,))) == Spread(1.5, 1.5, 1.5)


def test_forms_run_in_turn_and_warm_up_does_not_count() -> None:
    order: list[str] = []
    times = compare({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3, warm_up=2)
    assert "".join(order) == "ababababab"
    assert [len(times[name].seconds) for name in "ab"] == [3, 3]


def test_peak_memory_is_what_a_call_adds_for_a_while() -> None:
    resident = torch.ones(96 * MIB // 4)

    def run() -> None:
        for _ in range(3):
            torch.ones(48 * MIB // 4)

    run()
    found = peak_memory(run)
    if found is None:
        pytest.skip("this system does not tell")
    assert 46 < found < 60
    assert resident[0] == 1


def test_what_the_allocator_kept_of_earlier_calls_counts_again() -> None:
    torch.ones(30 * MIB // 4)  # freed: from here on glibc keeps blocks up to this size

    def run() -> int:
        return len([torch.ones(MIB // 64) for _ in range(768)])

    run()
    found = peak_memory(run)
    if found is None:
        pytest.skip("this system does not tell")
    assert 46 < found < 60


def test_peak_memory_starts_anew_with_every_call() -> None:
    if peak_memory(lambda: torch.ones(48 * MIB // 4)) is None:
        pytest.skip("this system does not tell")
    small = peak_memory(lambda: None)
    assert small is not None
    assert small < 10
