"""The faults of the soak: what each does to the processes of a run, and when it can."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.integration.faults.conftest import alive, descendants, within
from tests.integration.faults.soak_run import PATIENCE, Repeated, Server

BEING_WRITTEN = re.compile(r"\.writing-step-\d+")
STANDS_STILL = 0.03
"""Share of a core below which a learner only waits."""
LOOK = 2.0
"""Time over which that is measured [s]."""
DOWN = 20.0
"""How long the MLflow server is away [s]."""
SIGTERM_STATUS = 143


@dataclass
class Injected:
    """What a fault has done."""

    before: int
    """Id of the process that was killed."""
    replaced: Callable[[], int | None]
    """Id of the process that is there in its place, once it is."""
    mid_call: bool = False
    """Killed while the learner certainly waited for a call to it."""
    mid_checkpoint: bool = False
    """Killed while a checkpoint was half written."""
    left: set[int] = field(default_factory=set)
    """Processes of the killed command that have to be gone within a minute."""


Injection = Callable[[Repeated, Server, Random], Injected | None]
"""Returns None where the moment has passed."""


class Kind(NamedTuple):
    """A kind of fault."""

    name: str
    inject: Injection
    possible: Callable[[Repeated], bool]
    share: int = 1
    """How often it comes in a round of all kinds."""


def kill_learner(run: Repeated, server: Server, random: Random) -> Injected | None:
    """SIGKILL at whatever it is doing."""
    learner = run.learner()
    if learner is None:
        return None
    os.kill(learner, signal.SIGKILL)
    return Injected(learner, run.learner)


def kill_learner_mid_checkpoint(run: Repeated, server: Server, random: Random) -> Injected | None:
    """SIGKILL with a checkpoint under its temporary name: it is stopped first, to look at leisure."""
    learner = run.learner()
    deadline = time.monotonic() + PATIENCE
    while learner is not None and time.monotonic() < deadline and alive({learner}):
        if not half_written(run):
            time.sleep(0.001)
            continue
        os.kill(learner, signal.SIGSTOP)
        within(PATIENCE, "the learner is stopped", lambda: _state(learner) in "TZ")
        caught = half_written(run)
        os.kill(learner, signal.SIGKILL if caught else signal.SIGCONT)
        if caught:
            within(PATIENCE, "the learner is gone", lambda: not alive({learner}))
            # a new learner takes longer to start than this look takes
            return Injected(learner, run.learner, mid_checkpoint=half_written(run))
    return None


def half_written(run: Repeated) -> bool:
    """Whether a stage of the run holds a checkpoint under its temporary name."""
    folders = run.of.place.glob("stages/*/checkpoints")
    return any(BEING_WRITTEN.fullmatch(entry) for folder in folders for entry in os.listdir(folder))


def kill_worker(kind: str) -> Injection:
    """SIGKILL of a reward or sample worker at whatever it is doing."""

    def inject(run: Repeated, server: Server, random: Random) -> Injected | None:
        before = run.workers(kind)
        worker = random.choice(before)
        os.kill(worker, signal.SIGKILL)
        return Injected(worker, lambda: _new(run, kind, before))

    return inject


def kill_worker_mid_call(kind: str) -> Injection:
    """SIGSTOP, and SIGKILL when the learner stands still: it waits for that worker's answer."""

    def inject(run: Repeated, server: Server, random: Random) -> Injected | None:
        learner, before = run.learner(), run.workers(kind)
        if learner is None:
            return None
        worker = random.choice(before)
        os.kill(worker, signal.SIGSTOP)
        deadline = time.monotonic() + 60
        waits = False
        while not waits and time.monotonic() < deadline:
            waits = stands_still(run, learner)
        os.kill(worker, signal.SIGKILL)
        return Injected(worker, lambda: _new(run, kind, before), mid_call=waits)

    return inject


def stands_still(run: Repeated, learner: int) -> bool:
    """Whether a living learner neither computes nor gets on; looks for ``LOOK`` seconds."""
    position, before = run.position(), _cpu_seconds(learner)
    time.sleep(LOOK)
    return (
        bool(alive({learner}))
        and _cpu_seconds(learner) - before < STANDS_STILL * LOOK
        and run.position() == position
    )


def kill_driver(run: Repeated, server: Server, random: Random) -> Injected:
    """SIGKILL, and the same command at once."""
    driver = run.driver()
    left = descendants(driver.pid)
    driver.kill()
    driver.wait()
    run.start()
    return Injected(driver.pid, lambda: _trains(run), left=left)


def terminate_driver(run: Repeated, server: Server, random: Random) -> Injected | None:
    """SIGTERM, which must end it in order, and the same command."""
    driver = run.driver()
    left = descendants(driver.pid)
    driver.terminate()
    status = driver.wait(PATIENCE)
    assert status == SIGTERM_STATUS, f"status {status} after SIGTERM: {run.log}"
    run.start()
    return Injected(driver.pid, lambda: _trains(run), left=left)


def restart_server(run: Repeated, server: Server, random: Random) -> Injected:
    """SIGKILL of the MLflow server, and a new one a while later."""
    before = server.kill()
    time.sleep(DOWN)
    server.start()
    return Injected(before, lambda: server.process.pid if server.process else None)


def _with(kind: str, sampling: str) -> Callable[[Repeated], bool]:
    """Workers of a kind are in use: in the stages with rewards, where samples are drawn there."""
    return lambda run: run.position().stage > 0 and run.sampling == sampling and len(run.workers(kind)) == 2


def _goes_on(run: Repeated) -> bool:
    """The run will not end while MLflow is away: what it lacks then, only the same command would bring."""
    return run.position() < run.end._replace(step=run.end.step * 3 // 4)


def _always(run: Repeated) -> bool:
    return True


SCORED = _with("reward worker", "learner")
DRAWN = _with("sample worker", "remote")
KINDS = (
    Kind("SIGKILL learner", kill_learner, _always),
    Kind("SIGKILL learner, mid-checkpoint", kill_learner_mid_checkpoint, _always, share=2),
    Kind("SIGKILL reward worker", kill_worker("reward worker"), SCORED),
    Kind("SIGKILL reward worker, mid-call", kill_worker_mid_call("reward worker"), SCORED, share=2),
    Kind("SIGKILL sample worker", kill_worker("sample worker"), DRAWN),
    Kind("SIGKILL sample worker, mid-call", kill_worker_mid_call("sample worker"), DRAWN, share=2),
    Kind("SIGKILL driver, command repeated", kill_driver, _always),
    Kind("SIGTERM driver, command repeated", terminate_driver, _always),
    Kind(f"SIGKILL MLflow server, back {DOWN:g} s later", restart_server, _goes_on),
)


def _trains(run: Repeated) -> int | None:
    """Id of the driver, once there is a learner below it."""
    return run.driver().pid if run.learner() is not None else None


def _new(run: Repeated, kind: str, before: list[int]) -> int | None:
    return next((p for p in run.workers(kind) if p not in before), None)


def _state(process_id: int) -> str:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


def _cpu_seconds(process_id: int) -> float:
    """Processor time that a process has used; 0 where it is gone."""
    try:
        fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
