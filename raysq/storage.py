"""Working copies of folders on storage elsewhere: brought up to date (`pull`) and sent there (`push`).

What the storage has is the truth, unless a process of this machine is `writing`; a working copy can be thrown
away at any time. Beside a copy ``a`` a file ``.a.copy.json`` notes which version of each file it has, so that
only what differs travels. Of local paths, which are places of their own, all functions return at once, and
import no fsspec.

Sent is content first, then the files that make it valid, so that a reader on another machine finds a folder
as it was, or as it is. Claims, hidden files and Ray's own records are not part of a copy.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from raysq.addresses import address_of
from raysq.config import Unfinished
from raysq.disk import full_disk_told
from raysq.files import parse_json, replace_json
from raysq.records import RESULT
from raysq.remote import STATE, TENSORS, Remote, Version, beside, file_name, is_content, reaching

ATTEMPTS = 5
"""To read a folder that changes meanwhile."""
MANIFEST = "manifest.json"
"""Of prepared data and of features."""


def pull(
    folder: Path,
    *,
    only: Collection[str] = (),
    tensors: bool = True,
    whole_with: str = "",
    patience: float = 0.0,
) -> None:
    """Make a working copy equal to what the storage has; what is local only is removed.

    A copy that a process of this machine is writing to is ahead of the storage, and stays as it is.

    Args:
        folder: where the working copy is, or will be.
        only: files and folders in it; none: all.
        tensors: whether the tensors of checkpoints are wanted.
        whole_with: a file that is sent last: without it nothing counts as there.
        patience: how long to wait for the end of who is writing to it. [seconds]

    Raises:
        UserError: the storage cannot be used.
        Unfinished: it does not answer.
    """
    remote = Remote.of(folder)
    if remote is None:
        return

    def wanted(name: str) -> bool:
        return (tensors or file_name(name) != TENSORS) and (not only or _within(name, only))

    until = time.monotonic() + patience
    while not _pulled(remote, folder, wanted, whole_with) and time.monotonic() < until:
        time.sleep(0.1)  # who is writing needs the lock meanwhile


def _pulled(remote: Remote, folder: Path, wanted: Callable[[str], bool], whole_with: str) -> bool:
    """Make a working copy equal to what the storage has; False where it is being written."""
    with (
        _copied(folder) as copies,
        _alone(folder) as alone,
        reaching(remote.url),
        full_disk_told(folder),
    ):
        if not alone:
            return False
        for _ in range(ATTEMPTS):
            there = remote.files()
            if whole_with and whole_with not in there:
                there = {}
            if _fetch(remote, folder, {n: v for n, v in there.items() if wanted(n)}, copies):
                break
        else:
            raise Unfinished(f"{remote.url} changes too fast to be read: repeat the command")
        for name in [n for n in _local(folder) if n not in there and wanted(n)]:
            (folder / name).unlink()
        for name in copies.keys() - there.keys():
            if wanted(name):
                del copies[name]
        _remove_empty(folder)
    return True


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Keeps processes of this machine from making a copy what the storage has: it is ahead of that."""
    if address_of(folder) is None:
        yield
        return
    with _live(folder) as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Whether nobody is `writing` to a working copy, which stays so; inside of `_copied`."""
    with _live(folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            alone = False
        else:
            alone = True
        yield alone


def _live(folder: Path) -> IO[str]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder.with_name(f".{folder.name}.copy.live").open("w")


def push(folder: Path, *, only: Collection[str] = ()) -> None:
    """Send what is new or changed in a working copy, and remove what was removed from it.

    Files that vanish meanwhile are passed over; so a folder can be sent while it is written.

    Args:
        folder: the working copy.
        only: files and folders in it; none: all.

    Raises:
        UserError: the storage cannot be used.
        Unfinished: it does not answer.
    """
    remote = Remote.of(folder)
    if remote is None:
        return
    with _copied(folder) as copies, reaching(remote.url):
        names = [name for name in _local(folder) if not only or _within(name, only)]
        sent: dict[str, os.stat_result] = {}
        for name in sorted(names, key=_validity):
            try:
                if _same(folder / name, copies.get(name)):
                    continue
                if file_name(name) == STATE and not (folder / beside(name, TENSORS)).exists():
                    continue  # being removed
                now = (folder / name).stat()
                remote.system.put_file(str(folder / name), remote.at(name))
            except FileNotFoundError:
                if (folder / name).exists():
                    raise  # no such bucket
            else:
                sent[name] = now
        there = remote.files(half_sent=True) if sent else {}
        for name, now in sent.items():
            if name in there:
                copies[name] = [*there[name], now.st_size, now.st_mtime_ns]
        gone = [n for n in copies if (not only or _within(n, only)) and not (folder / n).exists()]
        for name in sorted(gone, key=_validity, reverse=True):
            if remote.system.exists(remote.at(name)):
                remote.system.rm_file(remote.at(name))
            del copies[name]


def fetch_file(folder: Path, name: str, to: Path) -> None:
    """Bring one file of a folder elsewhere to a place of its own, if it is there.

    Raises:
        UserError: the storage cannot be used.
        Unfinished: it does not answer.
    """
    remote = Remote.of(folder)
    assert remote is not None
    to.parent.mkdir(parents=True, exist_ok=True)
    with reaching(remote.url):
        remote.system.invalidate_cache()
        if not remote.system.exists(remote.at(name)):
            return
        if to.exists() and remote.system.size(remote.at(name)) == to.stat().st_size:
            return  # it only ever grows
        aside = to.with_name(f".{to.name}.part")
        remote.system.get_file(remote.at(name), str(aside))
        aside.replace(to)


def pull_each(folder: Path, pattern: str) -> None:
    """Bring those of the folders in a folder up to date, tensors apart, in which something is named so.

    Raises:
        UserError: the storage cannot be used.
        Unfinished: it does not answer.
    """
    remote = Remote.of(folder)
    if remote is None:
        return
    with reaching(remote.url):
        remote.system.invalidate_cache()
        found = remote.system.glob(remote.at(pattern))
    for name in sorted({path[len(remote.root) + 1 :].partition("/")[0] for path in found}):
        pull(folder / name, tensors=False)


@contextmanager
def _copied(folder: Path) -> Iterator[dict[str, list[Any]]]:
    """What is known of a working copy, for one process at a time: of each file the storage's version, and its
    size and time here."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    note = folder.with_name(f".{folder.name}.copy.json")
    with folder.with_name(f".{folder.name}.copy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            copies = dict(parse_json(note.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            copies = {}  # everything travels again
        before = dict(copies)
        try:
            yield copies
        finally:
            if copies != before:
                replace_json(note, copies)


def _fetch(remote: Remote, folder: Path, wanted: dict[str, Version], copies: dict[str, list[Any]]) -> bool:
    """Bring what differs; False where the storage's has changed meanwhile."""
    missing = {
        name: version
        for name, version in wanted.items()
        if not _same(folder / name, copies.get(name)) or tuple(copies[name][:2]) != version
    }
    asides = {name: (folder / name).with_name(f".{file_name(name)}.part") for name in missing}
    for aside in asides.values():
        aside.parent.mkdir(parents=True, exist_ok=True)
    try:
        if missing:
            remote.system.get([remote.at(name) for name in missing], [str(asides[n]) for n in missing])
    except FileNotFoundError:
        return False
    for name, version in missing.items():
        if asides[name].stat().st_size != version.size:
            return False
        asides[name].replace(folder / name)
        now = (folder / name).stat()
        copies[name] = [*version, now.st_size, now.st_mtime_ns]
    return True


def _same(path: Path, copied: list[Any] | None) -> bool:
    """Whether a file is as it was when it was copied."""
    if copied is None:
        return False
    try:
        now = path.stat()
    except FileNotFoundError:
        return False
    return [now.st_size, now.st_mtime_ns] == copied[2:]


def _local(folder: Path) -> list[str]:
    """The files of a working copy as of now."""
    found = []
    for place, folders, files in os.walk(folder):
        within = Path(place).relative_to(folder)
        folders[:] = [name for name in folders if is_content((within / name).as_posix())]
        found += [name for file in files if is_content(name := (within / file).as_posix())]
    return found


def _remove_empty(folder: Path) -> None:
    for place, _, _ in os.walk(folder, topdown=False):
        if not os.listdir(place) and Path(place) != folder:
            os.rmdir(place)


def _validity(name: str) -> tuple[int, int]:
    """Order of sending: journals and texts, tensors, what makes these a checkpoint, what makes all whole."""
    ranks = {TENSORS: 1, STATE: 2, MANIFEST: 3, RESULT: 3}
    return ranks.get(file_name(name), 0), -name.count("/")


def _within(name: str, places: Iterable[str]) -> bool:
    return any(name == place or name.startswith(f"{place}/") for place in places)
