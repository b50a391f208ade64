"""The step ``measure``: every constant, on the machine at hand."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch

from tests.benchmarks import machine
from tests.benchmarks.capacity import driver, on_ray, processes, workloads
from tests.benchmarks.capacity.constants import Constants, Machine, Record
from tests.benchmarks.capacity.session import session
from tests.benchmarks.capacity.settings import CapacitySettings
from tests.benchmarks.settings import BenchmarkSettings

COUNTS = (2, 4)
"""Processes side by side."""


def measure(settings: CapacitySettings, say: Callable[[str], None]) -> Record:
    """Every constant; one thread in each process."""
    torch.set_num_threads(1)
    load, repeats = os.getloadavg()[0], settings.repeats
    say("updates of the published sizes")
    published = workloads.measured(workloads.published(settings), repeats)
    say("processes side by side")
    slowdown = processes.slowdowns(COUNTS, repeats)
    rings = processes.rings(COUNTS, published.gradient_bytes["mle"], repeats)
    say("rewards, Ray's calls and object store")
    pair, score = on_ray.pair_figures(repeats), on_ray.score_cost(repeats)
    with session(len(os.sched_getaffinity(0))):
        workers = on_ray.warm_workers(max(COUNTS))
        submit, call = on_ray.call_costs(workers, repeats)
        poll = on_ray.poll_figure(workers, repeats)
        put, get = on_ray.store_figures(published.weights_bytes, repeats)
    say("journal and MLflow")
    journal, delivery = driver.figures(repeats)
    constants = Constants(
        pair=pair,
        submit=submit,
        call=call,
        score=score,
        put=put,
        get=get,
        poll=poll,
        journal=journal,
        delivery=delivery,
        points=driver.POINTS,
        slowdown=slowdown,
        rings=rings,
    )
    return Record(machine=this_machine(load), constants=constants, workloads={"published": published})


def this_machine(load_before: float) -> Machine:
    """Where and when, told after what was measured."""
    about = machine.name(BenchmarkSettings(output_dir=Path(), device="cpu", threads=1))
    return Machine(
        name=about.partition(",")[0],
        cores=len(os.sched_getaffinity(0)),
        memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        versions={"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "ray", "mlflow")},
        date=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        command=shlex.join(["python", "-m", "tests.benchmarks.capacity", *sys.argv[1:]]),
        load=(load_before, os.getloadavg()[0]),
    )
