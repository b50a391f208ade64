"""An hour of ERAC with a fault every minute, beside undisturbed runs that it must end equal to.

``make soak``, or ``python -m tests.integration.faults.soak --minutes 60 --seed 1 --place FOLDER``. One round
after another is begun until the time is over: a whole training with the next seed, and its undisturbed twin.
``events.jsonl`` and ``memory.csv`` in the folder are written as it goes, and ``report.md`` at the end;
``--report`` writes that of a soak that broke off.
Status 1 where a fault was not recovered from, or the runs differ.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

from tests.integration.faults import soak_comparison
from tests.integration.faults.conftest import alive, descendants
from tests.integration.faults.soak_faults import KINDS, Injected, Kind
from tests.integration.faults.soak_memory import Recorder
from tests.integration.faults.soak_report import report
from tests.integration.faults.soak_run import (
    CHECKPOINT_SECONDS,
    PATIENCE,
    Position,
    Repeated,
    Server,
    updates_of,
    workflow,
)

JITTER = 0.25
"""Share of the period by which a fault comes earlier or later at most."""
ORPHANS = 60.0
"""After which nothing may be left of a killed command [s]."""
UNFINISHED = 1
"""Status of a command that may be repeated: learners were lost more often than they are restarted, say."""

DIVERGED = 3
"""Status of a command whose last stage has diverged, as that of the undisturbed run then must, too."""
REPETITIONS = 3
"""Times that a command is repeated without getting on: a busy machine may be too slow for Ray's start."""


class LostError(Exception):
    """A run that a fault has stopped for good."""


