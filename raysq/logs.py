"""Log lines that say where they come from: which run, which stage, which process.

A command prints for people (``raysq.terminal``): with ``--log-format json`` each of its lines is an object
instead, fit for what collects logs. Learners and workers sign every line in either format; theirs lie in
Ray's files.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, TextIO

LogFormat = Literal["text", "json"]
"""text: a line for people; json: an object a line."""


@dataclass(frozen=True, slots=True)
class Sender:
    """What a process says of itself in its log lines and measurements."""

    run: str = ""
    """Id of the run in MLflow; none: it has not been opened yet."""
    stage: str = ""
    """That it works on; none: on none, or on all."""
    process: str = "driver"
    log_format: LogFormat = "text"

    def labels(self) -> dict[str, str]:
        """Run, stage and process by name."""
        return {"run": self.run, "stage": self.stage, "process": self.process}


_process = Sender()
"""Of this process."""


class _Thread(threading.local):
    stage: str | None = None
    """What this thread works on; none: what the process does."""


_thread = _Thread()


def sender() -> Sender:
    """Who sends what this thread writes and measures."""
    return _process if _thread.stage is None else replace(_process, stage=_thread.stage)


def enter(*, run: str | None = None, stage: str | None = None) -> None:
    """From now on this process works for a run, or on a stage."""
    global _process
    if run is not None:
        _process = replace(_process, run=run)
    if stage is not None:
        _process = replace(_process, stage=stage)


@contextmanager
def about(stage: str) -> Iterator[None]:
    """What this thread writes and measures in the block is about a stage."""
    before, _thread.stage = _thread.stage, stage
    try:
        yield
    finally:
        _thread.stage = before


def begin(by: Sender) -> None:
    """Sign what this process logs, on stderr: a learner, a worker or a trial, whose lines Ray keeps."""
    global _process
    _process = by
    handler = logging.StreamHandler()
    handler.setFormatter(_Objects() if by.log_format == "json" else _Signed())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)  # Ray Train has put its own there


def begin_command(log_format: LogFormat, *, verbose: bool) -> None:
    """Have this command log: warnings, and with ``verbose`` all else."""
    global _process
    _process = Sender(log_format=log_format)
    handler = logging.StreamHandler(_beneath(sys.stderr))
    handler.setFormatter(_Objects() if log_format == "json" else logging.Formatter("%(message)s"))
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, handlers=[handler], force=log_format == "json")


@contextmanager
def structured(log_format: LogFormat) -> Iterator[None]:
    """Make each line printed in the block, whoever prints it, an object; with ``text`` nothing changes.

    A fault of the program is one object too, its traceback in the message, and ends with status 1.
    """
    if log_format == "text":
        yield
        return
    before = sys.stdout, sys.stderr
    printed = _Lines(sys.stdout), _Lines(sys.stderr)
    sys.stdout, sys.stderr = printed
    try:
        yield
    except Exception:
        before[1].write(_as_object("ERROR", traceback.format_exc().strip(), time.time()) + "\n")
        raise SystemExit(1) from None
    finally:
        for stream in printed:
            stream.finish()
        sys.stdout, sys.stderr = before


class _Signed(logging.Formatter):
    """A line of text that begins with time, level, run, stage and process."""

    def format(self, record: logging.LogRecord) -> str:
        signed = " ".join(f"{name}={value or '-'}" for name, value in sender().labels().items())
        return f"{self.formatTime(record)} {record.levelname} {signed} {super().format(record)}"


class _Objects(logging.Formatter):
    """A JSON object in one line."""

    def format(self, record: logging.LogRecord) -> str:
        return _as_object(record.levelname, super().format(record), record.created)


def _as_object(level: str, message: str, created: float) -> str:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created)) + f".{int(created % 1 * 1000):03d}Z"
    return json.dumps({"time": moment, "level": level, **sender().labels(), "message": message})


class _Lines(io.TextIOBase):
    """A stream whose lines become objects, the empty ones left out; threads do not mix theirs."""

    def __init__(self, beneath: TextIO) -> None:
        self.beneath = beneath
        self._begun = threading.local()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """As of the stream beneath."""
        return self.beneath.encoding

    def write(self, text: str) -> int:
        """Write what is complete of it; the rest waits for its end."""
        *lines, self._begun.line = (getattr(self._begun, "line", "") + text).split("\n")
        for line in filter(str.strip, lines):
            self.beneath.write(_as_object(_level(line), line.rstrip(), time.time()) + "\n")
        return len(text)

    def finish(self) -> None:
        """Write a line of this thread that nobody has ended."""
        self.write("\n")
        self.flush()

    def flush(self) -> None:
        """Flush the stream beneath."""
        self.beneath.flush()

    def fileno(self) -> int:
        """Of the stream beneath, for what writes past Python."""
        return self.beneath.fileno()


def _beneath(stream: TextIO) -> TextIO:
    return stream.beneath if isinstance(stream, _Lines) else stream


def _level(line: str) -> str:
    """Of a printed line, by how it begins."""
    kind = line.partition(":")[0]
    return kind.upper() if kind in ("error", "warning") else "INFO"
