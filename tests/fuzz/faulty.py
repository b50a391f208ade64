"""A reader without faults and some with, for the harness to find. Imports little: processes start with it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from raysq.config import UserError
from tests.fuzz.harness import Target


def make(folder: Path) -> None:
    (folder / "numbers.txt").write_text("1\n2\n3\n")


def careful(folder: Path) -> None:
    try:
        numbers = [int(line) for line in (folder / "numbers.txt").read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / 'numbers.txt'} holds no numbers ({error}): write them anew") from error
    if len(numbers) != 3:
        raise UserError(f"{folder / 'numbers.txt'} has {len(numbers)} numbers: give 3")


def careless(folder: Path) -> None:
    (folder / "numbers.txt").read_text().splitlines()[2]


def silent(folder: Path) -> None:
    try:
        careful(folder)
    except UserError as error:
        raise UserError("bad numbers") from error


def endless(folder: Path) -> None:
    while (folder / "numbers.txt").stat().st_size < 6:
        time.sleep(0.01)


def fatal(folder: Path) -> None:
    if (folder / "numbers.txt").stat().st_size > 6:
        os._exit(3)


CAREFUL = Target("careful", ("tests.fuzz.faulty",), make, careful)
