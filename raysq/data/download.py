"""Text from elsewhere: fetched by fsspec, compared with its sha256, kept by it; archives are unpacked."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from tarfile import TarFile, TarInfo
from urllib.parse import urlsplit

from raysq.claim import claim
from raysq.config import UserError
from raysq.data.archive import opened
from raysq.data.corpus import BLOCK_BYTES, sha256_of
from raysq.disk import full_disk_told
from raysq.terminal import shown


def fetch(url: str, sha256: str, folder: Path) -> Path:
    """The file at a URL, from ``folder`` if it is there already.

    Args:
        url: of any protocol that fsspec knows.
        sha256: of the file, in hexadecimal.
        folder: where it is kept, one command at a time.

    Raises:
        UserError: the protocol is unknown, the host or the file cannot be reached, the file is another than
            ``sha256`` says, another command writes into the folder, or its
            disk is full.
    """
    path = folder / f"{sha256[:16]}-{Path(urlsplit(url).path).name}"
    with _alone(folder):
        if path.is_file() and sha256_of(path) == sha256:
            return path
        partial = path.with_name(f".{path.name}.partial")
        digest = hashlib.sha256()
        try:
            with partial.open("wb") as file:
                for block in _blocks(url):
                    file.write(block)
                    digest.update(block)
            if digest.hexdigest() != sha256:
                raise UserError(
                    f"{url} has sha256 {digest.hexdigest()}, not {sha256}: give the sha256 of the file "
                    "that you mean, or the URL of that file"
                )
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    return path


def unpacked(archive: Path, folder: Path) -> Path:
    """The folder that a tar archive unpacks to; if it holds one folder and nothing else, that one.

    Args:
        archive: plain or compressed; links, special files and paths that lead out of the folder are refused.
        folder: where to unpack it, unless it was there already, one command at a time.

    Raises:
        UserError: it is no archive, a damaged one, an unsafe one or one out of bounds, another command writes
            into the folder, or its disk is full.
    """
    target = folder / f"{sha256_of(archive)[:16]}.unpacked"
    with _alone(folder):
        if not target.is_dir():
            partial = target.with_name(f".{target.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            try:
                partial.mkdir()
                with opened(archive) as tar:
                    for member in tar:
                        _write_member(archive, tar, member, partial)
                    while tar.fileobj is not None and tar.fileobj.read(BLOCK_BYTES):
                        pass  # to the end, where the checksum is
                os.rename(partial, target)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    inside = list(target.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else target


def _write_member(archive: Path, tar: TarFile, member: TarInfo, folder: Path) -> None:
    """A file of an archive, its content alone: no mode, no owner. Raises UserError where it is none."""
    if member.isdir():
        return  # made with the first file in it
    path = PurePosixPath(member.name)
    remedy = "unpack what you trust of it yourself and give the folder"
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{archive}: {shown(member.name)} leads out of the archive: {remedy}")
    content = tar.extractfile(member) if member.isreg() and not member.issparse() else None
    if content is None:
        raise UserError(f"{archive}: {shown(member.name)} is a link or another special file: {remedy}")
    try:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with content, (folder / path).open("wb") as file:
            shutil.copyfileobj(content, file)
    except (FileExistsError, NotADirectoryError, IsADirectoryError, ValueError) as error:
        raise UserError(f"{archive}: {shown(member.name)} cannot be a file ({error}): {remedy}") from error


def check(path: Path, sha256: str) -> None:
    """Raises UserError unless the file has this sha256."""
    found = sha256_of(path)
    if found != sha256:
        raise UserError(
            f"{path} has sha256 {found}, not {sha256}: give the file that you mean, or its sha256"
        )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """For this command to write into the folder, which is gone at the end if nothing was kept in it.

    Raises:
        UserError: another command writes into it, or its disk is full.
    """
    remedy = "wait for it, or give another --output-dir"
    with claim(folder, "the download folder", remedy), full_disk_told(folder):
        try:
            yield
        finally:
            with suppress(FileNotFoundError):  # removed with a claim that was not the folder's any more
                if [path.name for path in folder.iterdir()] == ["claim"]:
                    shutil.rmtree(folder, ignore_errors=True)


def _blocks(url: str) -> Iterator[bytes]:
    import fsspec  # 0.1 s

    try:
        with fsspec.open(url, "rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block
    except Exception as error:  # every protocol has exceptions of its own
        cause = error.__cause__ or error
        raise UserError(
            f"{url} cannot be read ({type(cause).__name__}: {cause}): check the URL and the network, and "
            "install the package for its protocol if that is what is missing"
        ) from error
