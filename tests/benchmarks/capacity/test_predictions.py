"""What constants say of trainings on one machine: by hand, and formulas beside the simulation."""

import pytest

from tests.benchmarks.capacity.made import CONSTANTS, WORKLOAD
from tests.benchmarks.capacity.predictions import OneMachine, Setting, call_seconds

MACHINE = OneMachine(CONSTANTS, WORKLOAD, cores=2)


def test_a_call_is_without_its_learner_and_its_worker():
    assert call_seconds(CONSTANTS, 50) == pytest.approx(1e-3 + 50 * 2e-6)


def test_one_learner():
    # 0.5 + 0.04 * 50 of arithmetic, and sending off one call of 50 pairs; rewards come in the window
    assert MACHINE.predicted(Setting()) == pytest.approx(2.5 + 5e-4 + 50e-5)


def test_two_learners_share_the_batch_the_cores_and_the_gradient():
    compute = 1.5 * (0.5 + 0.04 * 25 + 5e-4 + 25e-5)
    ring = 152e6 / (76e6 / (0.1 - 2e-4)) + 4 * 2e-4
    assert MACHINE.predicted(Setting(learners=2)) == pytest.approx(compute + ring)


@pytest.mark.parametrize("setting", [Setting(), Setting(learners=2), Setting(learners=4), Setting(1, 4)])
def test_the_simulation_says_the_same(setting):
    assert MACHINE.simulated(setting) == pytest.approx(MACHINE.predicted(setting), rel=0.02)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_with_remote_samples_it_says_nearly_the_same(workers):
    setting = Setting(sample_workers=workers, max_staleness=3)
    assert MACHINE.simulated(setting) == pytest.approx(MACHINE.predicted(setting), rel=0.15)


def test_workers_alone_gain_nothing_beyond_the_cores():
    one, two, four = (MACHINE.sampling(count) for count in (1, 2, 4))
    assert one == pytest.approx(0.4)
    assert two == pytest.approx(0.3)
    assert four == pytest.approx(0.3)


def test_who_sends_is_slower_than_who_scores():
    assert MACHINE.scoring(500, 1) == pytest.approx(max(5.5e-3, 1.1e-3))
    assert MACHINE.scoring(500, 4) == pytest.approx(7e-3)
