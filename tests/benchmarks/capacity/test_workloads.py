"""What is measured of an update, at sizes at which bytes can be counted by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from raysq.training.collective import Collective
from raysq.training.step import Step
from tests.benchmarks.capacity import driver, processes, workloads
from tests.benchmarks.capacity.settings import CapacitySettings

SETTINGS = CapacitySettings(
    output_dir=Path("unused"), page=Path("unused"), vocabulary=60, hidden=8, batch_size=8, length=6
)


@pytest.fixture(scope="module")
def parts():
    return workloads.published(SETTINGS)


def test_bytes_and_counts_of_a_workload(parts):
    found = workloads.measured(parts, repeats=2)
    policy = sum(p.numel() for p in parts.networks.policy.parameters())
    critic = sum(p.numel() for p in parts.networks.critic.parameters())
    assert found.weights_bytes == 4 * policy
    assert found.gradient_bytes == {"mle": 4 * policy, "critic": 4 * critic, "erac": 4 * (policy + critic)}
    assert found.sums == {"mle": 3, "critic": 3, "erac": 4}
    assert found.pairs == {"mle": 0, "critic": 2, "erac": 1}
    assert (found.vocabulary, found.hidden, found.sentences) == (60, 8, 8)
    assert found.tokens == float(parts.batches[0].reference_mask.sum())
    assert 0 < found.window < 1
    for cost in (*found.updates.values(), found.draw):
        assert [count for count, _ in cost.points] == [2, 4, 8]
        assert cost.at(8) > 0
    samples, _ = parts.source.draw(parts.batches[0], parts.moment)
    assert found.samples_bytes > 4 * samples.dropout_mask.numel()
    assert found.reply_bytes > 8 * (samples.mask.numel() + len(samples.mask)) > 0


def test_the_sums_of_an_update_are_as_many_as_it_is_said(parts, monkeypatch):
    """Each all-reduce is one call of ``sums`` or ``sum_gradients``."""
    calls = []
    for name in ("sums", "sum_gradients"):
        own = getattr(Collective, name)
        monkeypatch.setattr(
            Collective, name, lambda *given, own=own, name=name: (calls.append(name), own(*given))[1]
        )
    Step(parts.algorithms["erac"], parts.networks, parts.source, Collective()).run(
        parts.batches, parts.moment
    )
    assert sorted(calls) == ["sum_gradients"] * 2 + ["sums"] * 2


def test_the_gap_is_from_sending_to_the_first_asking(parts):
    watched = workloads.Watched(parts.source.scorer)
    _, pending = replace(parts.source, scorer=watched).draw(parts.batches[0], parts.moment)
    assert watched.gaps == []
    assert pending.result() is pending.result()
    assert len(watched.gaps) == 1
    assert watched.gaps[0] > 0


def test_times_by_count_are_those_of_their_runs():
    times = workloads.timed({2.0: lambda: sum(range(10)), 4.0: lambda: sum(range(200_000))}, repeats=3)
    assert {count: len(of_count.seconds) for count, of_count in times.items()} == {2.0: 3, 4.0: 3}
    assert min(times[4.0].seconds) > min(times[2.0].seconds)


def test_two_processes_sum_by_the_learners_own_function():
    (ring,) = processes.rings((2,), 400_000, repeats=2)
    assert ring.processes == 2
    assert min(ring.small.median, ring.gradient.median) > 0
    assert ring.bandwidth > 0


def test_journals_are_delivered(monkeypatch):
    monkeypatch.setattr(driver, "LINES", 5)
    written, delivered = driver.figures(repeats=1)
    assert written.median > 0
    assert delivered.median > 0
