"""A folder that appears when it is complete: what interrupted work left behind is found again beside it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raysq.claim import claim
from raysq.disk import full_disk_told
from raysq.files import sync_folder


def occupied(folder: Path) -> bool:
    """Whether something is there already; an empty folder is nothing."""
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


@contextmanager
def workplace(folder: Path, what: str) -> Iterator[Path]:
    """A hidden folder beside ``folder`` for this command alone; what it holds stays until that is there.

    ``data`` in it is what `publish` makes ``folder`` of; the rest is scratch.

    Args:
        folder: where the outcome will be.
        what: how a message names the work.

    Raises:
        UserError: another live command does the same work, or the disk refuses or is full.
    """
    hidden = folder.with_name(f".{folder.name}.partial")
    held = claim(hidden, what, "wait for it, or give another --output-dir")
    try:
        with full_disk_told(folder):
            (hidden / "data").mkdir(exist_ok=True)
            try:
                yield hidden
            except KeyboardInterrupt as stop:
                stop.add_note("repeat the command to continue")
                raise
    finally:
        if occupied(folder) or not any(path.is_file() for path in hidden.rglob("*") if path.name != "claim"):
            shutil.rmtree(hidden)
        held.close()


def publish(hidden: Path, folder: Path) -> None:
    """Give what is in ``data`` of a workplace its name."""
    sync_folder(hidden / "data")
    os.rename(hidden / "data", folder)
    sync_folder(folder.parent)
