"""The scenarios, on a record of round numbers."""

from pathlib import Path

import pytest

from tests.benchmarks.capacity import figure, saturation
from tests.benchmarks.capacity.made import CONSTANTS, RECORD, WORKLOAD
from tests.benchmarks.capacity.settings import CapacitySettings

SETTINGS = CapacitySettings(output_dir=Path("unused"), page=Path("unused"))


@pytest.fixture(scope="module")
def sizes():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saturation, "SIZES", (1, 4, 64))
        return list(saturation.sizes(SETTINGS, RECORD))


def test_every_scenario_at_every_size(sizes):
    assert [size.learners for size in sizes] == [1, 4, 64] * 5
    assert {size.nodes for size in sizes if not size.scenario.remote} == {1, 4, 64}


def test_a_learner_alone_is_held_up_by_nothing(sizes):
    first = sizes[0]
    assert first.outcome.update == pytest.approx(2.5, rel=0.03)
    assert first.outcome.shares["compute"] > 0.99
    assert first.limits == ()


def test_fast_learners_wait_for_their_sums(sizes):
    """30 times as fast, 152 MB at 10 Gbit/s: 83 ms of arithmetic, 182 ms of sums."""
    four = next(s for s in sizes if s.learners == 4 and s.scenario.speed == 30)
    assert four.outcome.shares["all_reduce"] == pytest.approx(0.184 / four.outcome.update, rel=0.05)
    assert four.limits == ("all-reduce",)
    lines = saturation.verdicts(sizes)
    assert len(lines) == 5
    assert "nothing saturates but the learners" in lines[0]
    assert "all-reduce from 4 learners (4 nodes)" in lines[1]


def test_sample_workers_keep_up():
    scenario = next(s for s in saturation.scenarios(SETTINGS) if s.remote)
    times = saturation.times_of(CONSTANTS, WORKLOAD, scenario, 1e-4)
    # 0.4 s of drawing and 38 ms / 4 of copying, for an update of (2.5 - 0.4) / 30
    assert saturation.samplers(times) == 6


def test_no_more_nodes_than_a_thousand(monkeypatch):
    monkeypatch.setattr(saturation, "SIZES", (1000,))
    monkeypatch.setattr(saturation, "_updates", lambda scenario, learners: (4, 0))
    remote = [s for s in saturation.scenarios(SETTINGS) if s.remote]
    monkeypatch.setattr(saturation, "scenarios", lambda settings: remote)
    (size,) = saturation.sizes(SETTINGS, RECORD)
    assert (size.learners, size.nodes) == (500, 1000)


def test_where_calls_alone_take_too_long_all_are_asked():
    scenario = saturation.scenarios(SETTINGS)[1]
    times = saturation.times_of(CONSTANTS, WORKLOAD, scenario, 1e-4)
    assert saturation.enough(times, 4) == 1
    assert saturation.enough(times, 1000) == times.pairs


def test_the_figure_is_a_picture(sizes, tmp_path):
    figure.draw(sizes, tmp_path / "made" / "saturation.png")
    written = (tmp_path / "made" / "saturation.png").read_bytes()
    assert written.startswith(b"\x89PNG")
    assert 10_000 < len(written) < 200_000
