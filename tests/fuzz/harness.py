"""What a fuzz target is, and what a reader does with one bad input.

A reader may take an input or refuse it with `UserError`, in one line that names a file and says what to do.
Anything else is a finding: another exception, a line that says too little, more than `LIMIT` seconds of work.
"""

from __future__ import annotations

import os
import shutil
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal

from raysq.config import UserError

LIMIT = 5.0
"""A reader that computes longer over a tiny input hangs. [seconds]"""
PATIENCE = 6
"""So many times longer may it wait, for a busy machine; for ever it waits where nothing ever comes."""
LONGEST = 1000
"""Longest message. [characters]"""
Oddity = Literal["missing", "folder", "dangling link", "link to itself", "pipe", "unreadable"]
"""What lies in a file's place."""
Changes = Mapping[str, bytes | Oddity]
"""Files of a valid input that are other than they should be, by path in its folder."""


@dataclass(frozen=True)
class Target:
    """A reader and what it reads. Functions of a module, so that another process can have them."""

    name: str
    modules: tuple[str, ...]
    """Dotted names of the readers whose line coverage is printed."""
    make: Callable[[Path], object]
    """Writes a tiny valid input into an empty folder, always the same."""
    read: Callable[[Path], object]
    """Reads it to the end by what commands call. What that writes goes beside the folder."""
    dictionary: tuple[bytes, ...] = ()
    """What bad inputs are sprinkled with."""
    mend: Callable[[Path], object] | None = None
    """Makes sizes and checksums of a changed input right, so that what they protect is read."""
    inside: tuple[str, ...] = ()
    """Names of files in an archive, by which a message may say where in it."""


@dataclass(frozen=True)
class Outcome:
    """What a reader did."""

    kind: Literal["accepted", "refused", "finding"]
    said: str = ""
    """The refusal, or what was found."""


class Hang(BaseException):
    """A reader takes too long."""


def snapshot(folder: Path) -> dict[str, bytes]:
    """The files below a folder by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def valid_input(target: Target, base: Path) -> dict[str, bytes]:
    """The files of a target's valid input, which its reader takes."""
    folder = _emptied(base)
    target.make(folder)
    files = snapshot(folder)
    target.read(folder)
    return files


def attempt(
    target: Target,
    valid: Mapping[str, bytes],
    changes: Changes,
    base: Path,
    *,
    mended: bool = False,
    limit: float = LIMIT,
) -> Outcome:
    """Let a reader read a valid input with changes, in the folder ``base``, which is emptied before."""
    folder = _emptied(base)
    write(folder, valid, changes)
    try:
        with _at_most(limit):
            if mended and target.mend is not None:
                target.mend(folder)
            target.read(folder)
    except UserError as error:
        wrong = fault_of(str(error), {*valid, *changes, *target.inside}, base)
        return Outcome("finding", f"{wrong}: {error}") if wrong else Outcome("refused", str(error))
    except Hang:
        return Outcome("finding", f"computes for more than {limit} s, or waits for {PATIENCE * limit} s")
    except Exception:
        return Outcome("finding", traceback.format_exc())
    return Outcome("accepted")


def fault_of(message: str, names: set[str], base: Path) -> str | None:
    """What a refusal lacks: a file's name or a path below ``base``, a remedy, the form of a readable line."""
    if not message.isprintable():
        return "the message is not one line of printable text"
    if len(message) > LONGEST:
        return f"the message has {len(message)} characters"
    if str(base) not in message and not any(Path(name).name in message for name in names):
        return "the message names no file"
    if not any(sign in message for sign in (": ", "; ", " must ")):
        return "the message says no remedy"
    return None


def write(folder: Path, valid: Mapping[str, bytes], changes: Changes) -> None:
    """Write the files of a valid input, changed ones as they are to be."""
    for name, content in {**valid, **changes}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        match content:
            case bytes():
                path.write_bytes(content)
            case "folder":
                path.mkdir()
            case "dangling link":
                path.symlink_to("nowhere")
            case "link to itself":
                path.symlink_to(path.name)
            case "pipe":
                os.mkfifo(path)
            case "unreadable":
                path.write_bytes(valid[name])
                path.chmod(0)
            case "missing":
                pass


def _emptied(base: Path) -> Path:
    """The folder of an input in ``base``, which holds nothing else."""
    shutil.rmtree(base, ignore_errors=True)
    folder = base / "input"
    folder.mkdir(parents=True)
    return folder


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raises Hang in this thread, the main one, after some time; library code that never returns goes on."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang

    timers = ((signal.ITIMER_PROF, signal.SIGPROF, 1), (signal.ITIMER_REAL, signal.SIGALRM, PATIENCE))
    before = [signal.signal(number, ring) for _, number, _ in timers]
    for timer, _, times in timers:
        signal.setitimer(timer, times * seconds)
    try:
        yield
    finally:
        for (timer, number, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)
