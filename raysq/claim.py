"""Claims: one command at a time writes to a folder of run storage. The claim ends with its process."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import IO, TypeAlias

from raysq.addresses import address_of
from raysq.config import UserError
from raysq.files import regular
from raysq.lease import Lease, leaseholder

Claim: TypeAlias = "IO[str] | Lease"
"""Held until it is closed."""

LOOK_SECONDS = 0.1
"""Longer than ``holder`` takes to look."""
LONGEST_NAME = 200
"""Of a holder [characters]."""
ATTEMPTS = 20
"""To open a claim whose folder others make and remove."""


def claim(folder: Path, what: str, remedy: str) -> Claim:
    """Hold ``folder`` until what is returned is closed or this process ends, however it ends.

    The working copy of a folder elsewhere is held together with that (`raysq.lease`).

    Args:
        folder: made when missing.
        what: how a message names it.
        remedy: what the user can do about it.

    Raises:
        UserError: another live command holds it, or it cannot be written.
    """
    while True:
        file = _opened(folder, what)
        if not _locked(file, fcntl.LOCK_EX):
            time.sleep(LOOK_SECONDS)  # it may have been no holder but one who looked for it
            if not _locked(file, fcntl.LOCK_EX):
                by = _name(file)
                file.close()
                raise UserError(f"{what} in {folder} is in use by {by}: {remedy}")
        if _in_place(file, folder):
            break
        file.close()  # who held it has removed the folder: a lock on that file keeps nobody out
    try:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename}")
        file.flush()
    except OSError as error:
        raise _unwritable(folder, what, error) from error
    if address_of(folder) is None:
        return file
    try:
        return Lease(folder, what, remedy, file)
    except BaseException:
        file.close()
        raise


def holder(folder: Path) -> str | None:
    """The live command that holds ``folder``, as it names itself; None where no one does, or no claim is.

    Looks without taking the claim: commands that look at once see the same, and one that claims meanwhile
    waits for the moment a look takes. Raises ``OSError`` where the claim cannot be read.
    """
    try:
        file = regular(folder / "claim").open(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return leaseholder(folder)
    with file:
        return leaseholder(folder) if _locked(file, fcntl.LOCK_SH) else _name(file)


def _name(file: IO[str]) -> str:
    """How who holds a claim has named itself."""
    file.seek(0)
    return file.read(LONGEST_NAME).strip() or "another command"


def _opened(folder: Path, what: str) -> IO[str]:
    for attempt in range(ATTEMPTS):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return regular(folder / "claim").open("a+", encoding="utf-8", errors="replace")
        except (FileNotFoundError, FileExistsError) as error:  # perhaps its holder is just removing it
            if attempt == ATTEMPTS - 1:
                raise _unwritable(folder, what, error) from error
            time.sleep(LOOK_SECONDS / 10)
        except OSError as error:
            raise _unwritable(folder, what, error) from error
    raise AssertionError("unreachable")


def _in_place(file: IO[str], folder: Path) -> bool:
    """Whether the open file is still the folder's claim."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(folder / "claim"))
    except FileNotFoundError:
        return False


def _unwritable(folder: Path, what: str, error: OSError) -> UserError:
    return UserError(
        f"{what}: cannot write to {folder} ({error.strerror}): name a folder that can be written"
    )


def _locked(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
