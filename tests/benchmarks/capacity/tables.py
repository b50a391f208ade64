"""The blocks of deploy/CAPACITY.md, as lines of Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from raysq.training.stage import LOG_EVERY
from tests.benchmarks.capacity import formulas
from tests.benchmarks.capacity.constants import Check, Figure, Machine, Record
from tests.benchmarks.capacity.saturation import (
    POLL_INTERVAL,
    Size,
    enough,
    scenarios,
    times_of,
)
from tests.benchmarks.capacity.settings import CapacitySettings

ASKED = (1, 2, 4, 8, 32)
"""Reward workers in the worked example, for ``EXAMPLE_LEARNERS``."""
EXAMPLE_LEARNERS = 4
SHARED = (1, 2, 4, 8, 16, 50)
"""Learners that share one published batch."""


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Markdown; all columns but the first to the right."""
    line = "|".join(["---", *(["---:"] * (len(heading) - 1))])
    return [f"| {' | '.join(cells)} |" for cells in [heading]] + [
        f"|{line}|",
        *(f"| {' | '.join(cells)} |" for cells in rows),
    ]


def number(value: float) -> str:
    """Three digits that count."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def figure(measured: Figure, scale: float = 1.0) -> str:
    """``median (low .. high)``."""
    low, high = number(scale * measured.low), number(scale * measured.high)
    return f"{number(scale * measured.median)} ({low} .. {high})"


def machine(record: Record) -> list[str]:
    """Where and when constants and checks were measured."""

    def said(what: str, place: Machine) -> str:
        versions = ", ".join(f"{name} {version}" for name, version in place.versions.items())
        return (
            f"{what}: {place.name}, {place.cores} cores, {place.memory_gib:.0f} GiB; {versions}; "
            f"{place.date}; `{place.command}`. Load (processes that run or wait, 1 min) "
            f"{place.load[0]:.1f} before and {place.load[1]:.1f} after."
        )

    lines = [said("Constants", record.machine)]
    if record.checked is not None:
        lines += ["", said("Runs", record.checked)]
    return lines


def constants(record: Record) -> list[str]:
    """What the formulas take, but for updates."""
    c = record.constants
    rows = [
        [f"reward, {name}: a pair of 25 and 25 words, all prefixes", figure(pair), "us, one core"]
        for name, pair in c.pair.items()
    ]
    rows += [
        [f"reward pairs a core, {name}", number(1e6 / pair.median), "pairs/s"]
        for name, pair in c.pair.items()
    ]
    for what, cost in (
        ("learner sends a call off", c.submit),
        ("a call, sending to reply", c.call),
        ("the worker's part of it", c.score),
    ):
        parts = f"{number(1000 * cost.fixed)} + {number(1e6 * cost.each)} us a pair"
        fifty = next(found for count, found in cost.points if count == 50)
        rows.append([f"{what}: {parts}; of 50 pairs", figure(fifty, 1000), "ms"])
    rows += [
        ["object store, put", figure(c.put), "GB/s"],
        ["object store, copied into a policy", figure(c.get), "GB/s"],
        ["a call that does nothing, caller's processor time", figure(c.poll, 1e6), "us"],
        ["a line of a journal", figure(c.journal, 1e6), "us"],
        ["a metric's point to MLflow (SQLite)", figure(c.delivery, 1e6), "us"],
        ["points delivered", number(1 / c.delivery.median), "points/s"],
    ]
    for ring in c.rings:
        of = f"{ring.processes} processes, loopback"
        rows.append([f"all-reduce of three numbers, {of}", figure(ring.small, 1e6), "us"])
        size = f"{ring.num_bytes / 1e6:.0f} MB"
        rows.append([f"all-reduce of {size}, {of}", figure(ring.gradient, 1000), "ms"])
        rows.append([f"its ring's bandwidth, {of}", number(ring.bandwidth / 1e9), "GB/s"])
    for count, slower in c.slowdown.items():
        rows.append([f"an update with {count} processes at it, over one alone", figure(slower), "times"])
    return table(("constant", "median (least .. most)", "unit"), rows)


def updates(record: Record) -> list[str]:
    """Learner and sampling times by workload."""
    rows = []
    for name, workload in record.workloads.items():
        size = f"{name}, V = {workload.vocabulary:,}, H = {workload.hidden}"
        costs = {f"{kind} update": (kind, cost) for kind, cost in workload.updates.items()}
        costs["drawing a sample a sentence"] = ("draw", workload.draw)
        for what, (kind, cost) in costs.items():
            seconds = cost.largest.median
            tokens = workload.tokens * max(1, workload.pairs.get(kind, 1))
            rows.append(
                [
                    f"{what} ({size})",
                    figure(cost.largest, 1000),
                    f"{number(1000 * cost.fixed)} + {number(1000 * cost.each)}",
                    number(workload.sentences / seconds),
                    number(tokens / seconds),
                ]
            )
        for what, share in (
            ("window of an", workload.window),
            ("standard deviation of the", workload.variation),
        ):
            rows.append([f"{what} ERAC update ({size})", f"{share:.0%} of it", "", "", ""])
    heading = (
        "processor time, one thread",
        "ms a batch (least .. most)",
        "ms + ms a sentence",
        "sentences/s",
        "tokens/s",
    )
    return table(heading, rows)


def sizes_in_bytes(record: Record) -> list[str]:
    """What travels in an update."""
    rows = []
    names = list(record.workloads)
    loads = list(record.workloads.values())

    def row(what: str, values: Sequence[float]) -> None:
        rows.append([what, *(number(value / 1000) for value in values)])

    row("gradients summed, MLE", [w.gradient_bytes.get("mle", 0) for w in loads])
    row("gradients summed, ERAC (policy and critic)", [w.gradient_bytes["erac"] for w in loads])
    row("snapshot of the policy (weight broadcast), to each node", [w.weights_bytes for w in loads])
    row("a batch to a sample worker", [w.batch_bytes for w in loads])
    row("its samples and rewards back", [w.samples_bytes for w in loads])
    row("a batch to the reward workers", [w.request_bytes for w in loads])
    row("its payoffs back", [w.reply_bytes for w in loads])
    return table(("kB in an update of 50 sentences", *names), rows)


def example(settings: CapacitySettings, record: Record) -> list[str]:
    """How many reward workers four learners need."""
    workload, c = record.workloads["published"], record.constants
    lines = []
    for scenario in scenarios(settings)[:2]:
        times = times_of(c, workload, scenario, settings.latency_us / 1e6)
        alone = times.draw + times.window + times.rest
        rows = []
        for workers in ASKED:
            calls = formulas.reward_calls(times.pairs, workers)
            replies = formulas.reward_seconds(
                times.pairs,
                workers,
                EXAMPLE_LEARNERS,
                call=times.call,
                service=times.service,
                pair=times.pair,
            )
            rows.append(
                [
                    f"{workers}",
                    number(1000 * replies),
                    number(1000 * max(0.0, replies - times.window)),
                    number(1000 * (calls * times.submit_call + times.pairs * times.submit_pair)),
                ]
            )
        needed = enough(times, EXAMPLE_LEARNERS)
        lines += [
            f"**{EXAMPLE_LEARNERS} {scenario.name}.** An update is {number(1000 * alone)} ms of arithmetic; "
            f"its {times.pairs} rewards are needed {number(1000 * times.window)} ms after the asking: "
            f"**{needed} reward worker{'s' if needed > 1 else ''}** {'are' if needed > 1 else 'is'} enough.",
            "",
            *table(
                ("reward workers", "all replies after [ms]", "learner waits [ms]", "learner sends [ms]"), rows
            ),
            "",
        ]
    return lines[:-1]


def shared(settings: CapacitySettings, record: Record) -> list[str]:
    """What more learners bring where they share the published batch of 50."""
    workload = record.workloads["published"]
    cost, rows = workload.updates["erac"], []
    latency = settings.latency_us / 1e6
    for learners in SHARED:
        if learners > workload.sentences:
            continue
        cells = [f"{learners}"]
        for scenario in scenarios(settings)[:3]:
            alone = cost.at(workload.sentences) / scenario.speed
            sums = formulas.all_reduces_seconds(
                workload.gradient_bytes["erac"],
                workload.sums["erac"],
                learners,
                scenario.bandwidth,
                latency,
            )
            each = formulas.compute_seconds(cost.fixed, cost.each, workload.sentences / learners)
            together = each / scenario.speed + sums
            of_one = formulas.efficiency(alone, learners, together)
            cells.append(f"{number(1000 * together)} ms, {of_one:.0%}")
        rows.append(cells)
    heading = ("learners", *(scenario.name for scenario in scenarios(settings)[:3]))
    return table(heading, rows)


def store(record: Record) -> list[str]:
    """Memory of object stores, and broadcasts, with remote sampling."""
    workload = record.workloads["published"]
    weights, samples = workload.weights_bytes, workload.samples_bytes
    rows = []
    for nodes in (1, 8, 64):
        seconds = [
            formulas.broadcast_seconds(weights, nodes, 1.25e9, 1e-4, "star"),
            formulas.broadcast_seconds(weights, nodes, 1.25e9, 1e-4, "chain"),
            formulas.broadcast_seconds(weights, nodes, 1.25e9, 1e-4, "tree"),
        ]
        room = formulas.object_store_bytes(weights, samples, 4)
        rows.append([f"{nodes}", *(number(1000 * s) for s in seconds), number(room / 2**20)])
    heading = (
        "nodes of one learner's sample workers",
        "star [ms]",
        "chain [ms]",
        "tree [ms]",
        "object store of a node [MiB]",
    )
    return table(heading, rows)


def sweep(record: Record) -> list[str]:
    """Stages that train at once before the driver's delivery to MLflow falls behind."""
    c = record.constants
    rows = []
    for rate in (0.3, 3.0, 30.0):
        points = formulas.points_per_second(1, rate, c.points, LOG_EVERY)
        most = formulas.most_stages(c.delivery.median, rate, c.points, LOG_EVERY)
        rows.append([f"{rate:g}", number(points), f"{most:,}"])
    most_polled = int(POLL_INTERVAL / c.poll.median)
    return [
        *table(("updates/s of each stage", "points/s of each", "stages at once"), rows),
        "",
        f"Learners of one training that are polled every {POLL_INTERVAL:g} s: {most_polled:,} at most.",
    ]


