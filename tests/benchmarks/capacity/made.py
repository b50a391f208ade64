"""A record of round numbers, for tests of what is made from one."""

from __future__ import annotations

from tests.benchmarks.capacity.constants import (
    Check,
    Constants,
    Cost,
    Figure,
    Machine,
    Record,
    Ring,
    Workload,
)


def same(value: float, unit: str = "s") -> Figure:
    """Of three equal runs."""
    return Figure(median=value, low=value, high=value, repeats=3, unit=unit)


def cost(fixed: float, each: float, counts: tuple[float, ...]) -> Cost:
    """A straight line."""
    return Cost.through({count: same(fixed + each * count) for count in counts})


WORKLOAD = Workload(
    vocabulary=1000,
    hidden=64,
    sentences=50,
    tokens=1100.0,
    updates={
        "mle": cost(0.1, 0.01, (12, 25, 50)),
        "critic": cost(0.2, 0.03, (12, 25, 50)),
        "erac": cost(0.5, 0.04, (12, 25, 50)),
    },
    draw=cost(0.0, 0.008, (12, 25, 50)),
    window=0.4,
    variation=0.01,
    pairs={"mle": 0, "critic": 2, "erac": 1},
    gradient_bytes={"mle": 76_000_000, "critic": 76_000_000, "erac": 152_000_000},
    sums={"mle": 3, "critic": 3, "erac": 4},
    weights_bytes=76_000_000,
    batch_bytes=20_000,
    samples_bytes=2_000_000,
    request_bytes=15_000,
    reply_bytes=10_000,
)
CONSTANTS = Constants(
    pair={"bleu": same(2.0, "us"), "rouge": same(4.0, "us")},
    submit=cost(5e-4, 1e-5, (1, 50, 500)),
    call=cost(1.6e-3, 14e-6, (1, 50, 500)),
    score=cost(1e-4, 2e-6, (1, 50, 500)),
    put=same(1.0, "GB/s"),
    get=same(2.0, "GB/s"),
    poll=same(1e-3),
    journal=same(2e-5),
    delivery=same(1e-4),
    points=18,
    slowdown={2: same(1.5, "times"), 4: same(3.0, "times")},
    rings=(
        Ring(processes=2, small=same(2e-4), gradient=same(0.1), num_bytes=76_000_000),
        Ring(processes=4, small=same(1.2e-3), gradient=same(0.2), num_bytes=76_000_000),
    ),
)
MACHINE = Machine(
    name="a processor",
    cores=2,
    memory_gib=8.0,
    versions={"python": "3.11"},
    date="2026-01-01 00:00 UTC",
    command="python -m tests.benchmarks.capacity",
    load=(0.0, 1.0),
)
CHECK = Check(
    group="ERAC training, learners",
    count=2,
    unit="ms per update",
    predicted=110.0,
    simulated=120.0,
    measured=same(100.0),
)
RECORD = Record(
    machine=MACHINE,
    constants=CONSTANTS,
    workloads={"published": WORKLOAD},
    checks=(CHECK,),
    checked=MACHINE,
)
