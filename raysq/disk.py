"""A disk that is full."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raysq.config import UserError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What the operating system says when nothing more can be written."""


@contextmanager
def full_disk_told(path: Path) -> Iterator[None]:
    """Raises UserError instead of OSError when there is no room left for what is written at ``path``."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        # a copy that fails names its target second
        place, reason = error.filename2 or error.filename or path, os.strerror(error.errno)
        raise UserError(
            f"{place} cannot be written ({reason}): make room, or name a place that has it"
        ) from error
