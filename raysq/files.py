"""Small files written aside, synced and renamed: readers see the old one or the new one, whole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

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


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries (new names, renames) to the disk itself."""
    descriptor = os.open(folder, os.O_RDONLY)
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
