"""Every equation by numbers worked out by hand, and in its limits."""

import math

import pytest

from tests.benchmarks.capacity import formulas


@pytest.mark.parametrize(
    ("processes", "cores", "when_full", "times"),
    [
        (1, 2, 1.6, 1.0),
        (2, 2, 1.6, 1.6),
        (4, 2, 1.6, 3.2),
        (2, 4, 1.6, 1.2),
        (8, 4, 1.0, 2.0),
        (3, 1, 1.0, 3.0),
    ],
)
def test_slowdown(processes, cores, when_full, times):
    assert formulas.slowdown(processes, cores, when_full) == pytest.approx(times)


def test_pipelined_work_is_bound_by_its_longest_part_or_by_the_cores():
    assert formulas.pipelined_seconds([3.0, 1.0], cores=2, when_full=1.2) == 3.0
    assert formulas.pipelined_seconds([1.0, 1.0, 1.0], cores=2, when_full=1.2) == pytest.approx(1.8)


def test_compute_has_a_part_that_no_learner_shares():
    assert formulas.compute_seconds(0.8, 0.04, 50) == pytest.approx(2.8)


def test_ring_all_reduce():
    # 2 * 3/4 * 100 MB / 1 GB/s + 6 ms
    assert formulas.ring_all_reduce_seconds(1e8, 4, 1e9, 1e-3) == pytest.approx(0.156)
    assert formulas.ring_all_reduce_seconds(1e8, 1, 1e9, 1e-3) == 0
    two, many = (formulas.ring_all_reduce_seconds(1e8, learners, 1e9, 0.0) for learners in (2, 10**6))
    assert (two, many) == (pytest.approx(0.1), pytest.approx(0.2, rel=1e-5))


def test_several_sums_share_the_bandwidth_and_pay_the_latency_each():
    assert formulas.all_reduces_seconds(1e8, 4, 4, 1e9, 1e-3) == pytest.approx(0.15 + 4 * 0.006)
    assert formulas.all_reduces_seconds(1e8, 1, 4, 1e9, 1e-3) == pytest.approx(0.156)


TIMES = {"call": 1e-3, "service": 1e-4, "pair": 2e-6}


@pytest.mark.parametrize(
    ("workers", "learners", "seconds"),
    [
        (1, 1, 1e-3 + 1e-4 + 100e-6),
        (1, 4, 1e-3 + 4 * (1e-4 + 100e-6)),
        (25, 4, 1e-3 + 4 * (1e-4 + 4e-6)),
        (50, 4, 1e-3 + 4 * (1e-4 + 2e-6)),
        (500, 4, 1e-3 + 4 * (1e-4 + 2e-6)),  # of 50 pairs nobody asks more than 50
    ],
)
def test_reward_seconds(workers, learners, seconds):
    assert formulas.reward_seconds(50, workers, learners, **TIMES) == pytest.approx(seconds)


@pytest.mark.parametrize("learners", [1, 3, 8])
@pytest.mark.parametrize("window", [0.0021, 0.003, 0.01, 1.0])
def test_as_few_reward_workers_as_are_enough(learners, window):
    times = {"call": 1e-3, "service": 1e-5, "pair": 50e-6}
    enough = [n for n in range(1, 51) if formulas.reward_seconds(50, n, learners, **times) <= window]
    if enough:
        assert formulas.reward_workers_needed(50, learners, window, **times) == enough[0]
    else:
        with pytest.raises(ValueError, match="no more than 50 are ever asked"):
            formulas.reward_workers_needed(50, learners, window, **times)


def test_no_number_of_reward_workers_makes_up_for_their_calls():
    with pytest.raises(ValueError, match="calls of 4 learners alone"):
        formulas.reward_workers_needed(50, 4, 0.0014, **TIMES)


@pytest.mark.parametrize(("draw", "update", "workers"), [(0.5, 0.2, 3), (0.4, 0.2, 2), (0.01, 0.2, 1)])
def test_sample_workers_needed(draw, update, workers):
    assert formulas.sample_workers_needed(draw, update) == workers


@pytest.mark.parametrize(
    ("staleness", "workers", "times", "seconds"),
    [
        (0, 1, {"ready": 0.1, "draw": 1.0, "update": 0.4}, 1.5),
        (3, 2, {"ready": 0.0, "draw": 1.0, "update": 0.4}, 2.8),  # ends at 1.4, 1.8, 2.4, 2.8
        (3, 1, {"ready": 0.0, "draw": 1.0, "update": 0.0}, 4.0),
        (3, 4, {"ready": 0.0, "draw": 1.0, "update": 0.0}, 1.0),
        (3, 9, {"ready": 0.2, "draw": 0.0, "update": 0.5}, 2.2),
    ],
)
def test_stale_cycle(staleness, workers, times, seconds):
    assert formulas.stale_cycle_seconds(staleness, workers, **times) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("receivers", "form", "seconds"),
    [
        (8, "star", 0.801),
        (8, "tree", 4 * 0.101),
        (7, "tree", 3 * 0.101),
        (8, "chain", 0.1 + 7 * 5 * 2**20 / 1e9 + 8e-3),
        (0, "star", 0.0),
    ],
)
def test_broadcast(receivers, form, seconds):
    assert formulas.broadcast_seconds(1e8, receivers, 1e9, 1e-3, form) == pytest.approx(seconds)


def test_broadcasts_to_one_node_are_all_the_same_and_chains_of_whole_copies_are_stars():
    one = {formulas.broadcast_seconds(1e8, 1, 1e9, 1e-3, form) for form in ("star", "chain", "tree")}
    assert len(one) == 1
    whole = formulas.broadcast_seconds(1e8, 8, 1e9, 0.0, "chain", chunk=math.inf)
    assert whole == pytest.approx(formulas.broadcast_seconds(1e8, 8, 1e9, 0.0, "star"))


def test_object_store_holds_two_snapshots_and_what_is_too_large_for_a_message():
    assert formulas.object_store_bytes(76e6, 1e6, ahead=4) == pytest.approx(157e6)
    assert formulas.object_store_bytes(76e6, 100_000, ahead=4, learners=2) == pytest.approx(304e6)


def test_polling_takes_longer_than_its_interval_with_many_learners():
    assert formulas.poll_seconds(4, 1e-3, 0.2) == 0.2
    assert formulas.poll_seconds(1000, 1e-3, 0.2) == pytest.approx(1.0)


def test_points_and_the_stages_whose_points_are_delivered_in_time():
    assert formulas.points_per_second(4, 3.0, 18, 20) == pytest.approx(10.8)
    assert formulas.most_stages(1e-3, 3.0, 18, 20) == 370
    at_most = formulas.most_stages(1 / 2.7, 3.0, 18, 20)
    assert at_most == 1
    assert formulas.points_per_second(at_most, 3.0, 18, 20) <= 2.7 + 1e-9


def test_efficiency_is_1_where_learners_share_everything_and_cost_nothing():
    assert formulas.efficiency(2.0, 4, 0.5) == 1
    assert formulas.efficiency(2.0, 4, 1.0) == 0.5