class Soak:
    """Disturbs one run after another until the time is over and the last of them has finished.

    Args:
        place: a new folder for all that it writes.
        homes: folders with short paths for Ray, of the disturbed and of the undisturbed runs.
        options: of the command line.
    """

    def __init__(self, place: Path, homes: Sequence[Path], options: argparse.Namespace) -> None:
        self._place, self._homes, self._options = place, homes, options
        self._events = (place / "events.jsonl").open("w", encoding="utf-8")
        self._random = Random(options.seed)
        self._bag: list[Kind] = []
        self._left: list[tuple[float, set[int]]] = []
        self._gave_up: list[Position] = []
        self._round = options.first - 1
        self.server = Server(place)
        self.runs: dict[str, Repeated] = {}

    @property
    def run(self) -> Repeated:
        """The one that is disturbed."""
        return self.runs["disturbed"]

    def all_rounds(self) -> None:
        """Begin rounds as long as there is time, and finish the last."""
        options = self._options
        self.tell("began", minutes=options.minutes, seed=options.seed, interval=CHECKPOINT_SECONDS)
        end = time.monotonic() + 60 * options.minutes
        recorder = Recorder(self._place / "memory.csv", self.processes)
        try:
            while self._round < options.first or time.monotonic() < end:
                self._one_round()
        except LostError as loss:
            self.tell("lost", why=str(loss), log=str(self.run.log))
        finally:
            recorder.close()

    def _one_round(self) -> None:
        self._round += 1
        updates, place = updates_of(self._options.scale), self._place / f"round-{self._round}"
        with ExitStack() as held:
            for name, home in zip(("disturbed", "undisturbed"), self._homes, strict=True):
                uri = self.server.uri if name == "disturbed" else None
                of = workflow(place / name, home, updates, self._round, uri)
                self.runs[name] = Repeated(of, self._round)
                held.callback(self.runs[name].close)
            self.tell("round", number=self._round, sampling=self.run.sampling, updates=updates)
            self.run.start()
            while self.run.position().step == 0:  # no fault before there is something to lose
                if self._ended():
                    raise LostError("the run ended before its first fault")
                time.sleep(0.2)
            self.runs["undisturbed"].start()
            self.disturb()
            diverged = self.run.driver().wait() == DIVERGED
            self.tell("finished", number=self._round, commands=self.run.commands, diverged=diverged)
            self._await_undisturbed(DIVERGED if diverged else 0)
        self._compare(diverged)

    def _await_undisturbed(self, expected: int) -> None:
        run = self.runs["undisturbed"]
        while (status := run.driver().wait()) != expected:
            if status != UNFINISHED or run.commands > REPETITIONS:
                raise LostError(f"the undisturbed run ended with status {status}")
            run.start()

    def _compare(self, diverged: bool) -> None:
        mine, theirs = (self.runs[name].of for name in ("disturbed", "undisturbed"))
        last_stage = mine.stage(list(mine.updates)[-1])
        waits, written, size = soak_comparison.cost_of_a_checkpoint(last_stage)
        self.tell("checkpoint", learner_waits=waits, written=written, bytes=size)
        self.tell(
            "compared",
            number=self._round,
            difference=soak_comparison.difference(mine, theirs, diverged=diverged),
            undelivered=list(soak_comparison.undelivered(mine, self.server.database)),
        )

    def tell(self, what: str, **details: object) -> None:
        """Write an event."""
        self._events.write(json.dumps({"time": time.time(), "event": what, **details}) + "\n")
        self._events.flush()
        print(time.strftime("%H:%M:%S"), what, *(f"{k}={v}" for k, v in details.items()), flush=True)

    def processes(self) -> dict[str, tuple[str, list[int]]]:
        """Stage and processes of the present runs and of the server, for the record of their memory."""
        found = {}
        for name, run in tuple(self.runs.items()):
            if run.process is not None:
                driver = run.process.pid
                found[f"{self._round} {name}"] = run.stage(), [driver, *descendants(driver)]
        if self.server.process is not None:
            server = self.server.process.pid
            found["server"] = "", [server, *descendants(server)]
        return found

    def disturb(self) -> None:
        """Inject a fault every minute, or half a minute after the last is overcome, until the run ends."""
        moment = time.monotonic() + self._pause()
        while not self._finished_before(moment):
            self._look_for_orphans()
            kind, injected_at = self._next_kind(), time.monotonic()
            try:
                injected = kind.inject(self.run, self.server, self._random)
            except ProcessLookupError:  # it has just ended
                injected = None
            except AssertionError as error:
                raise LostError(f"{kind.name}: {error}") from error
            if injected is not None:
                self._left.append((time.monotonic() + ORPHANS, injected.left))
                self._recover(kind, injected, injected_at)
            moment = max(injected_at + self._pause(), time.monotonic() + self._options.period / 2)

    def _pause(self) -> float:
        return self._options.period * (1 + self._random.uniform(-JITTER, JITTER))

    def _next_kind(self) -> Kind:
        """The next that is possible now of a shuffled bag of all kinds, each as often as its share."""
        possible = [kind for kind in self._bag if kind.possible(self.run)]
        if not possible:
            bag = [kind for kind in KINDS for _ in range(kind.share)]
            self._bag += self._random.sample(bag, len(bag))
            possible = [kind for kind in self._bag if kind.possible(self.run)]
        self._bag.remove(possible[0])
        return possible[0]

    def _recover(self, kind: Kind, injected: Injected, injected_at: float) -> None:
        """Wait until the process was replaced and the training is further than it was."""
        started = time.monotonic()
        at = reached = self.run.position()
        replaced, finished = None, False
        while not finished and not (replaced and self.run.position() > reached):
            if time.monotonic() > started + PATIENCE:
                break
            if not replaced:  # what lives on after a killed driver, or was on its way, does not count
                replaced, reached = injected.replaced(), self.run.position()
            time.sleep(0.2)
            finished = self._ended()
        recovered = finished or (replaced not in (None, injected.before) and self.run.position() > reached)
        self.tell(
            "fault",
            round=self._round,
            kind=kind.name,
            stage=list(self.run.of.updates)[at.stage],
            step=at.step,
            before=injected.before,
            after=replaced,
            mid_call=injected.mid_call,
            mid_checkpoint=injected.mid_checkpoint,
            recovered=recovered,
            injected_at=round(time.time() - time.monotonic() + injected_at, 1),
            seconds=round(time.monotonic() - started, 1),
        )
        if not recovered:
            raise LostError(f"{kind.name} at {at}: not further after {PATIENCE:g} s")

    def _ended(self) -> bool:
        """Whether the run has ended; a command that gave up, or could not start Ray, is repeated."""
        status = self.run.driver().poll()
        if status in (None, 0, DIVERGED):
            return status is not None
        said = self.run.log.read_text().splitlines()[-1:]
        self.tell("gave up", round=self._round, status=status, said=said, log=self.run.log.name)
        self._gave_up.append(self.run.position())
        if status != UNFINISHED or self._gave_up.count(self.run.position()) > REPETITIONS:
            raise LostError(f"status {status}: {said}")
        self.run.start()
        return False

    def _finished_before(self, moment: float) -> bool:
        """Wait; a run that only has to be scored is let go, lest it be trained afresh after its end."""
        while time.monotonic() < moment or self.run.position() == self.run.end:
            if self._ended():
                return True
            time.sleep(0.2)
        return False

    def _look_for_orphans(self) -> None:
        """Tell of processes of killed commands that are still there a minute later."""
        now = time.monotonic()
        for due, process_ids in [left for left in self._left if left[0] < now and left[1]]:
            self._left.remove((due, process_ids))
            self.tell("orphans", of=len(process_ids), left=sorted(alive(process_ids)))


def _home() -> Any:
    """A home folder with a short path, which Ray's sockets need."""
    return tempfile.TemporaryDirectory(prefix="rsq", dir="/tmp", ignore_cleanup_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60, help="after which no round begins")
    parser.add_argument("--seed", type=int, default=1, help="of the moments and the order of the faults")
    parser.add_argument("--period", type=float, default=60, help="between two faults, on the average [s]")
    parser.add_argument(
        "--first", type=int, default=1, help="number of the first round; of even ones workers draw"
    )
    parser.add_argument("--scale", type=float, default=1, help="of the number of updates in a round")
    parser.add_argument("--place", type=Path, required=True, help="a new folder for all that it writes")
    parser.add_argument(
        "--report", action="store_true", help="write the report of what is there, and no more"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what it started ends with it
    place = options.place.resolve()
    if not options.report:
        if place.exists():
            parser.error(f"{place} is there already: name a new folder")
        place.mkdir(parents=True)
        with _home() as home, _home() as other_home:
            it = Soak(place, (Path(home), Path(other_home)), options)
            with it.server as server:
                server.start()
                it.all_rounds()
    text, good = report(place)
    (place / "report.md").write_text(text)
    print(text)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
