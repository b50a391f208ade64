import fcntl
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from raysq.claim import claim, holder
from raysq.config import UserError

HOLD = """
import sys, time
from pathlib import Path
from raysq.claim import claim
held = claim(Path(sys.argv[1]), "the output folder", "wait")
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_claim_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "here"
    held = claim(folder, "stage erac", "wait for it, or give another --store-dir")
    message = (
        f"stage erac in {folder} is in use by process {os.getpid()} on {os.uname().nodename}: "
        "wait for it, or give another --store-dir"
    )
    for _ in range(2):  # a refusal neither takes the claim nor spoils its text
        with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
            claim(folder, "stage erac", "wait for it, or give another --store-dir")
    held.close()


def test_folders_are_claimed_apart(tmp_path: Path) -> None:
    with claim(tmp_path / "a", "a", "wait") as first, claim(tmp_path / "b", "b", "wait") as second:
        assert [Path(file.name).parent.name for file in (first, second)] == ["a", "b"]


def test_closing_releases(tmp_path: Path) -> None:
    claim(tmp_path, "it", "wait").close()
    with claim(tmp_path, "it", "wait"):
        text = (tmp_path / "claim").read_text()
    assert text == f"process {os.getpid()} on {os.uname().nodename}"  # the earlier holder's name is gone


def test_a_process_that_is_killed_releases(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"in use by process {holder.pid} on "):
            claim(tmp_path, "it", "wait")
    finally:
        holder.kill()
        holder.communicate()
    claim(tmp_path, "it", "wait").close()


def test_a_folder_that_cannot_be_written_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        UserError, match=r"^the output folder: cannot write to .*file/run \(Not a directory\): name"
    ):
        claim(tmp_path / "file" / "run", "the output folder", "wait")


def test_holder_names_the_process_while_it_lives(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    assert list(tmp_path.iterdir()) == []  # looking makes no claim
    with claim(tmp_path, "it", "wait"):
        for _ in range(2):
            assert holder(tmp_path) == f"process {os.getpid()} on {os.uname().nodename}"
        with pytest.raises(UserError):  # looking took nothing from it
            claim(tmp_path, "it", "wait")
    assert holder(tmp_path) is None
    claim(tmp_path, "it", "wait").close()


def test_a_look_does_not_refuse_a_claim(tmp_path: Path) -> None:
    claim(tmp_path, "it", "wait").close()
    looking = (tmp_path / "claim").open()
    fcntl.flock(looking, fcntl.LOCK_SH)
    assert holder(tmp_path) is None  # two may look at once
    threading.Timer(0.03, looking.close).start()
    with claim(tmp_path, "it", "wait"):
        assert holder(tmp_path) == f"process {os.getpid()} on {os.uname().nodename}"


def test_a_folder_removed_by_its_holder_is_claimed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "stage"
    first = claim(folder, "it", "wait")

    def remove_meanwhile(_: float) -> None:
        shutil.rmtree(folder)
        first.close()

    monkeypatch.setattr(time, "sleep", remove_meanwhile)
    with claim(folder, "it", "wait"):
        monkeypatch.undo()
        assert holder(folder) == f"process {os.getpid()} on {os.uname().nodename}"
        with pytest.raises(UserError, match="in use by"):
            claim(folder, "it", "wait")


def test_a_claim_that_cannot_be_written_is_a_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "claim").symlink_to("/dev/full")
    with pytest.raises(UserError, match=f"^stage mle: cannot write to {tmp_path} "):
        claim(tmp_path, "stage mle", "wait for it")


def test_commands_that_claim_and_remove_one_folder_disturb_nobody(tmp_path: Path) -> None:
    """As preparing does with its workplace: who waits finds the folder vanish under its hands."""
    folder, errors = tmp_path / "work", []
    until = time.monotonic() + 0.5

    def claim_and_remove() -> None:
        while time.monotonic() < until:
            try:
                with claim(folder, "the workplace", "wait"):
                    shutil.rmtree(folder, ignore_errors=True)
            except UserError as error:
                if "is in use by" not in str(error):
                    errors.append(error)

    threads = [threading.Thread(target=claim_and_remove) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_claim_that_is_no_text_or_no_file(tmp_path: Path) -> None:
    (tmp_path / "claim").write_bytes(b"\xff" * 1000)
    assert holder(tmp_path) is None
    with (tmp_path / "claim").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert holder(tmp_path) == "\ufffd" * 200
        with pytest.raises(UserError, match=r"is in use by \ufffd{200}: wait"):
            claim(tmp_path, "a", "wait")
    (tmp_path / "claim").unlink()
    os.mkfifo(tmp_path / "claim")
    with pytest.raises(UserError, match=r"cannot write to .* .it is no regular file.: name a folder"):
        claim(tmp_path, "a", "wait")
    with pytest.raises(OSError, match="no regular file"):
        holder(tmp_path)
