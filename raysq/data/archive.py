"""Tar archives from elsewhere, read within bounds: none fills the memory, the disk or the day.

What tarfile makes of a header is not bounded by the archive's size: a few kilobytes can stand for terabytes
of zeros, ask for a header of gigabytes in memory, or go backwards for ever.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from raysq.config import UserError
from raysq.data.corpus import BLOCK_BYTES

MAX_EXPANSION = 200
"""An archive that decompresses to more times its size holds neither text nor photographs."""
ALWAYS_READ = 64 * 2**20
"""Decompressed bytes that any archive may have: small ones are mostly padding [bytes]."""
MAX_MEMBERS = 1_000_000
"""An archive of more files and folders is refused."""
_COMPRESSED: dict[bytes, Callable[[Path, str], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
"""What opens a file that begins so; any other is taken as it is."""


@contextmanager
def opened(archive: Path, named: Path | None = None) -> Iterator[tarfile.TarFile]:
    """A tar archive, plain or compressed by gzip, bzip2 or xz; its members are read one after another.

    Args:
        archive: the file.
        named: what messages name instead, as the file that it was made from.

    Raises:
        UserError: it is no archive, a damaged one, or one out of bounds.
    """
    with (
        sound(named or archive),
        decompressed(archive, named) as file,
        _BoundedTar.open(named or archive, "r:", fileobj=cast("BinaryIO", file)) as tar,
    ):
        yield tar


def is_archive(path: Path) -> bool:
    """Whether a file is a tar archive, plain or compressed, by its name or by how it begins."""
    if path.name.endswith((".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")):
        return path.is_file()
    try:
        with opened(path):
            return True
    except (UserError, OSError):  # it is damaged, or cannot be read
        return False


@contextmanager
def decompressed(archive: Path, named: Path | None = None) -> Iterator[Bounded]:
    """What is in a compressed file, or in one that is not; ``named`` as of `opened`."""
    most = max(ALWAYS_READ, MAX_EXPANSION * archive.stat().st_size)
    with (_opener(archive) or open)(archive, "rb") as stream:
        yield Bounded(stream, most, named or archive)


def is_compressed(path: Path) -> bool:
    """Whether a file begins as gzip, bzip2 or xz do."""
    return _opener(path) is not None


def _opener(path: Path) -> Callable[[Path, str], Any] | None:
    with path.open("rb") as file:
        start = file.read(max(map(len, _COMPRESSED)))
    return next((opener for magic, opener in _COMPRESSED.items() if start.startswith(magic)), None)


class Bounded:
    """A file as far as its bounds, a block at a time. Methods raise UserError beyond them."""

    def __init__(self, stream: BinaryIO, most: int, archive: Path) -> None:
        self._stream = stream
        self._most = most
        self._archive = archive

    def read(self, size: int = BLOCK_BYTES) -> bytes:
        """The next bytes, as many if there are."""
        if not 0 <= size <= BLOCK_BYTES:
            raise UserError(f"{self._archive} has a header of {size:,} bytes: fetch or make it again")
        data = self._stream.read(size)
        self._check(self.tell())
        return data

    def seek(self, position: int) -> None:
        """Go to a place; in a compressed file, what lies before it is decompressed."""
        self._check(position)
        self._stream.seek(position)

    def tell(self) -> int:
        """The place that is read next."""
        return self._stream.tell()

    def _check(self, position: int) -> None:
        if position > self._most:
            raise UserError(
                f"{self._archive} unpacks to more than {self._most:,} bytes, {MAX_EXPANSION} times its size, "
                "which neither text nor photographs do: unpack it yourself and give the folder"
            )


class _BoundedTar(tarfile.TarFile):
    """Members one after another, not all of them in memory."""

    members: list[tarfile.TarInfo]
    firstmember: tarfile.TarInfo | None
    _count = 0

    def next(self) -> tarfile.TarInfo | None:
        if self.firstmember is not None:  # seen when the archive was opened
            return super().next()
        member = super().next()
        self.members.clear()
        if member is None:
            return None
        if member.size < 0:  # the next header would be one that was read before
            raise tarfile.ReadError(f"a member of {member.size} bytes")
        self._count += 1
        if self._count > MAX_MEMBERS:
            raise UserError(f"{self.name!s} has more than {MAX_MEMBERS:,} members: divide it")
        return member


@contextmanager
def sound(archive: Path) -> Iterator[None]:
    """Raises UserError instead of what reading a damaged tar archive raises, of whichever compression."""
    try:
        yield
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RecursionError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk; gzip and bz2 give none
            raise
        why = str(error).partition("\n")[0]
        raise UserError(f"{archive} is no sound tar archive ({why}): fetch or make it again") from error
