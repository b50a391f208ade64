"""Places by address: a local path, or the URL of a folder on storage that fsspec opens, as ``s3://``.

In memory a place is a local ``Path`` in any case. That of a URL is its working copy, whose path spells it:
below the folder that the environment's RAYSQ_CACHE names (none: ``~/.cache/raysq``) ``s3/bucket/runs/a`` is
the copy of ``s3://bucket/runs/a``, so that what lies in a folder has an address, too. Whatever leaves the
process, as records, tags and messages, has the URL (`written`). ``raysq.storage`` brings copies up to date.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, PlainSerializer

_URL = re.compile(r"([a-z][a-z0-9+]*)://(.*)", re.DOTALL)
_LOCAL = ("file", "local")
_READ_ONLY = ("http", "https", "data")


def is_address(place: object) -> bool:
    """Whether a place, as it was typed, is meant for fsspec rather than for this machine's file system."""
    return isinstance(place, str) and "://" in place


def placed(place: str | Path) -> Path:
    """The local path of a place as it was typed or written down: of a URL its working copy.

    Raises:
        ValueError: it is no address that raysq can write to, or has a password in it. No message repeats it.
    """
    if not isinstance(place, str) or not is_address(place):
        return Path(place)
    parts = _URL.fullmatch(place)
    if parts is None:
        raise ValueError("must be a path or one URL, as s3://bucket/runs")
    protocol, rest = parts.groups()
    if "@" in rest.partition("/")[0] or "?" in rest:
        raise ValueError(
            "must have no user, password or query in it: credentials belong in the environment, as "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or in the files of the storage's own tools"
        )
    if protocol in _LOCAL:
        raise ValueError("must be written as a path where it lies on this machine")
    if protocol in _READ_ONLY or not _known(protocol):
        raise ValueError(f"must be on storage that fsspec can write to, which {protocol}:// is not")
    names = rest.strip("/").split("/")
    if len(names) < 2 or any(not name or name.startswith(".") or "#" in name for name in names):
        raise ValueError(
            "must name a folder in a bucket, as s3://bucket/runs, in which no name begins with ."
        )
    return working_copies() / protocol / "/".join(names)


def working_copies() -> Path:
    """The folder of this machine that holds the working copies."""
    return _resolved(os.environ.get("RAYSQ_CACHE") or "~/.cache/raysq")


def address_of(folder: Path) -> str | None:
    """The URL that a path is the working copy of; None where it is a place of its own."""
    copies = working_copies()
    if not folder.is_relative_to(copies):
        return None
    protocol, *names = folder.relative_to(copies).parts or ("",)
    return f"{protocol}://{'/'.join(names)}" if names else None


def written(text: str | Path) -> str:
    """A path, or a text with paths in it, as it leaves this process: working copies as their URLs."""
    text = str(text)
    copies = str(working_copies())
    if copies not in text:
        return text
    return re.sub(re.escape(copies) + r"/([a-z][a-z0-9+]*)/(?=[^/\s])", r"\1://", text)


def moved(path: Path, copies: Path) -> Path:
    """A path of a machine whose working copies lie in ``copies``, here."""
    return working_copies() / path.relative_to(copies) if path.is_relative_to(copies) else path


def takes_no_address(annotation: Any, metadata: tuple[object, ...] = ()) -> bool:
    """Whether a field so annotated holds paths that are no `Place`."""
    if annotation is Path:
        return _FROM_TEXT not in metadata
    inner = getattr(annotation, "__metadata__", ())
    return any(takes_no_address(argument, inner) for argument in get_args(annotation)[: 1 if inner else None])


@cache
def _resolved(folder: str) -> Path:
    return Path(folder).expanduser().resolve()


def _known(protocol: str) -> bool:
    from fsspec import available_protocols  # not for local paths

    return protocol in available_protocols()


_FROM_TEXT = BeforeValidator(lambda value: str(placed(value)) if is_address(value) else value)
Place = Annotated[Path, _FROM_TEXT, PlainSerializer(written, return_type=str, when_used="json")]
"""Of a setting or a record: a path that may be typed, and is written down, as an address."""
