"""What commands print on: text as it is, whatever paths, captions and messages hold, but no secrets."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
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


def as_started(workflow: str | None = None) -> str:
    """How a workflow is run where this process was started: by path, or with ``-m`` as it is installed.

    ``python workflows/runs.py`` beside ``workflows/erac.py``, ``python -m raysq.workflows.runs`` beside
    ``raysq.workflows.erac``. A process that no workflow began (a learner on another node) tells it from where
    this package lies.

    Args:
        workflow: its name; none: of what was started itself, a workflow or not.
    """
    module = getattr(sys.modules["__main__"], "__spec__", None)
    if module is not None and module.parent.rpartition(".")[2] == "workflows":
        return f"python -m {module.name if workflow is None else f'{module.parent}.{workflow}'}"
    if workflow is None:
        return f"python {sys.argv[0]}"
    beside = Path(sys.argv[0] or "-").with_name(f"{workflow}.py")
    if beside.is_file():
        return f"python {shlex.quote(str(beside))}"
    installed = (Path(__file__).parent / "workflows").is_dir()
    return f"python -m raysq.workflows.{workflow}" if installed else f"python workflows/{workflow}.py"
