"""Metrics on disk: an append-only journal that survives a crash.

The learner's rank 0 writes the journal, one JSON object per line::

    {"step": 120, "time": 1767225600.5, "metrics": {"loss/mle": 3.25, "dev/bleu": "NaN"}}

It is the source of truth for metrics; what tracks runs (``raysq.tracking``) reads it and may lag behind or
be away. Numbers that JSON lacks are the strings "NaN", "Infinity" and "-Infinity", which ``float`` reads
back, so that every line stays strict JSON for other readers.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from raysq.config import UserError
from raysq.files import parse_json, regular, sync

_METRIC_NAME = re.compile(r"[\w.\-]+(/[\w.\-]+)*", re.ASCII)
"""Names that MLflow takes: a slash groups, nothing else is special."""
_BLOCK = 1 << 16
_MOST, _LATEST = 1 << 63, 1 << 40
"""Bounds of steps, and of times [s]: tracking stores have 64 bits for steps and for milliseconds."""


@dataclass(frozen=True, slots=True)
class Record:
    """What one ``Journal.write`` recorded."""

    step: int
    """Updates done in this stage."""
    time: float
    """Seconds since the epoch, when it was written."""
    metrics: dict[str, float]


class Journal:
    """Appends metrics to a file of JSON lines; who has it open is the one who writes to the stage's folder.

    A learner whose driver was killed lives on for some seconds: the next one waits for its end. A line cut
    short by a crash is removed when the next writer opens the journal. After a restart the replayed steps
    are appended again: readers keep the first record of a step.

    Raises ``UserError`` where the file cannot be opened, another writer does not end within
    ``patience_seconds``, or the disk is full.
    """

    def __init__(self, path: Path, patience_seconds: float = 60.0) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            created = not path.exists()
            self._file: BinaryIO = path.open("ab")
            self._hold(time.monotonic() + patience_seconds)
            if (complete := end(path)) < path.stat().st_size:  # truncating would make a whole one younger
                self._file.truncate(complete)
            if created:
                sync(path.parent)
        except OSError as error:
            raise self._unwritable(error) from error

    def _hold(self, deadline: float) -> None:
        """Lock the file; the lock ends with this process, however it ends."""
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    self._file.close()
                    raise UserError(
                        f"another learner is still writing to {self.path.parent}: "
                        "end it, then repeat the command"
                    ) from None
                time.sleep(0.1)
            else:
                return

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one record; readers see it when this returns.

        Raises ``ValueError`` for a name that no tracking store would take (letters, digits, ``_ . -``,
        grouped by single slashes).
        """
        for name in metrics:
            if not _METRIC_NAME.fullmatch(name):
                raise ValueError(f"metric name {name!r}: use letters, digits, '_', '.', '-' and single '/'")
        values = {name: _to_json(float(value)) for name, value in metrics.items()}
        line = json.dumps({"step": step, "time": time.time(), "metrics": values}, allow_nan=False)
        try:
            self._file.write(line.encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise self._unwritable(error) from error

    def sync(self) -> None:
        """Bring everything written to the disk itself; for evaluations and checkpoints."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Sync and close; a second call does nothing."""
        if self._file.closed:
            return
        try:
            self.sync()
        finally:
            self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(
            f"cannot write the metrics journal {self.path}: {error.strerror or error}; "
            "free space or make it writable and repeat the command, which continues from the last checkpoint"
        )


def read(path: Path, from_offset: int = 0, at_least: int | None = None) -> tuple[list[Record], int]:
    """The complete records from byte ``from_offset`` on, and the offset after the last of them.

    ``at_least`` bounds the portion: reading stops at the first end of a line after that many bytes. A last
    line without its newline is still being written, or was cut short by a crash, and is left for later.

    Raises ``FileNotFoundError`` for a journal not yet begun and ``UserError`` for one that cannot be read, or
    has a complete line that is no record.
    """
    with _opened(path) as file:
        file.seek(from_offset)
        content = file.read() if at_least is None else file.read(at_least) + file.readline()
    records: list[Record] = []
    offset = from_offset
    for line in content[: content.rfind(b"\n") + 1].splitlines(keepends=True):
        records.append(_parse(line, path, offset))
        offset += len(line)
    return records, offset


def end(path: Path) -> int:
    """Offset after the last complete line; 0 for an empty journal. Raises as ``read``."""
    with _opened(path) as file:
        position = file.seek(0, os.SEEK_END)
        while position > 0:
            start = max(0, position - _BLOCK)
            file.seek(start)
            newline = file.read(position - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            position = start
    return 0


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with regular(path).open("rb") as file:
            yield file
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(
            f"metrics journal {path} cannot be read ({error.strerror}): make it readable"
        ) from error


def _to_json(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _parse(line: bytes, path: Path, offset: int) -> Record:
    try:
        fields = parse_json(line)
        metrics = {name: float(value) for name, value in fields["metrics"].items()}
        record = Record(int(fields["step"]), float(fields["time"]), metrics)
        if not (
            0 <= record.step < _MOST
            and 0 <= record.time < _LATEST
            and all(map(_METRIC_NAME.fullmatch, metrics))
        ):
            raise ValueError("out of range")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(
            f"metrics journal {path} is damaged at byte {offset}; move it away to go on without its metrics"
        ) from error
    return record
