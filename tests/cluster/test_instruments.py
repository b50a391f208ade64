import re
from typing import Any

import pytest

from raysq.cluster import instruments
from raysq.cluster.instruments import (
    INSTRUMENTS,
    REWARD_CALLS,
    REWARD_LATENCY,
    STALENESS,
    TOKENS,
    Instrument,
    Queue,
    record,
)
from raysq.logs import about, enter

UNITS = {"s": "seconds", "tokens": "tokens", "updates": "updates", "calls": "calls"}


class Noted:
    """In place of Ray's metrics: writes down what it is told."""

    def __init__(self, name: str, description: str, *rest: Any) -> None:
        self.name, self.rest = name, rest

    def note(self, value: float, labels: dict[str, str]) -> None:
        TOLD.append((self.name, value, labels))


class Counter(Noted):
    inc = Noted.note


class Gauge(Noted):
    set = Noted.note


class Histogram(Noted):
    observe = Noted.note


TOLD: list[tuple[str, float, dict[str, str]]] = []


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Any:
    for kind in (Counter, Gauge, Histogram):
        monkeypatch.setattr(instruments, kind.__name__, kind)
    TOLD.clear()
    instruments._metric.cache_clear()
    enter(run="r1")
    yield TOLD
    enter(run="", stage="")
    instruments._metric.cache_clear()


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda i: i.name)
def test_names_and_descriptions_say_the_unit(instrument: Instrument) -> None:
    unit = re.search(r"\[(\w+)\]", instrument.description)
    assert unit is not None
    assert instrument.name.endswith(f"_{UNITS[unit[1]]}")
    assert re.match(r"(Learner|Reward worker): ", instrument.description)
    assert list(instrument.boundaries) == sorted(set(instrument.boundaries))
    assert bool(instrument.boundaries) == (instrument.kind == "histogram")


def test_names_are_as_prometheus_has_them() -> None:
    assert len({instrument.name for instrument in INSTRUMENTS}) == len(INSTRUMENTS)
    assert TOKENS.exported == "ray_raysq_tokens_total"
    assert REWARD_LATENCY.exported == "ray_raysq_reward_latency_seconds"


def test_values_are_labelled_with_run_stage_and_process(told: Any) -> None:
    enter(stage="mle")
    record(TOKENS, 12.0)
    with about("critic"):
        record(REWARD_LATENCY, 0.5)
    record(STALENESS, 0.0)
    assert [(name, value, labels["stage"]) for name, value, labels in told] == [
        ("raysq_tokens", 12.0, "mle"),
        ("raysq_reward_latency_seconds", 0.5, "critic"),
        ("raysq_sample_staleness_updates", 0.0, "mle"),
    ]
    assert told[0][2] == {"run": "r1", "stage": "mle", "process": "driver"}


def test_nothing_added_to_a_counter_is_not_recorded(told: Any) -> None:
    record(TOKENS, 0.0)
    assert told == []


def test_a_metric_is_made_once(told: Any) -> None:
    record(TOKENS, 1.0)
    assert instruments._metric(TOKENS) is instruments._metric(TOKENS)
    assert instruments._metric(REWARD_LATENCY).rest == (list(REWARD_LATENCY.boundaries), instruments.LABELS)


def test_a_queue_is_what_was_sent_and_not_used(told: Any) -> None:
    queue = Queue(REWARD_CALLS)
    for change in (3, 2, -3, -2):
        queue.add(change)
    assert [value for _, value, _ in told] == [3.0, 5.0, 2.0, 0.0]
