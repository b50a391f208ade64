"""Brings metrics from the learners' journals to MLflow, each point once, without ever disturbing training."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from raysq.addresses import Place
from raysq.files import parse_json, regular, replace_json
from raysq.tracking import METRICS_PER_CALL, Point, Tracker, one_line, refused
from raysq.training.journal import Record, end, read

_PORTION = 1 << 18
"""Bytes of a journal delivered at a time."""
_LONGEST_PAUSE = 60.0
"""Seconds between attempts while MLflow is away."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A journal that is not all in MLflow yet."""

    journal: Place
    run_id: str


def deliver(tracker: Tracker, journal: Path, run_id: str) -> None:
    """Bring what is new in a journal to its run, from where an earlier process stopped.

    Raises MLflow's errors, some of it may then be stored; ``FileNotFoundError`` and ``UserError`` for a
    journal that is gone or damaged.
    """
    _tail(journal, run_id).deliver(tracker)


class Delivery:
    """Delivers journals to MLflow from a thread of the driver; the one writer of metrics.

    Each metric of a run gets each step once: steps replayed after a restart are dropped, and after a crash
    or a failed call MLflow itself is asked how far it came before anything is sent again. A journal's
    records of one metric must therefore not go back in step, except by a replay. Failures are retried with
    growing pauses, logged once per outage, and never reach the training.

    ``on_record(run_id, record)`` is called from the same thread for every record appended after ``add``
    (replays included); it serves the display of progress.
    """

    def __init__(
        self,
        tracker: Tracker,
        on_record: Callable[[str, Record], None] | None = None,
        poll_seconds: float = 1.0,
    ) -> None:
        self._tracker = tracker
        self._on_record = on_record
        self._poll_seconds = poll_seconds
        self._tails: list[_Tail] = []
        self._closing = threading.Event()
        self._deadline = 0.0
        self._thread = threading.Thread(target=self._run, name="mlflow-delivery", daemon=True)
        self._thread.start()

    def add(self, journal: Path, run_id: str) -> None:
        """Deliver ``journal``, which need not exist yet, to a run, from where an earlier process stopped."""
        if self._closing.is_set():
            raise RuntimeError("the delivery is closed")
        if any(tail.journal == journal for tail in self._tails):
            raise ValueError(f"{journal} is being delivered already")
        self._tails.append(_tail(journal, run_id))

    def close(self, timeout: float = 15.0) -> list[Undelivered]:
        """Deliver what is left, for at most ``timeout`` seconds; returns the runs that miss something."""
        self._deadline = time.monotonic() + timeout
        self._closing.set()
        self._thread.join(timeout)
        return [
            Undelivered(tail.journal, tail.run_id)
            for tail in self._tails
            if tail.journal.exists() and end(tail.journal) != tail.offset
        ]

    def _run(self) -> None:
        while not self._closing.wait(self._poll_seconds):
            for tail in tuple(self._tails):
                self._advance(tail)
        while True:
            delivered = [self._advance(tail) for tail in self._tails]
            if all(delivered) or time.monotonic() + self._poll_seconds > self._deadline:
                return
            time.sleep(self._poll_seconds)

    def _advance(self, tail: _Tail) -> bool:
        """Deliver what is new, unless a pause after a failure lasts; True where nothing is left to try."""
        if not tail.journal.exists():
            return True
        try:
            self._show(tail)
            if not self._closing.is_set() and time.monotonic() < tail.next_attempt:
                return False
            tail.deliver(self._tracker)
        except Exception as error:  # whatever it is, training goes on and the journal keeps the metrics
            if tail.error is None:
                _log.warning("metrics of run %s wait in %s: %s", tail.run_id, tail.journal, one_line(error))
            tail.error, tail.compared = one_line(error), False
            tail.pause = min(max(2 * tail.pause, self._poll_seconds), _LONGEST_PAUSE)
            tail.next_attempt = time.monotonic() + tail.pause
            return refused(error)
        if tail.error is not None:
            _log.warning("metrics of run %s are delivered again", tail.run_id)
        tail.error, tail.pause = None, 0.0
        return True

    def _show(self, tail: _Tail) -> None:
        if self._on_record is None:
            return
        records, tail.shown = read(tail.journal, tail.shown)
        try:
            for record in records:
                self._on_record(tail.run_id, record)
        except Exception:  # a display must not stop the delivery
            _log.exception("the display of progress failed and is switched off")
            self._on_record = None


@dataclass
class _Tail:
    """One journal, and how far it is delivered."""

    journal: Path
    run_id: str
    shown: int
    """Bytes that ``on_record`` has seen."""
    offset: int = 0
    """Bytes delivered."""
    steps: dict[str, int] = field(default_factory=dict)
    """High-water step of each metric: what is not beyond it is a replay."""
    compared: bool = False
    """Whether ``steps`` was compared with MLflow's since the start and since the last failure."""
    error: str | None = None
    pause: float = 0.0
    next_attempt: float = 0.0

    @property
    def state_file(self) -> Path:
        return self.journal.with_name(f"{self.journal.name}.delivered.json")

    def deliver(self, tracker: Tracker) -> None:
        """Send what is new. Raises MLflow's errors."""
        while True:
            records, offset = read(self.journal, self.offset, _PORTION)
            if not records:
                return
            if not self.compared:
                for name, step in tracker.last_steps(self.run_id).items():
                    self.steps[name] = max(step, self.steps.get(name, step))
                self.compared = True
            points = _new_points(records, self.steps)
            for start in range(0, len(points), METRICS_PER_CALL):
                sent = points[start : start + METRICS_PER_CALL]
                tracker.log_points(self.run_id, sent)
                self.steps.update({point.name: point.step for point in sent})
            self.offset = offset
            self.store()

    def restore(self) -> None:
        """Go on where an earlier process stopped; a state of another run, or damaged, counts for nothing."""
        try:
            state = parse_json(regular(self.state_file).read_bytes())
            if state["run_id"] == self.run_id:
                steps = {name: int(step) for name, step in state["steps"].items()}
                self.steps, self.offset = steps, max(0, int(state["offset"]))
        except FileNotFoundError:
            pass  # nothing was delivered yet
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
            _log.warning("%s is damaged; the journal is compared with MLflow from its start", self.state_file)

    def store(self) -> None:
        replace_json(self.state_file, {"run_id": self.run_id, "offset": self.offset, "steps": self.steps})


def _tail(journal: Path, run_id: str) -> _Tail:
    """A journal, which need not exist yet, from where an earlier process stopped."""
    tail = _Tail(journal, run_id, shown=end(journal) if journal.exists() else 0)
    tail.restore()
    if tail.offset > tail.shown:
        tail.offset = 0  # the journal was replaced, or lost its end; the steps tell what is new in it
    return tail


def _new_points(records: Sequence[Record], delivered: Mapping[str, int]) -> list[Point]:
    """The points of ``records`` beyond the delivered steps, each step of a metric once."""
    steps = dict(delivered)
    points = []
    for record in records:
        for name, value in record.metrics.items():
            if name not in steps or record.step > steps[name]:
                steps[name] = record.step
                points.append(Point(name, value, record.step, int(record.time * 1000)))
    return points
