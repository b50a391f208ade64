"""Fuzz every reader: ``python -m tests.fuzz.run [--targets a,b] [--inputs 10000] [--seed 1]``.

Each target is read by a process of its own, which may be killed by what it reads: then that input is a
finding and another process goes on behind it. The table says of each target how many inputs it was given,
until ``--inputs`` were refused (or five times as many given), and how many of them were mutations that pass
the header; what a process's memory grew by after a tenth of them; what share of the reader's lines ran.
What was found is kept in ``tests/fuzz/found``, and the status is 1.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import importlib
import importlib.util
import json
import multiprocessing
import os
import pickle
import re
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.fuzz.harness import LIMIT, PATIENCE, Changes, Outcome, Target, attempt, valid_input
from tests.fuzz.inputs import Case, bad_input

MODULES = tuple(
    f"tests.fuzz.{part}_targets" for part in ("data", "image", "store", "state", "settings", "report")
)
"""Where the targets are."""
FOUND = Path(__file__).parent / "found"
LARGEST_KEPT = 20_000
"""Larger inputs are not kept, only named by seed and number. [bytes]"""
KEPT = 5
"""Findings of a target that are kept, of each kind of exception one."""
MEMORY = 2**30
"""What a process may take beyond what it has when it begins. [bytes]"""
GROWTH = 48 * 2**20
"""What a process's memory may grow by after the first tenth of the inputs. [bytes]"""


@dataclass
class Tally:
    """What a target's readers did."""

    counts: Counter[str] = field(default_factory=Counter)
    """Inputs by kind, outcome, and whether they keep the header."""
    findings: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Number of the first input and what it did, by the last line of that."""
    lines: dict[str, tuple[set[int], set[int]]] = field(default_factory=dict)
    """Statements, and those that ran, by module."""
    growth: int = 0
    """Of a process's memory, the largest [bytes]."""
    descriptors: int = 0
    """That stayed open, the most."""
    seconds: float = 0.0

    def add(self, number: int, case: Case, outcome: Outcome) -> None:
        """Count an input."""
        self.counts.update(["inputs", case.kind, outcome.kind])
        self.counts["passes header"] += case.keeps_header
        if outcome.kind == "finding":
            last = outcome.said.strip().splitlines()[-1]
            self.findings.setdefault("".join(c for c in last if not c.isdigit())[:60], (number, outcome.said))


def chosen(names: Collection[str] = ()) -> list[Target]:
    """The targets of these names, all where none is given. Raises KeyError for another name."""
    found: dict[str, Target] = {}
    for module in MODULES:  # one after another: their imports take seconds
        found |= {target.name: target for target in importlib.import_module(module).TARGETS}
        if names and found.keys() >= set(names):
            break
    return [found[name] for name in names or found]


def fuzz(
    target: Target,
    inputs: int,
    seed: int,
    limit: float = LIMIT,
    on_input: Callable[[Tally], None] = lambda tally: None,
) -> Tally:
    """Give a target bad inputs until it has refused ``inputs``, or five times as many were given."""
    tally = Tally()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as base:
        valid = valid_input(target, Path(base))
    start = 0
    while start < 5 * inputs and tally.counts["refused"] < inputs:
        start = _one_process(target, valid, inputs, seed, start, limit, tally, on_input)
    tally.seconds = time.monotonic() - began
    return tally


