"""What is soaked: ERAC on the demo task and an MLflow server, as real processes that can be started again."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import NamedTuple

from raysq.training import journal
from tests.integration.faults.conftest import (
    Run,
    alive,
    command_line,
    descendants,
    environment,
    free_ports,
    learners,
    running,
    within,
)

UPDATES = {"mle": 800, "critic": 1000, "erac": 1600}
"""Of each stage in one round: five minutes of an otherwise idle machine."""
CHECKPOINT_SECONDS = 12.0
SAMPLING = ("learner", "remote")
"""Who draws the policy's samples, in turn round by round. Reward workers score what the learner draws, sample
workers what they draw themselves. In one run the two would agree to rounding only: where the learner draws it
keeps what the encoder has computed."""
PATIENCE = 600.0
"""For what takes seconds on an idle machine [s]."""


class Position(NamedTuple):
    """How far a training is, by its journals."""

    stage: int
    """Index into the stages."""
    step: int


def updates_of(scale: float) -> dict[str, int]:
    """Updates of each stage, multiples of 20 so that the last line of each journal tells its end."""
    return {name: max(60, round(scale * updates / 20) * 20) for name, updates in UPDATES.items()}


def sampling_of(number: int) -> str:
    """Who draws samples in the round of a number, from 1."""
    return SAMPLING[(number - 1) % 2]


def settings(updates: Mapping[str, int], number: int) -> list[str]:
    """Options of ``workflows/erac.py`` in a round: small networks, and nothing that ends a stage early."""
    options = [
        "--task=demo",
        f"--seed={number}",
        f"--sampling={sampling_of(number)}",
        "--num-learners=1",
        "--num-reward-workers=2",
        "--num-sample-workers=2",
        "--threads-per-learner=1",
        "--reuse=never",
        f"--checkpoint-minutes={CHECKPOINT_SECONDS / 60:g}",
        "--network.hidden-size=64",
        "--network.embedding-size=64",
        "--decoding.max-length=16",
        "--decoding.beam-size=1",
        "--mle.optimizer=adam",
        "--mle.learning-rate=0.005",
    ]
    for name, count in updates.items():
        options += [f"--{name}.max-updates={count}", f"--{name}.evaluate-every={max(count // 8, 20)}"]
        options += [f"--{name}.max-epochs=1000000", f"--{name}.max-decays=1000000"]
    return options


def workflow(place: Path, home: Path, updates: Mapping[str, int], number: int, uri: str | None = None) -> Run:
    """The workflow of a round.

    Args:
        place: folder of its results, store, data and logs.
        home: folder with a short path for Ray.
        updates: of each stage.
        number: of the round.
        uri: of an MLflow server; None for the SQLite file in ``place``.
    """
    tracking = [f"--tracking-uri={uri}"] if uri else []
    command = ["workflows/erac.py", *settings(updates, number), *tracking]
    return Run(command, updates, environment(home), place)


class Repeated:
    """A workflow whose command may be started again and again, in a folder that it makes."""

    def __init__(self, of: Run, number: int) -> None:
        of.place.mkdir(parents=True)
        self.of, self.sampling = of, sampling_of(number)
        self.end = Position(len(of.updates) - 1, list(of.updates.values())[-1])
        self.commands = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._held = ExitStack()
        self._read: dict[Path, int] = {}
        self._furthest = Position(0, 0)

    @property
    def log(self) -> Path:
        """What the present command printed."""
        return self.of.place / f"command-{self.commands:02d}.txt"

    def start(self) -> None:
        """Start the command; once more where it was started before."""
        self.commands += 1
        command = [sys.executable, *self.of.command, f"--output-dir={self.of.place / 'run'}"]
        self.process = self._held.enter_context(running(command, self.of.env, self.log))

    def driver(self) -> subprocess.Popen[bytes]:
        """The process of the present command."""
        assert self.process is not None
        return self.process

    def close(self) -> None:
        """End the command, if it runs, and everything below it."""
        self._held.close()

    def position(self) -> Position:
        """The furthest line of its journals; what a restart does again does not take it back."""
        for number, name in enumerate(self.of.updates):
            for path in self.of.place.glob(f"stages/{name}-*/journal.jsonl"):
                records, self._read[path] = journal.read(path, self._read.get(path, 0))
                for record in records:
                    self._furthest = max(self._furthest, Position(number, record.step))
        return self._furthest

    def stage(self) -> str:
        """Name of the stage it is in."""
        return list(self.of.updates)[self.position().stage]

    def learner(self) -> int | None:
        """Id of the learner's process, where there is one."""
        return next(iter(learners(self.driver().pid)), None)

    def workers(self, kind: str) -> list[int]:
        """Ids of the reward or sample workers that have been started."""
        title = f"ray::{kind.title().replace(' ', '')}".encode()
        return sorted(p for p in descendants(self.driver().pid) if command_line(p).startswith(title))


class Server(AbstractContextManager["Server"]):
    """``mlflow server`` on a SQLite file, which can be killed and started again on the same port."""

    def __init__(self, place: Path) -> None:
        (self._port,) = free_ports(1)
        self.uri = f"http://127.0.0.1:{self._port}"
        self.database = place / "server.db"
        self._place = place
        self._held = ExitStack()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--workers=1", f"--port={self._port}"]
        command += [f"--backend-store-uri=sqlite:///{self.database}"]
        command += [f"--artifacts-destination={self._place / 'artifacts'}"]
        env = environment(self._place) | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # ten processes more
        log = self._place / f"server-{time.monotonic():.0f}.txt"
        self.process = self._held.enter_context(running(command, env, log))
        within(PATIENCE, "the MLflow server answers", self._answers)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def kill(self) -> int:
        """SIGKILL, for the processes below it too; returns the server's id."""
        assert self.process is not None
        below = descendants(self.process.pid)
        self._held.close()
        within(PATIENCE, "the MLflow server is gone", lambda: not alive(below))
        return self.process.pid

    def __exit__(self, *exception: object) -> None:
        self._held.close()
