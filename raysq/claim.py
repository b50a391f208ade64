"""Claims: one command at a time writes to a folder of run storage. The claim ends with its process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from raysq.config import UserError


def claim(folder: Path, what: str, remedy: str) -> IO[str]:
    """Hold ``folder`` until the file returned is closed or this process ends, however it ends.

    Args:
        folder: made when missing.
        what: how a message names it.
        remedy: what the user can do about it.

    Raises:
        UserError: another live command holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / "claim").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another command"
        file.close()
        raise UserError(f"{what} in {folder} is in use by {holder}: {remedy}") from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {os.uname().nodename}")
    file.flush()
    return file
