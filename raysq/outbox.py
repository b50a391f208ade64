"""What MLflow did not take of a command's runs: kept in the command's output folder until it does.

Training never waits for MLflow. Where it is away at the end, ``undelivered.json`` names the journals whose
metrics it misses and holds what would have closed the runs. The next command on this output folder sends all
of it first, and so does ``python workflows/runs.py --run FOLDER --deliver``.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ConfigDict

from raysq.addresses import written
from raysq.config import UserError
from raysq.delivery import Undelivered, deliver
from raysq.files import replace_json
from raysq.records import Record, read_record
from raysq.terminal import as_started
from raysq.tracking import Tracker, Update, errors, one_line, refused, without_credentials

UNDELIVERED = "undelivered.json"
PAUSE = 60.0
"""Seconds for which nothing is tried after MLflow was away: each call could wait for its time-out."""
T = TypeVar("T", Undelivered, Update)


class Kept(Record):
    """undelivered.json of an output folder."""

    remedy = "remove it to give up what MLflow misses"
    model_config = ConfigDict(ser_json_inf_nan="strings")

    tracking_uri: str
    """The store that misses it, without user and password."""
    journals: list[Undelivered]
    updates: list[Update]


class Outbox:
    """Sends updates of runs in their order, and keeps what MLflow does not take.

    Raises ``UserError`` where what is kept in ``output`` is damaged, or for another store than the tracker's,
    unless that is the same one, ``moved``.
    """

    def __init__(self, tracker: Tracker, output: Path, *, moved: bool = False) -> None:
        self._tracker = tracker
        self._output = output
        self._refused: dict[str, str] = {}
        self._error = ""
        self._next_attempt = 0.0
        uri = without_credentials(tracker.uri)
        self._kept = kept_in(output) or Kept(tracking_uri=uri, journals=[], updates=[])
        if self._kept.tracking_uri != uri and not moved:
            raise UserError(
                f"{output / UNDELIVERED} waits for MLflow at {self._kept.tracking_uri}, not {uri}: "
                f"{delivers(output)} brings it there; or remove the file to give it up"
            )

    def send(self, update: Update) -> bool:
        """Bring an update to MLflow, after what is kept, or keep it too; True where MLflow has it."""
        self._kept.updates.append(update)
        self._send_updates()
        return update not in self._kept.updates

    def keep(self, undelivered: Sequence[Undelivered]) -> None:
        """Keep journals that are not all in MLflow."""
        self._kept.journals += [one for one in undelivered if one not in self._kept.journals]
        self._store()

    def flush(self) -> None:
        """Send all that is kept: journals, too."""
        self._kept.journals = self._left(
            self._kept.journals, lambda one: deliver(self._tracker, one.journal, one.run_id)
        )
        self._send_updates()

    @property
    def missing(self) -> str:
        """What MLflow does not have, why, and the remedy, in one line; empty where it has everything."""
        if not (self._kept.journals or self._kept.updates):
            return ""
        uri = self._tracker.uri
        bare = without_credentials(uri)
        command = delivers(self._output)
        if bare != uri:
            command += " --tracking-uri " + bare.replace("://", "://USER:PASSWORD@")
        if not self._refused:
            reason = f" ({self._error})" if self._error else ""
            return (
                f"MLflow at {bare} does not have all of these runs: once it is back, {command} brings the "
                f"rest{reason}"
            )
        run_id, reason = next(iter(self._refused.items()))
        more = f" and {len(self._refused) - 1} more" if len(self._refused) > 1 else ""
        return (
            f"run {run_id}{more} cannot be completed in MLflow at {bare} ({reason}): restore what was "
            f"removed, a run by mlflow runs restore --run-id {run_id}, and repeat {command}; or remove "
            f"{self._output / UNDELIVERED} to give it up"
        )

    def _send_updates(self) -> None:
        self._kept.updates = self._left(self._kept.updates, self._tracker.send)
        self._store()

    def _left(self, items: Sequence[T], send: Callable[[T], None]) -> list[T]:
        """Those of some items that MLflow did not take: of a run that it refuses, or all once it is away."""
        left = []
        for item in items:
            if item.run_id in self._refused or time.monotonic() < self._next_attempt:
                left.append(item)
                continue
            try:
                send(item)
            except Exception as error:
                if not isinstance(error, (*errors(), UserError)):
                    raise
                left.append(item)
                if refused(error):
                    self._refused[item.run_id] = one_line(error)
                else:
                    self._error, self._next_attempt = one_line(error), time.monotonic() + PAUSE
        return left

    def _store(self) -> None:
        if self._kept.journals or self._kept.updates:
            replace_json(self._output / UNDELIVERED, json.loads(self._kept.model_dump_json()))
        else:
            (self._output / UNDELIVERED).unlink(missing_ok=True)


def kept_in(output: Path) -> Kept | None:
    """What is kept in an output folder; None: MLflow has everything. Raises UserError where it is damaged."""
    try:
        return read_record(output / UNDELIVERED, Kept)
    except FileNotFoundError:
        return None


def delivers(output: Path) -> str:
    """The command that brings to MLflow what is kept."""
    return f"{as_started('runs')} --run {shlex.quote(written(output))} --deliver"
