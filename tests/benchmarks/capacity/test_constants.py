"""The record: lines through what was measured, and a file that is refused where it is none."""

import pytest

from raysq.config import UserError
from raysq.files import replace_json
from tests.benchmarks.capacity.constants import RECORD as NAME
from tests.benchmarks.capacity.constants import Cost, Figure, Ring, read
from tests.benchmarks.capacity.made import CONSTANTS, RECORD, cost, same


def test_a_figure_is_the_median_with_the_least_and_the_most():
    figure = Figure.of([3.0, 1.0, 2.0], scale=1000, unit="ms")
    assert (figure.median, figure.low, figure.high, figure.repeats) == (2000, 1000, 3000, 3)


def test_a_cost_is_the_line_through_its_points():
    line = cost(0.5, 0.04, (12, 25, 50))
    assert (line.fixed, line.each) == (pytest.approx(0.5), pytest.approx(0.04))
    assert line.at(100) == pytest.approx(4.5)
    assert line.largest.median == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("points", "fixed", "each"),
    [
        ({10: 1.0, 20: 2.1}, 0.0, 2.08 / 20),  # the line would begin below 0: proportional by least squares
        ({10: 2.0, 20: 1.0}, 1.5, 0.0),  # it would fall: constant
        ({10: 1.0}, 0.0, 0.1),
    ],
)
def test_no_part_of_a_cost_is_below_0(points, fixed, each):
    line = Cost.through({float(count): same(seconds) for count, seconds in points.items()})
    assert (line.fixed, line.each) == (pytest.approx(fixed), pytest.approx(each))


def test_a_ring_gives_back_what_was_measured():
    ring = Ring(processes=4, small=same(6e-3), gradient=same(0.156), num_bytes=100_000_000)
    assert ring.latency == pytest.approx(1e-3)
    assert ring.bandwidth == pytest.approx(1e9)


def test_rings_and_slowdowns_that_were_not_measured():
    assert CONSTANTS.ring(4).processes == 4
    assert CONSTANTS.ring(3).processes == 4  # the most there is
    assert CONSTANTS.when_full(2) == 1.5
    assert CONSTANTS.when_full(16) == 1.0


def test_a_record_comes_back_from_its_file(tmp_path):
    replace_json(tmp_path / NAME, RECORD.model_dump(mode="json"))
    assert read(tmp_path) == RECORD


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "is not there"), ("{}", "machine"), ("[", "no JSON")],
)
def test_what_is_no_record_is_one_line(tmp_path, content, said):
    if content is not None:
        (tmp_path / NAME).write_text(content)
    with pytest.raises(UserError, match=f"{said}.*run the step measure"):
        read(tmp_path)
