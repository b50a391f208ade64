"""The report of a soak, finished or broken off, from what it wrote as it went."""

from __future__ import annotations

import itertools
import json
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.integration.faults.soak_comparison import so_far
from tests.integration.faults.soak_memory import Line, lines
from tests.integration.faults.soak_run import workflow

Event = dict[str, Any]


def report(place: Path) -> tuple[str, bool]:
    """Markdown, and whether all is as it should be."""
    events: dict[str, list[Event]] = defaultdict(list)
    for line in (place / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        events[event["event"]].append(event)
    good = (
        not events["lost"]
        and len(events["compared"]) == len(events["round"])
        and not any(compared["difference"] or compared["undelivered"] for compared in events["compared"])
        and all(fault["recovered"] for fault in events["fault"])
        and not any(orphans["left"] for orphans in events["orphans"])
    )
    parts = [*_course(events), "", *_table(events["fault"]), "", *_comparison(place, events), ""]
    parts += [*_checkpoints(events), "", *_memory(place / "memory.csv")]
    return "\n".join(parts) + "\n", good


def _course(events: Mapping[str, list[Event]]) -> Iterator[str]:
    (began,), faults = events["began"], events["fault"]
    last = max(event["time"] for of_kind in events.values() for event in of_kind)
    gaps = [b["injected_at"] - a["injected_at"] for a, b in itertools.pairwise(faults)]
    commands = sum(event["commands"] for event in events["finished"])
    updates = ", ".join(f"{name} {count}" for name, count in events["round"][0]["updates"].items())
    yield (
        f"- seed {began['seed']}, {(last - began['time']) / 60:.0f} minutes, {len(events['round'])} rounds "
        f"of {updates} updates, for which the command was started {commands} times"
    )
    yield f"- {len(faults)} faults, the median {statistics.median(gaps or [0]):.0f} s after the one before"
    yield f"- {len(events['gave up'])} commands gave up by themselves and were repeated"
    yield from (f"  - {event['said']}" for event in events["gave up"])
    left = sum(len(event["left"]) for event in events["orphans"])
    of = sum(event["of"] for event in events["orphans"])
    killed = len(events["orphans"])
    yield f"- a minute later {left} were left of {of} processes below {killed} killed commands"
    yield from (f"- LOST: {event['why']}" for event in events["lost"])


def _table(faults: list[Event]) -> Iterator[str]:
    yield "| fault | injected | recovered | lost | mid-call | mid-checkpoint | s to get further (most) |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    by_kind = defaultdict(list)
    for fault in faults:
        by_kind[fault["kind"]].append(fault)
    for kind, of_kind in [*sorted(by_kind.items()), ("all", faults)]:
        recovered = sum(fault["recovered"] for fault in of_kind)
        seconds = [fault["seconds"] for fault in of_kind] or [0]
        counts = len(of_kind), recovered, len(of_kind) - recovered
        marks = (sum(fault[mark] for fault in of_kind) for mark in ("mid_call", "mid_checkpoint"))
        cells = (*counts, *marks, f"{statistics.median(seconds):.0f} ({max(seconds):.0f})")
        yield f"| {kind} | " + " | ".join(map(str, cells)) + " |"


def _comparison(place: Path, events: Mapping[str, list[Event]]) -> Iterator[str]:
    """A line for each round, finished or not."""
    compared = {event["number"]: event for event in events["compared"]}
    for of_round in events["round"]:
        number = of_round["number"]
        runs = (
            workflow(place / f"round-{number}" / name, place, of_round["updates"], number)
            for name in ("disturbed", "undisturbed")
        )
        values, others = so_far(*runs)
        line = f"- round {number} (--sampling {of_round['sampling']}): of {values} values of loss curves and "
        line += f"dev scores {others} differ"
        if number in compared:
            difference = compared[number]["difference"] or "nothing"
            missing = ", ".join(compared[number]["undelivered"]) or "nothing"
            line += f"; of parameters, hypotheses, scores and numbers of updates {difference} does"
            line += f"; {missing} is missing, doubled or out of order in MLflow"
        yield line


def _checkpoints(events: Mapping[str, list[Event]]) -> Iterator[str]:
    interval = events["began"][0]["interval"]
    for cost in events["checkpoint"][-1:]:
        size, share = cost["bytes"] / 2**20, 100 * cost["written"] / interval
        waits, written = 1000 * cost["learner_waits"], 1000 * cost["written"]
        yield (
            f"- a checkpoint every {interval:g} s and at evaluations, {size:.1f} MiB: the learner waits "
            f"{waits:.1f} ms, it is on the disk after {written:.0f} ms ({share:.2f} % of the interval)"
        )


def _memory(table: Path) -> Iterator[str]:
    """Each long-lived process of the undisturbed run, and all others by role."""
    own = {(f.run, f.process, f.stage): f for f in lines(table, "anonymous")}
    fits = sorted(lines(table), key=lambda f: (f.run, f.role, f.process, f.stage))
    yield "| run | process | stage | minutes | mean MiB | slope MiB/h | of it its own |"
    yield "|---|---|---|---:|---:|---:|---:|"
    for fit in (fit for fit in fits if not fit.run.endswith(" disturbed")):
        mine = own[fit.run, fit.process, fit.stage]
        yield (
            f"| {fit.run} | {fit.role} | {fit.stage} | {fit.minutes:.0f} | {fit.mean:.0f} | "
            f"{fit.slope:+.2f} ± {fit.error:.2f} | {mine.slope:+.2f} ± {mine.error:.2f} |"
        )
    yield ""
    yield "| disturbed runs | processes | minutes | mean MiB | slope MiB/h, median (least to most) |"
    yield "|---|---:|---:|---:|---:|"
    by_role: dict[str, list[Line]] = defaultdict(list)
    for fit in (fit for fit in fits if fit.run.endswith(" disturbed")):
        by_role[fit.role].append(fit)
    for role, of_role in sorted(by_role.items()):
        slopes = [fit.slope for fit in of_role]
        yield (
            f"| {role} | {len(of_role)} | {sum(f.minutes for f in of_role):.0f} | "
            f"{statistics.mean(f.mean for f in of_role):.0f} | {statistics.median(slopes):+.1f} "
            f"({min(slopes):+.1f} to {max(slopes):+.1f}) |"
        )
