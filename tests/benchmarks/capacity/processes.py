"""What processes of one machine cost each other: shared cores, and sums over the loopback."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from raysq.training.collective import Collective
from tests.benchmarks.capacity.constants import Figure, Ring
from tests.benchmarks.problem import UPDATES, Problem
from tests.benchmarks.settings import BenchmarkSettings

PATIENCE = timedelta(minutes=5)
"""How long processes wait for each other."""
NUMBERS = [1.0, 2.0, 3.0]
"""What an update sums besides gradients: examples, sequences, tokens."""
SMALL_CALLS = 20
"""All-reduces of these in a run: one alone is short for the clock."""


def slowdowns(counts: tuple[int, ...], repeats: int) -> dict[int, Figure]:
    """How many times as long an update takes with so many processes at it at once, over one alone.

    A small ERAC update, whose tensors do not fit into a core's cache. The processes start each run together;
    alone and together alternate.
    """
    return {count: Figure.of(together(_compete, count, repeats)[0], unit="times") for count in counts}


def rings(counts: tuple[int, ...], num_bytes: int, repeats: int) -> tuple[Ring, ...]:
    """Sums of a gradient of so many bytes over gloo, by the learners' own function."""
    found = []
    for count in counts:
        small, gradient = together(_sum, count, num_bytes, repeats)[0]
        found.append(
            Ring(
                processes=count,
                small=Figure.of(small),
                gradient=Figure.of(gradient),
                num_bytes=num_bytes,
            )
        )
    return tuple(found)


def together(function: Callable[..., Any], count: int, *arguments: object) -> list[Any]:
    """What a function returns in each of so many processes, joined in a gloo group over the loopback."""
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory(prefix="capacity-") as folder,
        ProcessPoolExecutor(count, mp_context=context) as pool,
    ):
        store = Path(folder) / "store"
        calls = [pool.submit(_joined, function, rank, count, store, arguments) for rank in range(count)]
        return [call.result() for call in calls]


def _joined(
    function: Callable[..., object], rank: int, count: int, store: Path, arguments: tuple[object, ...]
) -> object:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=count, timeout=PATIENCE
    )
    try:
        return function(Collective(rank, count), *arguments)
    finally:
        dist.destroy_process_group()


def _compete(collective: Collective, repeats: int) -> list[float]:
    """Of each run, the time beside the others over that alone."""
    erac = next(update for update in UPDATES if update.name == "erac_update")
    settings = BenchmarkSettings(output_dir=Path(), device="cpu", threads=1, batch_size=16, length=12)
    update = Problem(settings, erac, 4_000, 128).ours("float32")
    update()

    def run() -> float:
        started = time.perf_counter()
        for _ in range(3):
            update()
        return time.perf_counter() - started

    ratios = []
    for _ in range(repeats):
        alone = 0.0
        for rank in range(collective.world_size):  # each has the machine for itself once
            collective.wait()
            if rank == collective.rank:
                alone = run()
        collective.wait()
        beside = run()
        collective.wait()
        ratios.append(sum(collective.gather([beside])) / sum(collective.gather([alone])))
    return ratios


def _sum(collective: Collective, num_bytes: int, repeats: int) -> tuple[list[float], list[float]]:
    """Times of a small sum and of a gradient's."""
    parameter = torch.nn.Parameter(torch.zeros(num_bytes // 4))
    parameter.grad = torch.ones_like(parameter)
    small, gradient = [], []
    for repeat in range(repeats + 1):
        collective.wait()
        started = time.perf_counter()
        for _ in range(SMALL_CALLS):
            collective.sums(NUMBERS)
        between = time.perf_counter()
        collective.sum_gradients([parameter])
        if repeat:
            small.append((between - started) / SMALL_CALLS)
            gradient.append(time.perf_counter() - between)
    return small, gradient
