"""Small files: written aside, synced and renamed, so that readers see the old one or the new one, whole."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from raysq.disk import full_disk_told


def replace_json(path: Path, value: object) -> None:
    """Write ``value`` as JSON to ``path``.

    Raises:
        ValueError: JSON cannot hold it, as NaN.
        UserError: the disk is full.
    """
    _replace(path, json.dumps(value, allow_nan=False))


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write one text a line to ``path``, whose folder is made where it is missing.

    Raises:
        UserError: the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, "".join(f"{line}\n" for line in lines))


def regular(path: Path) -> Path:
    """A path that may be opened for reading; that nothing is there is told by opening it.

    Raises:
        OSError: there is a pipe or a device, whose end nobody may ever send.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return path


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError where it is none, or nested too deeply to be read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def sync(path: Path) -> None:
    """Bring a file's content, or a folder's entries (new names, renames), to the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.part")
    with full_disk_told(path):
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