def _one_process(
    target: Target,
    valid: dict[str, bytes],
    inputs: int,
    seed: int,
    start: int,
    limit: float,
    tally: Tally,
    on_input: Callable[[Tally], None],
) -> int:
    """Inputs from ``start`` on until a process has done its work or died; returns where to go on."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(
        target=_child,
        # pickled apart: the child measures before it imports the target
        args=(
            pickle.dumps(target),
            target.modules,
            inputs - tally.counts["refused"],
            seed,
            range(start, 5 * inputs),
            limit,
            sending,
        ),
    )
    process.start()
    sending.close()
    number = start
    begun = False
    try:
        while True:
            # a process that says nothing for so long is in library code that no alarm reaches
            if not receiving.poll(2 * PATIENCE * limit if begun else 300):
                process.kill()
                outcome = Outcome("finding", f"takes more than {2 * PATIENCE * limit} s, uninterruptible")
                break
            said = receiving.recv()
            begun = True
            if isinstance(said, Outcome):
                tally.add(number, bad_input(target, valid, seed, number), said)
                number += 1
                on_input(tally)
            elif isinstance(said, dict):
                _take_account(tally, said)
                return number
    except EOFError:
        process.join()
        outcome = Outcome("finding", f"the process died with status {process.exitcode}")
    finally:
        process.join()
        receiving.close()
    tally.add(number, bad_input(target, valid, seed, number), outcome)
    return number + 1


def _take_account(tally: Tally, said: dict[str, Any]) -> None:
    tally.growth = max(tally.growth, said["growth"])
    tally.descriptors = max(tally.descriptors, said["descriptors"])
    for module, (statements, ran) in said["lines"].items():
        known, before = tally.lines.get(module, (set(), set()))
        tally.lines[module] = known | statements, before | ran


def _child(
    pickled: bytes,
    modules: Sequence[str],
    refusals: int,
    seed: int,
    numbers: range,
    limit: float,
    out: Connection,
) -> None:
    """Read the inputs of these numbers until some were refused; say what came of each, and what it took."""
    import coverage

    files = [str(importlib.util.find_spec(module).origin) for module in modules]  # type: ignore[union-attr]
    measuring = coverage.Coverage(data_file=None, include=files)
    measuring.start()
    target: Target = pickle.loads(pickled)
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        base = Path(folder) / "base"
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            valid = valid_input(target, base)
            bound = _virtual_memory() + MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
            before = _resources()
            refused = 0
            for done, number in enumerate(numbers):
                case = bad_input(target, valid, seed, number)
                outcome = attempt(target, valid, case.changes, base, mended=case.mended, limit=limit)
                out.send(outcome)
                refused += outcome.kind == "refused"
                if done == refusals // 10:
                    before = _resources()
                if refused == refusals:
                    break
            after = _resources()
    measuring.stop()
    lines = {}
    for module, file in zip(modules, files, strict=True):
        _, statements, _, missing, _ = measuring.analysis2(file)
        lines[module] = set(statements), set(statements) - set(missing)
    growth, descriptors = (b - a for a, b in zip(before, after, strict=True))
    out.send({"growth": growth, "descriptors": descriptors, "lines": lines})


def _virtual_memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _resources() -> tuple[int, int]:
    """Memory [bytes] and open descriptors of this process."""
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return resident, len(os.listdir("/proc/self/fd"))


def keep(target: Target, seed: int, number: int, said: str) -> Path | None:
    """Write an input below `FOUND`, where tests replay it; None where it is large."""
    with tempfile.TemporaryDirectory() as base:
        valid = valid_input(target, Path(base))
    case = bad_input(target, valid, seed, number)
    changes = {
        name: {"base64": base64.b64encode(change).decode()}
        if isinstance(change, bytes)
        else {"oddity": change}
        for name, change in case.changes.items()
    }
    last = re.sub(r"/\S*/", "", said.strip().splitlines()[-1])[:200]  # paths of this machine say nothing
    text = json.dumps({"mended": case.mended, "changes": changes, "did": last}, indent=1) + "\n"
    if len(text) > LARGEST_KEPT:
        return None
    path = FOUND / target.name / f"{seed}-{number}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def kept(target: Target) -> list[tuple[str, Changes, bool]]:
    """Name, changes and whether they are mended of every kept input of a target."""
    found: list[tuple[str, Changes, bool]] = []
    for path in sorted((FOUND / target.name).glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        changes = {
            name: base64.b64decode(change["base64"]) if "base64" in change else change["oddity"]
            for name, change in content["changes"].items()
        }
        found.append((path.name, changes, content["mended"]))
    return found


HEAD = (
    "| target | inputs | mutations that pass the header | refused | accepted | findings | growth [MiB] "
    "| open files | inputs/s |\n|---|---|---|---|---|---|---|---|---|"
)


def row(name: str, tally: Tally) -> str:
    """A target's line of the table."""
    counts = tally.counts
    share = counts["passes header"] / max(counts["inputs"], 1)
    numbers = (
        counts["inputs"],
        f"{counts['passes header']} ({share:.0%})",
        counts["refused"],
        counts["accepted"],
        counts["finding"],
        f"{tally.growth / 2**20:.1f}",
        f"{tally.descriptors:+d}",
        f"{counts['inputs'] / tally.seconds:.0f}",
    )
    return f"| {name} | {' | '.join(map(str, numbers))} |"


def coverage_lines(tallies: Sequence[Tally]) -> list[str]:
    """Of each module the share of its lines that ran for any of the targets, and which did not."""
    modules: dict[str, tuple[set[int], set[int]]] = {}
    for tally in tallies:
        for module, (statements, ran) in tally.lines.items():
            known, before = modules.get(module, (set(), set()))
            modules[module] = known | statements, before | ran
    lines = ["| reader | lines | ran | not run |", "|---|---|---|---|"]
    for module, (statements, ran) in sorted(modules.items()):
        missing = sorted(statements - ran)
        named = " ".join(map(str, missing[:40])) + (" .." if len(missing) > 40 else "")
        lines.append(f"| {module} | {len(statements)} | {len(ran) / len(statements):.0%} | {named} |")
    return lines


def main() -> int:
    """Fuzz, print the tables, keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", default="", help="names, separated by commas; none: all")
    parser.add_argument("--inputs", type=int, default=10_000, help="to be refused by each")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    try:
        wanted = chosen(list(filter(None, options.targets.split(","))))
    except KeyError as error:
        parser.error(f"no target {error}: choose of {', '.join(target.name for target in chosen())}")
    print(HEAD)
    tallies, faults = [], []
    for target in wanted:
        tally = fuzz(target, options.inputs, options.seed)
        tallies.append(tally)
        print(row(target.name, tally), flush=True)
        for number, said in list(tally.findings.values())[:KEPT]:
            path = keep(target, options.seed, number, said)
            faults.append(f"{target.name}, input {number} ({path or 'too large to keep'}):\n{said}")
        if tally.growth > GROWTH or tally.descriptors > 4:
            faults.append(f"{target.name}: memory or open files grow")
    print("", *coverage_lines(tallies), "", *faults, sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
