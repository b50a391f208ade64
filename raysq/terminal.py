"""What commands print on: text as it is, whatever paths, captions and messages hold, but no secrets."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console

from raysq.addresses import written

_USER = re.compile(r"(?<=://)(?:[^/\s]*|[^/\s:]*:(?!\d+[/?#])[^\s@]*)@")
"""Of an address; a password may hold what should have been written as %2F."""
_QUERY = re.compile(r"(https?://[^\s?#'\"]*\?)[^\s'\"]+")
"""Of an address, where stores that sign theirs have the signature; a page of MLflow's has it after a #."""


class _Terminal(Console):
    """Tells working copies of folders elsewhere by their addresses."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(written(o) if isinstance(o, str) else o for o in objects), **options)


def terminal(*, soft_wrap: bool = True, **options: Any) -> Console:
    """A console for which [brackets] are no markup and :colons: no emoji, and that colours no numbers.

    Args:
        soft_wrap: lines are as long as their text.
        options: of ``rich.console.Console``.
    """
    return _Terminal(soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False, **options)


def shown(name: str) -> str:
    """A file's name with what would break a line or a terminal escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def without_credentials(text: str) -> str:
    """A text without the users, passwords and queries of its addresses."""
    return _QUERY.sub(r"\1...", _USER.sub("", text))
