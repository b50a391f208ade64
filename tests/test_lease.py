"""Claims of folders elsewhere; "another machine" has other working copies."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from raysq import lease
from raysq.addresses import placed
from raysq.claim import claim, holder
from raysq.config import UserError
from raysq.remote import Remote


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def move(name: str = "other") -> None:
        monkeypatch.setenv("RAYSQ_CACHE", str(tmp_path / name))

    return move


def taken(storage: str):
    return claim(placed(f"{storage}/run"), "the output folder", "wait for it")


def record(storage: str) -> dict:
    """The one claim that is there."""
    remote = Remote.of(placed(f"{storage}/run"))
    assert remote is not None
    (path,) = remote.system.find(remote.at("claims"))
    return {"path": path, "system": remote.system, **json.loads(remote.system.cat_file(path))}


def age(storage: str, seconds: float) -> None:
    """Make the last sign of life so much older."""
    claimed = record(storage)
    path, system = claimed.pop("path"), claimed.pop("system")
    system.pipe_file(path, json.dumps(claimed | {"at": claimed["at"] - seconds}).encode())


def test_one_machine_at_a_time(storage: str, elsewhere) -> None:
    first = taken(storage)
    assert record(storage)["by"] == f"process {os.getpid()} on {os.uname().nodename}"
    elsewhere()
    with pytest.raises(UserError, match=rf"the output folder in {storage}/run is in use by process"):
        taken(storage)
    assert holder(placed(f"{storage}/run")) == record(storage)["by"]
    first.close()
    first.close()
    assert holder(placed(f"{storage}/run")) is None
    with taken(storage):
        elsewhere("copies")
        with pytest.raises(UserError, match="in use"):
            taken(storage)


def test_commands_of_one_machine_exclude_each_other(storage: str) -> None:
    with taken(storage):
        assert holder(placed(f"{storage}/run")) == record(storage)["by"]
        with pytest.raises(UserError, match="in use"):
            taken(storage)
    taken(storage).close()


def test_a_killed_command_claim_ends_by_itself(storage: str, elsewhere) -> None:
    killed = taken(storage)
    killed._ended.set()  # it writes no more signs of life
    elsewhere()
    age(storage, lease.LIFE - 60)
    with pytest.raises(UserError, match="in use"):
        taken(storage)
    age(storage, 70)
    with taken(storage):
        assert record(storage)["path"].endswith("claims/00000002")


def test_a_killed_command_of_this_machine_holds_nothing(storage: str) -> None:
    killed = taken(storage)
    killed._ended.set()
    killed._held.close()  # as its end does
    assert holder(placed(f"{storage}/run")) is None
    taken(storage).close()


def test_of_many_that_claim_at_once_one_has_it(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them look before one writes: the condition alone decides."""
    monkeypatch.setattr(lease, "_identity", lambda: threading.current_thread().name)
    count, together = 4, threading.Barrier(4)
    write = lease.Lease._write

    def together_once(self: lease.Lease, number: int, **options: str) -> None:
        if options:
            together.wait()
        write(self, number, **options)

    monkeypatch.setattr(lease.Lease, "_write", together_once)
    folder, won, lost = placed(f"{storage}/run"), [], []

    def take(number: int) -> None:
        held = (tmp_path / str(number)).open("w")
        try:
            won.append(lease.Lease(folder, "it", "wait", held))
        except UserError as error:
            lost.append(error)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(won), len(lost)) == (1, count - 1)
    won[0].close()


def test_signs_of_life_and_the_loss_of_a_claim(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT", 0.05)
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *sent: signals.append(sent))
    with taken(storage) as held:
        first = record(storage)["at"]
        until(lambda: record(storage)["at"] > first)
        assert not signals
        remote = Remote.of(placed(f"{storage}/run"))
        assert remote is not None
        remote.system.pipe_file(remote.at("claims/00000002"), b"{}")
        until(lambda: signals)
        held._thread.join(10)
    assert signals == [(os.getpid(), signal.SIGTERM)]


def until(true) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
