"""The real command line of workflows/prepare.py."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(folder, *arguments):
    command = [sys.executable, ROOT / "workflows" / "prepare.py", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_files_then_a_defect(tmp_path):
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.de").write_text("ein Hund\n\nzwei Hunde\n")
        (tmp_path / f"{split}.fr").write_text("un chien\nx\ndeux chiens\n")
    prefixes = [part for split in ("train", "dev", "test") for part in (f"--{split}", split)]
    options = ["--task", "files", "--target-language", "fr", "--min-count", "1", *prefixes]

    done = run(tmp_path, *options, "--output-dir", "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("out written (data ")
    rows = {
        line.split("│")[1].strip(): line.split("│")[2:5] for line in done.stdout.splitlines() if "│" in line
    }
    assert [cell.strip() for cell in rows["dropped: empty"]] == ["1", "0", "0"]
    assert [cell.strip() for cell in rows["pairs kept"]] == ["2", "3", "3"]
    assert "next: python workflows/erac.py --task files --data-dir out" in done.stdout

    (tmp_path / "dev.fr").write_bytes(b"un\nd\xe9\ntrois\n")
    failed = run(tmp_path, *options, "--output-dir", "other")
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: dev.fr: line 2, byte 2 of the line (0xe9) is not UTF-8: ")
    assert failed.stderr.count("\n") == 1
    assert not (tmp_path / "other").exists()
