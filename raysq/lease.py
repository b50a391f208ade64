"""Claims of folders on storage elsewhere: a file that only one command can make, and that it keeps young.

A claim is the file ``claims/00000007`` of a folder with the highest number. It is made by a conditional put,
so that of two commands that make the same one has it. Its holder writes it again every `BEAT` seconds; one
that was not for `LIFE` seconds has ended, and the next number may be made. Clocks must agree to a minute.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
import uuid
from pathlib import Path
from typing import IO, Any

from raysq.addresses import working_copies
from raysq.config import Unfinished, UserError
from raysq.files import parse_json
from raysq.remote import CLAIMS, Remote, reaching

BEAT = 30.0
"""Time between two signs of life [s]."""
LIFE = 150.0
"""Time after the last sign of life at which a claim has ended [s]."""

_log = logging.getLogger(__name__)


class Lease:
    """The claim of a folder elsewhere, and of its working copy.

    Raises ``UserError`` where another live command has it, or the storage cannot be used.
    """

    def __init__(self, folder: Path, what: str, remedy: str, held: IO[str]) -> None:
        """Take it.

        Args:
            folder: the working copy.
            what: how a message names it.
            remedy: what the user can do about it.
            held: the claim of the working copy: commands of this machine exclude each other by that alone.
        """
        remote = Remote.of(folder)
        assert remote is not None
        self._remote, self._held = remote, held
        self._ended = threading.Event()
        self._record = {
            "by": f"process {os.getpid()} on {os.uname().nodename}",
            "copies": _identity(),
            "token": uuid.uuid4().hex,
        }
        with reaching(remote.url):
            self._number = self._taken(what, remedy)
        self._thread = threading.Thread(target=self._beats, name="claim", daemon=True)
        self._thread.start()

    def _taken(self, what: str, remedy: str) -> int:
        while True:
            last = _last(self._remote)
            record = _read(self._remote, last)
            if record is not None and _alive(record) and record["copies"] != self._record["copies"]:
                raise UserError(
                    f"{what} in {self._remote.url} is in use by {record['by']}, until {LIFE:.0f} s after its "
                    f"last sign of life: {remedy}"
                )
            try:
                self._write(last + 1, mode="create")
            except OSError:
                if _last(self._remote) <= last:
                    raise
                continue  # another was first
            if (_read(self._remote, last + 1) or {}).get("token") != self._record["token"]:
                continue  # likewise, where the storage knows no conditions
            for number in _numbers(self._remote):
                if number <= last:
                    _remove(self._remote, number)
            return last + 1

    def _write(self, number: int, **options: str) -> None:
        content = json.dumps(self._record | {"at": time.time()}).encode()
        self._remote.system.pipe_file(_path(self._remote, number), content, **options)

    def _beats(self) -> None:
        while not self._ended.wait(BEAT):
            try:
                with reaching(self._remote.url):
                    if _last(self._remote) != self._number:
                        break
                    self._write(self._number)
            except (UserError, Unfinished) as error:  # it is not lost before another has it
                _log.warning("the claim of %s could not be renewed: %s", self._remote.url, error)
        else:
            return
        _log.error("the claim of %s was taken over: this command had been silent too long", self._remote.url)
        os.kill(os.getpid(), signal.SIGTERM)  # ends in order

    def close(self) -> None:
        """Give it back; a second call does nothing."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._thread.join()
        try:
            with reaching(self._remote.url):
                _remove(self._remote, self._number)
        except (UserError, Unfinished) as error:
            _log.warning("the claim of %s ends by itself in %.0f s: %s", self._remote.url, LIFE, error)
        finally:
            self._held.close()

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def leaseholder(folder: Path) -> str | None:
    """The live command on another machine that holds a folder elsewhere; None where no one does.

    Raises ``UserError`` and ``Unfinished`` as `raysq.storage.pull`.
    """
    remote = Remote.of(folder)
    if remote is None:
        return None
    with reaching(remote.url):
        record = _read(remote, _last(remote))
    if record is None or not _alive(record) or record["copies"] == _identity():
        return None
    return str(record["by"])


def _identity() -> str:
    """Of this machine's working copies: claims of the same ones end with the lock of their files."""
    path = working_copies() / "identity"
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".identity.{uuid.uuid4().hex}")
    if not path.exists():
        aside.write_text(uuid.uuid4().hex)
        try:
            os.link(aside, path)  # whole, and not over another's
        except FileExistsError:
            pass
        finally:
            aside.unlink()
    return path.read_text()


def _path(remote: Remote, number: int) -> str:
    return remote.at(f"{CLAIMS}/{number:08d}")


def _numbers(remote: Remote) -> list[int]:
    remote.system.invalidate_cache()
    names = [path.rpartition("/")[2] for path in remote.system.find(remote.at(CLAIMS))]
    return sorted(int(name) for name in names if name.isdecimal())


def _last(remote: Remote) -> int:
    return max(_numbers(remote), default=0)


def _read(remote: Remote, number: int) -> dict[str, Any] | None:
    """What a claim says; None where it is not there any more, or says nothing."""
    try:
        record = parse_json(remote.system.cat_file(_path(remote, number)))
        return record | {"at": float(record["at"]), "copies": record["copies"], "by": record["by"]}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _alive(record: dict[str, Any]) -> bool:
    return bool(time.time() - record["at"] < LIFE)


def _remove(remote: Remote, number: int) -> None:
    if remote.system.exists(_path(remote, number)):
        remote.system.rm_file(_path(remote, number))
