import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from raysq.claim import claim
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
