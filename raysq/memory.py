"""A machine that is out of memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from raysq.config import UserError

TOLD = ("out of memory", "allocate memory", "ALLOC_FAILED", "std::bad_alloc")
"""What torch and the libraries below it say in a RuntimeError when there is no memory, of CPU or GPU."""


@contextmanager
def lack_of_memory_told(when: str, remedy: str) -> Iterator[None]:
    """Raises UserError where memory cannot be allocated.

    Args:
        when: what was being done.
        remedy: names the setting to lower.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = " ".join(str(error).split())
        if isinstance(error, RuntimeError) and not any(told in text for told in TOLD):
            raise
        raise UserError(f"out of memory {when} ({text or type(error).__name__}): {remedy}") from error
