"""The simulation in the limits in which the formulas are exact."""

import math
from dataclasses import replace

import pytest

from tests.benchmarks.capacity import formulas
from tests.benchmarks.capacity.simulation import PARTS, Cluster, Times, Training

COMPUTE = Times(draw=0.2, window=0.3, rest=0.5)
REWARDED = replace(
    COMPUTE, pairs=50, submit_call=0.002, submit_pair=1e-4, call=0.01, service=0.004, pair=0.001
)
REMOTE = Times(rest=0.4, weights_bytes=1e6, put=1e-7, get=1e-7, remote_draw=1.0)


def simulated(times: Times, updates: int = 4, seed: int = 1, **cluster):
    return Training(times, Cluster(**cluster), seed).run(updates)


def test_a_learner_alone_takes_what_its_arithmetic_takes():
    outcome = simulated(COMPUTE)
    assert outcome.update == pytest.approx(1.0)
    assert outcome.shares == pytest.approx({part: float(part == "compute") for part in PARTS})


@pytest.mark.parametrize("workers", [1, 3, 50, 80])
@pytest.mark.parametrize("learners", [1, 4])
@pytest.mark.parametrize("window", [0.0, 0.3])
def test_rewards_as_by_the_formula(workers, learners, window):
    times = replace(REWARDED, window=window)
    calls = formulas.reward_calls(50, workers)
    replies = formulas.reward_seconds(50, workers, learners, call=0.01, service=0.004, pair=0.001)
    sending = calls * 0.002 + 50 * 1e-4
    outcome = simulated(times, learners=learners, reward_workers=workers)
    assert outcome.update == pytest.approx(0.2 + sending + max(window, replies) + 0.5)


def test_as_few_workers_as_the_formula_asks_for_are_never_waited_for():
    few = formulas.reward_workers_needed(50, 12, 0.3, call=0.01, service=0.004, pair=0.001)
    assert few == 3
    enough = simulated(REWARDED, learners=12, reward_workers=few).shares["rewards"]
    too_few = simulated(REWARDED, learners=12, reward_workers=few - 1).shares["rewards"]
    assert enough == pytest.approx(0, abs=1e-9)
    assert too_few == pytest.approx(0.058 / 1.067)  # the last reply after 0.01 + 12 (0.004 + 0.025)


def test_a_reward_worker_that_is_asked_too_often_sets_the_pace():
    times = replace(REWARDED, draw=0.0, window=0.0, rest=0.0, submit_call=0.0, submit_pair=0.0, call=0.0)
    outcome = simulated(times, updates=6, learners=10)
    assert outcome.update == pytest.approx(10 * 0.054)
    assert outcome.busy["reward_worker"] == pytest.approx(1.0)


@pytest.mark.parametrize("learners", [1, 2, 8, 300])
def test_sums_as_by_the_ring(learners):
    times = Times(sums=4, gradient_bytes=1.5e8, bandwidth=1.25e9, latency=1e-4)
    ring = formulas.all_reduces_seconds(1.5e8, 4, learners, 1.25e9, 1e-4)
    outcome = simulated(replace(times, rest=0.1), learners=learners)
    assert outcome.update == pytest.approx(0.1 + ring)
    assert outcome.shares["all_reduce"] == pytest.approx(ring / (0.1 + ring))


@pytest.mark.parametrize("staleness", [0, 1, 3])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_remote_samples_as_by_the_cycle(staleness, workers):
    cycle = formulas.stale_cycle_seconds(staleness, workers, ready=0.0, draw=1.0, update=0.4)
    times = replace(REMOTE, weights_bytes=0.0)
    outcome = simulated(times, 12, sample_workers=workers, max_staleness=staleness)
    assert outcome.update == pytest.approx(cycle / (staleness + 1))


def test_a_snapshot_is_put_sent_and_copied_before_the_first_draw():
    times = replace(REMOTE, bandwidth=1e7, latency=0.05)
    outcome = simulated(times, sample_workers=1)
    assert outcome.update == pytest.approx(0.1 + 0.15 + 0.1 + 1.0 + 0.05 + 0.4)
    # the samples' way back has the latency too; three nodes have their copies one after another
    three = Cluster(sample_workers=3, workers_per_node=1, max_staleness=2)
    assert Training(times, three).run(3).busy["link"] == pytest.approx(3 * 0.15 / (3 * _update(times, three)))


def _update(times: Times, cluster: Cluster) -> float:
    return Training(times, cluster).run(3).update


def test_no_more_is_drawn_ahead_than_workers_do():
    with pytest.raises(ValueError, match="at most 4"):
        Training(REMOTE, Cluster(sample_workers=1, max_staleness=5))


@pytest.mark.parametrize(("learners", "times"), [(1, 1.0), (2, 1.6), (4, 3.2)])
def test_learners_share_the_cores_of_one_machine(learners, times):
    assert simulated(COMPUTE, learners=learners, cores=2, when_full=1.6).update == pytest.approx(times)


def test_a_learner_and_its_sample_workers_share_the_cores_of_one_machine():
    """All the work of a cycle, on two cores that are never idle but while the first samples are drawn."""
    times = replace(REMOTE, weights_bytes=0.0, remote_draw=0.4, rest=0.4)
    one_core = simulated(times, 40, sample_workers=4, max_staleness=3, cores=1).update
    assert one_core == pytest.approx(0.8)


@pytest.mark.parametrize("learners", [4, 64])
def test_the_slowest_learner_sets_the_pace(learners):
    """Of normal numbers, which these nearly are, the largest of n lies E_n standard deviations up."""
    expected = {4: 1.0294, 64: 2.3766}[learners]  # expected largest of n standard normal numbers
    outcome = simulated(Times(rest=1.0), 200, learners=learners, variation=0.02)
    assert (outcome.update - 1) / 0.02 == pytest.approx(expected, rel=0.15)
    assert outcome.shares["stragglers"] == pytest.approx(1 - 1 / outcome.update, abs=2e-3)


def test_the_same_seed_is_the_same_training():
    one, same, other = (simulated(COMPUTE, seed=seed, learners=3, variation=0.1) for seed in (1, 1, 2))
    assert one == same
    assert one.update != other.update


@pytest.mark.parametrize(("learners", "share"), [(10, 0.1), (100, 1.0), (1000, 1.0)])
def test_the_controller_is_busy_as_the_formula_says(learners, share):
    times = Times(rest=1.0, poll=0.002, poll_interval=0.2)
    busy = simulated(times, 10, learners=learners).busy["controller"]
    assert busy == pytest.approx(0.002 * learners / formulas.poll_seconds(learners, 0.002, 0.2), abs=0.1)
    assert busy == pytest.approx(share, abs=0.1)


def test_deliveries_are_counted_until_the_end():
    assert simulated(Times(rest=1.0, delivery=0.25), 20).busy["delivery"] == pytest.approx(0.25 * 19 / 20)


def test_warm_up_does_not_count():
    times = replace(REMOTE, weights_bytes=0.0, remote_draw=0.2)
    whole = Training(times, Cluster(sample_workers=1)).run(8, warm_up=4)
    assert whole.update == pytest.approx(0.6)
    assert math.isclose(sum(whole.shares.values()), 1)
