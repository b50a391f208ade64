"""What Prometheus can see of a run while it goes on: Ray's custom metrics of learners and workers.

Each value is labelled with run (MLflow's id), stage and process. Ray serves it at the metrics port of the
process's node, with ``ray_`` before the name, some seconds after it was recorded; ``deploy/watch`` shows how
to collect and draw them all. Nothing is recorded by sentence or by token: a batch costs a learner a few
calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

from ray.util.metrics import Counter, Gauge, Histogram

from raysq.logs import sender


@dataclass(frozen=True, slots=True)
class Instrument:
    """A metric; its name ends with the unit, its description says who records it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    description: str
    boundaries: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets, in its unit."""

    @property
    def exported(self) -> str:
        """As Prometheus knows it; of a histogram it is the stem of ``_bucket``, ``_sum`` and ``_count``."""
        return f"ray_{self.name}_total" if self.kind == "counter" else f"ray_{self.name}"


SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
REWARD_LATENCY = Instrument(
    "raysq_reward_latency_seconds",
    "histogram",
    "Learner: from sending a batch to the reward workers until its rewards are used [s]; what the learner "
    "computes meanwhile is in it",
    SECONDS,
)
REWARD_SCORING = Instrument(
    "raysq_reward_scoring_seconds",
    "histogram",
    "Reward worker: scoring of its part of a batch [s]",
    SECONDS,
)
REWARD_CALLS = Instrument(
    "raysq_reward_queue_calls",
    "gauge",
    "Learner: calls to reward workers whose rewards have not been used yet [calls]",
)
SAMPLE_CALLS = Instrument(
    "raysq_sample_queue_calls",
    "gauge",
    "Learner: calls to sample workers whose samples have not been used yet [calls]",
)
STALENESS = Instrument(
    "raysq_sample_staleness_updates",
    "histogram",
    "Learner: age of the policy from which sample workers drew what it learns from now [updates]",
    (0.5, 1.5, 2.5, 4.5, 8.5, 16.5, 32.5),
)
REWARD_WAIT = Instrument(
    "raysq_reward_wait_seconds", "counter", "Learner: time lost to waiting for rewards [s]"
)
SAMPLE_WAIT = Instrument(
    "raysq_sample_wait_seconds", "counter", "Learner: time lost to waiting for sample workers [s]"
)
TOKENS = Instrument(
    "raysq_tokens", "counter", "Learner: its even share of the tokens that were trained on [tokens]"
)
UPDATES = Instrument("raysq_updates", "counter", "Learner: updates it took part in [updates]")
INSTRUMENTS = (
    REWARD_LATENCY,
    REWARD_SCORING,
    REWARD_CALLS,
    SAMPLE_CALLS,
    STALENESS,
    REWARD_WAIT,
    SAMPLE_WAIT,
    TOKENS,
    UPDATES,
)
LABELS = ("run", "stage", "process")


def record(instrument: Instrument, value: float) -> None:
    """Observe, set or add a value, which for a counter is not negative."""
    metric, labels = _metric(instrument), sender().labels()
    if isinstance(metric, Histogram):
        metric.observe(value, labels)
    elif isinstance(metric, Gauge):
        metric.set(value, labels)
    elif value > 0:  # Ray refuses to add nothing
        metric.inc(value, labels)


def record_updates(updates: float, tokens: float) -> None:
    """Of a learner: updates it took part in, and tokens it worked on."""
    record(UPDATES, updates)
    record(TOKENS, tokens)


@cache
def _metric(instrument: Instrument) -> Counter | Gauge | Histogram:
    """Ray's metric of this process, made when it is first needed: importing this module has no effect."""
    name, description = instrument.name, instrument.description
    if instrument.kind == "histogram":
        return Histogram(name, description, list(instrument.boundaries), LABELS)
    return (Counter if instrument.kind == "counter" else Gauge)(name, description, LABELS)


class Queue:
    """Calls of this process that were sent and not yet used."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument, self._calls = instrument, 0

    def add(self, calls: int) -> None:
        """So many more, or fewer."""
        self._calls += calls
        record(self._instrument, float(self._calls))
