"""A folder that appears when it is complete: what interrupted work left behind lies beside it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raysq.claim import Claim, claim, holder
from raysq.config import UserError
from raysq.disk import full_disk_told
from raysq.files import sync


def occupied(folder: Path) -> bool:
    """Whether something is there already; an empty folder is nothing."""
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


@contextmanager
def workplace(folder: Path, what: str, *, resumable: bool = True, patience: float = 0.0) -> Iterator[Path]:
    """A hidden folder beside ``folder`` for this command alone.

    ``data`` in it is what `publish` makes ``folder`` of; the rest is scratch.

    Args:
        folder: where the outcome will be.
        what: how a message names the work.
        resumable: what it holds stays until ``folder`` is there, for the same command to go on; else it is
            empty at first and gone at the end.
        patience: how long to wait for another command that does the same work. [seconds]

    Raises:
        UserError: another live command does the same work, or the disk refuses or is full.
    """
    hidden = folder.with_name(f".{folder.name}.partial")
    held = _claimed(hidden, what, time.monotonic() + patience)
    try:
        with full_disk_told(folder):
            if not resumable:
                shutil.rmtree(hidden / "data", ignore_errors=True)
            (hidden / "data").mkdir(exist_ok=True)
            try:
                yield hidden
            except KeyboardInterrupt as stop:
                if resumable:
                    stop.add_note("repeat the command to continue")
                raise
    finally:
        if not resumable or occupied(folder) or not _holds_work(hidden):
            shutil.rmtree(hidden, ignore_errors=True)
        held.close()


def _claimed(hidden: Path, what: str, until: float) -> Claim:
    """The claim, once no other command has it. Raises UserError where one has at ``until``."""
    while True:
        while _in_use(hidden) and time.monotonic() < until:
            time.sleep(0.2)
        try:
            return claim(hidden, what, "wait for it, or give another --output-dir")
        except UserError:
            if time.monotonic() >= until or not _in_use(hidden):
                raise
            # another that waited was first


def _in_use(hidden: Path) -> bool:
    return hidden.is_dir() and holder(hidden) is not None


def _holds_work(hidden: Path) -> bool:
    return any(path.is_file() for path in hidden.rglob("*") if path.name != "claim")


def publish(hidden: Path, folder: Path) -> None:
    """Give what is in ``data`` of a workplace its name, once all of it is on the disk itself."""
    for path in (*(hidden / "data").rglob("*"), hidden / "data"):
        sync(path)
    os.rename(hidden / "data", folder)
    sync(folder.parent)
