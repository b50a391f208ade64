"""Processes that die at one of the calls by which they change files, with what a kill or a lost power leaves.

Python tells of such calls by audit events, so that each of them can be hit for certain: the first, the second
and so on until the work ends unharmed. Between two of them, inside a write, the kernel ends a process that
writes beyond a limit.
"""

import os
import resource
import signal
import sys
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

FORKS = get_context("forkserver")
"""Starts processes from one that has done nothing but imports: no thread of a test's is in them."""
CHANGES = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"}
WRITES = os.O_WRONLY | os.O_RDWR


def run(work: Callable[..., None], *arguments: Any) -> int:
    """Exit status of ``work`` in a process of its own; minus a signal's number where that ended it."""
    process = FORKS.Process(target=work, args=arguments)
    process.start()
    process.join(120)
    assert process.exitcode is not None, "the work hangs"
    return process.exitcode


def crashing(number: int, root: Path, power_lost: bool, work: Callable[..., None], *arguments: Any) -> None:
    """Do ``work``, and die before the ``number``-th change of what lies below ``root``.

    Args:
        number: from 0.
        root: a folder that is there.
        power_lost: files that were changed and not synced lose their second half, too.
        work: what is done.
        arguments: of the work.
    """
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    synced: set[int] = set()
    count = 0
    original = os.fsync

    def change(what: str) -> None:
        nonlocal count
        count += 1
        if count == number + 1:
            point = os.open(f"{root}.point", os.O_WRONLY | os.O_CREAT)
            os.write(point, what.encode())
            if power_lost:
                for path in root.rglob("*"):
                    changed = path.is_file() and before.get(path) != path.stat().st_mtime_ns
                    if changed and path.stat().st_ino not in synced:
                        os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    def heard(event: str, found: tuple[Any, ...]) -> None:
        if event in CHANGES and not (event == "open" and not found[2] & WRITES):
            path = os.fsdecode(found[0]) if isinstance(found[0], str | bytes | os.PathLike) else ""
            if path and (path.startswith(f"{root}/") or "/" not in path):  # rmtree gives bare names
                change(f"{event} {path.removeprefix(f'{root}/')}")

    def syncing(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if path.startswith(str(root)):
            change(f"fsync {path.removeprefix(f'{root}/')}")
        original(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    os.fsync = syncing
    sys.addaudithook(heard)
    work(*arguments)


def writing_at_most(size: int, kills: bool, work: Callable[..., None], *arguments: Any) -> None:
    """Do ``work`` where no file grows above ``size`` bytes: that kills it in the write, or is a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL if kills else signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    work(*arguments)


def every_crash(
    fresh: Callable[[], Path],
    power_lost: bool,
    work: Callable[[Path], None],
    check: Callable[[Path], None],
    stride: int = 1,
) -> list[str]:
    """Do ``work`` in one fresh folder after another, each time dying later; ``check`` each folder.

    Args:
        fresh: makes a folder.
        power_lost: as of ``crashing``.
        work: what is done in it.
        check: whether what a crash left is in order.
        stride: by how many changes later.

    Returns:
        The changes that were not made any more, in order.
    """
    points: list[str] = []
    while True:
        folder = fresh()
        status = run(crashing, stride * len(points), folder, power_lost, work, folder)
        if status == 0:
            return points
        assert status == -signal.SIGKILL
        points.append(Path(f"{folder}.point").read_text())
        try:
            check(folder)
        except BaseException as error:
            error.add_note(f"after a crash before {points[-1]}")
            raise
