"""Folders on storage elsewhere as fsspec has them: their files and versions, and what their errors mean."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from raysq.addresses import address_of
from raysq.config import Unfinished, UserError

CLAIMS = "claims"
APART = ("claim", CLAIMS, "ray")
"""Of a folder: what is no part of its content."""
DELIVERED = ".delivered.json"
"""Ends the names of notes of what MLflow has, which are of one machine: MLflow itself is asked on another."""
STATE, TENSORS = "state.json", "tensors.safetensors"
"""Of a checkpoint; the first makes it one."""
VERSIONS = ("ETag", "etag", "md5Hash", "generation", "mtime", "LastModified", "last_modified", "created")
"""What file systems say of a file that differs when its content does, the best first."""
ENVIRONMENT = {"AWS_MAX_ATTEMPTS": "5", "AWS_RETRY_MODE": "standard"}
"""What S3's client reads from the environment, where the user has not set it."""


class Version(NamedTuple):
    """Of a file on the storage."""

    size: int
    tag: str


@dataclass(frozen=True, slots=True)
class Remote:
    """A folder on storage elsewhere."""

    url: str
    system: Any
    """fsspec's file system."""
    root: str
    """The folder, as that names it."""

    @classmethod
    def of(cls, folder: Path) -> Remote | None:
        """What a path is the working copy of; None where it is a place of its own."""
        url = address_of(folder)
        if url is None:
            return None
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import fsspec

        with reaching(url):
            system, root = fsspec.url_to_fs(url, use_listings_cache=False)
        return cls(url, system, root.rstrip("/"))

    def at(self, name: str) -> str:
        """A file of the folder, as the file system names it."""
        return f"{self.root}/{name}"

    def files(self, *, half_sent: bool = False) -> dict[str, Version]:
        """The files that are part of its content, by their names; ``half_sent``: half checkpoints, too."""
        self.system.invalidate_cache()
        found = self.system.find(self.root, detail=True)
        names = {path[len(self.root) + 1 :]: info for path, info in found.items()}
        files = {
            name: Version(int(info["size"] or 0), next((str(info[v]) for v in VERSIONS if info.get(v)), ""))
            for name, info in names.items()
            if is_content(name)
        }
        if half_sent:
            return files
        # of a checkpoint the one is sent last and removed first: without it nothing is there
        return {n: v for n, v in files.items() if file_name(n) != TENSORS or beside(n, STATE) in files}


def is_content(name: str) -> bool:
    """Whether a file of a folder is part of its content."""
    parts = PurePosixPath(name).parts
    return (
        bool(parts)
        and parts[0] not in APART
        and not any(part.startswith(".") for part in parts)
        and not name.endswith(DELIVERED)
    )


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Tells in one line what is wrong with storage elsewhere.

    Raises:
        UserError: it cannot be used at all: no client, no such bucket, no credentials, no right.
        Unfinished: it does not answer, or refuses for a reason of its own.
    """
    try:
        yield
    except ImportError as error:
        remedy = "python -m pip install 'raysq[s3]'" if url.startswith("s3") else "install what it names"
        raise UserError(f"{url} cannot be opened ({_one_line(error)}): {remedy}") from error
    except Exception as error:  # of as many kinds as there are clients
        if isinstance(error, UserError | Unfinished):
            raise
        why = _one_line(error)
        if isinstance(error, FileNotFoundError | PermissionError) or "Credentials" in type(error).__name__:
            raise UserError(
                f"{url} cannot be used ({why}): check bucket, rights and the environment that names storage "
                "and credentials, as AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from error
        raise Unfinished(f"{url} did not answer ({why}): repeat the command when it does") from error


def file_name(name: str) -> str:
    """Of a file, without its folders."""
    return name.rpartition("/")[2]


def beside(name: str, other: str) -> str:
    """Another file in the same folder."""
    return name.removesuffix(file_name(name)) + other


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
