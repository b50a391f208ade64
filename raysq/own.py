"""What of a recipe is the user's own: settings whose class a file outside the package defines.

Identities of stages hold the class's name; their folders' names hold a digest of the file, as they hold one
of the package's sources. What the file imports from elsewhere is not seen.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path

from raysq.config import Config, UserError

NOT_OWN = {"raysq", "pydantic", "abc", "builtins", "typing"}
"""Packages whose classes are nobody's own."""


def own_name(kind: type) -> str | None:
    """FILE.CLASS of a class of the user's, the same whether its file is run or imported; None: it is raysq's.

    Raises:
        UserError: it is defined in no file.
    """
    return f"{_file_of(kind).stem}.{kind.__qualname__}" if _is_own(kind) else None


def own_sources(parts: Iterable[Config]) -> list[str]:
    """Digests of the files of the user's that define the parts, their sections and what these derive from.

    Raises:
        UserError: a class is defined in no file.
    """
    files = {_file_of(kind) for part in parts for kind in _own_kinds(part)}
    return sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)


def require_importable(parts: Iterable[Config]) -> None:
    """Refuse what other processes cannot import. Raises UserError."""
    for kind in (kind for part in parts for kind in _own_kinds(part)):
        if kind.__module__ == "__main__":
            file = _file_of(kind)
            raise UserError(
                f"{kind.__qualname__} is defined in {file.name} as it is run, from where Ray's processes "
                f"cannot import it: write `from {file.stem} import RECIPE` before that file calls main, or "
                "give --num-learners 0"
            )


def _is_own(kind: type) -> bool:
    return kind.__module__.partition(".")[0] not in NOT_OWN


def _own_kinds(part: Config) -> Iterator[type]:
    """Own classes that a part of the settings is made of."""
    yield from filter(_is_own, type(part).__mro__)
    for _, value in part:
        if isinstance(value, Config):
            yield from _own_kinds(value)


def _file_of(kind: type) -> Path:
    try:
        return Path(inspect.getfile(kind))
    except (OSError, TypeError) as error:
        raise UserError(
            f"class {kind.__qualname__} is defined in no file, by which its stages could be found again: "
            "write it into a file and import it from there"
        ) from error