def checks(found: Sequence[Check]) -> list[str]:
    """Predictions beside runs."""
    if not found:
        return ["Not run on this machine: `python -m tests.benchmarks.capacity --steps runs,page`."]
    rows = []
    for check in found:
        simulated = "" if check.simulated is None else number(check.simulated)
        off = "" if check.simulated is None else f"{check.simulated / check.measured.median - 1:+.0%}"
        rows.append(
            [
                f"{check.group} [{check.unit}]",
                f"{check.count}",
                number(check.predicted),
                simulated,
                figure(check.measured),
                f"{check.error:+.0%}",
                off,
            ]
        )
    heading = (
        "what",
        "of them",
        "formulas",
        "simulation",
        "measured (least .. most)",
        "formulas' error",
        "simulation's",
    )
    return table(heading, rows)


def saturation(found: Sequence[Size]) -> list[str]:
    """The simulation's table."""
    rows, last = [], ""
    for size in found:
        shares, busy = size.outcome.shares, size.outcome.busy
        name = size.scenario.name if size.scenario.name != last else ""
        last = size.scenario.name
        rows.append(
            [
                name,
                f"{size.learners:,}",
                f"{size.nodes:,}",
                f"{size.sample_workers:,}" if size.sample_workers else f"{size.reward_workers:,}",
                number(1000 * size.outcome.update),
                *(
                    f"{shares[part]:.0%}"
                    for part in ("compute", "submit", "rewards", "samples", "stragglers", "all_reduce")
                ),
                *(f"{busy[what]:.0%}" for what in ("link", "controller")),
            ]
        )
    heading = (
        "learners with 50 sentences each",
        "learners",
        "nodes",
        "workers",
        "update [ms]",
        "arithmetic",
        "sending",
        "wait: rewards",
        "samples",
        "slowest",
        "all-reduce",
        "link busy",
        "driver busy",
    )
    return table(heading, rows)
