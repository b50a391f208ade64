"""Removes each protection that removals.toml lists, in a copy of the project, and shows that its test fails.

``make mutations`` prints of each removal the test and how it failed; ``--only TEXT`` takes those whose
description or test has the text. A removal that its test does not notice is a test that guards nothing:
status 1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
COPIED = ("raysq", "workflows", "tune_spaces", "tests", "pyproject.toml", "README.md", "SECURITY.md")
TESTS_FAILED = 1
"""pytest's exit status when a test ran and failed; others say that it could not run."""
LONGEST = 160
"""Of a failure that is shown [characters]."""


@dataclass(frozen=True)
class Removal:
    """A protection, how it is taken away (``old`` by ``new`` in a file), and the test that must notice."""

    what: str
    path: str
    old: str
    new: str
    test: str

    def apply(self, tree: Path) -> None:
        """Take the protection away in a copy of the project.

        Raises:
            ValueError: the text is not there exactly once.
        """
        file = tree / self.path
        text = file.read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"{self.path} has {text.count(self.old)} times: {self.old!r}")
        file.write_text(text.replace(self.old, self.new))


def removals() -> list[Removal]:
    """All that removals.toml lists."""
    text = (Path(__file__).parent / "removals.toml").read_text()
    return [Removal(**entry) for entry in tomllib.loads(text)["removal"]]


def verdict_of(removal: Removal, folder: Path) -> tuple[bool, list[str]]:
    """Whether the test failed without the protection, and what pytest printed."""
    tree = folder / "tree"
    for name in COPIED:
        source = ROOT / name
        ignored = shutil.ignore_patterns("__pycache__")
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=ignored)
        else:
            shutil.copy(source, tree / name)
    removal.apply(tree)
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "--maxfail=1", "-p", "no:cacheprovider", removal.test]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    return done.returncode == TESTS_FAILED, done.stdout.splitlines()


def complaint(output: list[str]) -> str:
    """How a test said that it failed: the reader of the table sees that it was for the right reason."""
    said = [line.removeprefix("E").strip() for line in output if line.startswith("E  ")]
    shown = [line for line in said if line.startswith("assert ")] or said or [""]
    return shown[0][:LONGEST]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="a text of the description or the test")
    only = parser.parse_args().only
    chosen = [r for r in removals() if only in r.what or only in r.test]
    unnoticed = 0
    for removal in chosen:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="mut", dir="/tmp", ignore_cleanup_errors=True) as folder:
            noticed, output = verdict_of(removal, Path(folder))
        unnoticed += not noticed
        word = "noticed" if noticed else "NOT NOTICED"
        print(f"{word:11}  {time.monotonic() - started:4.0f} s  {removal.what}  {removal.test}")
        print(f"{'':20} {complaint(output)}" if noticed else "\n".join(output[-15:]), flush=True)
    print(f"{len(chosen) - unnoticed} of {len(chosen)} removals were noticed")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
