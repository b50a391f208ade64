"""What commands print on: text as it is, whatever paths, captions and messages hold."""

from __future__ import annotations

from typing import Any

from rich.console import Console


def terminal(*, soft_wrap: bool = True, **options: Any) -> Console:
    """A console for which [brackets] are no markup and :colons: no emoji, and that colours no numbers.

    Args:
        soft_wrap: lines are as long as their text.
        options: of ``rich.console.Console``.
    """
    return Console(soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False, **options)


def shown(name: str) -> str:
    """A file's name with what would break a line or a terminal escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)
