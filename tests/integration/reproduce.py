"""Trains the demo twice, each time from nothing, and compares the parameters and hypotheses of all stages.

    python -m tests.integration.reproduce                         # as `make demo` trains it
    python -m tests.integration.reproduce --short                 # small networks, a few updates, without Ray
    python -m tests.integration.reproduce --num-learners 2        # any options of workflows/erac.py

Prints sha256 digests and a verdict. Status 1 where two differ, 2 where a training failed. It is a test of the
program, hence no workflow: `make reproduce` is its front door.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from raysq.training import checkpoint

ROOT = Path(__file__).parents[2]
UPDATES = {"mle": 120, "critic": 10, "erac": 10}
"""Of the short form: enough for hypotheses that differ from each other."""
SHORT = (
    "--num-learners=0",
    "--threads-per-learner=1",
    "--network.hidden-size=16",
    "--network.embedding-size=16",
    "--decoding.max-length=12",
    "--decoding.beam-size=1",
    "--mle.optimizer=adam",
    "--mle.learning-rate=0.02",
    *(f"--{stage}.{name}={n}" for stage, n in UPDATES.items() for name in ("max-updates", "evaluate-every")),
)


def train(place: Path, options: Sequence[str]) -> dict[str, str]:
    """Digests of a training in a new folder.

    Raises:
        SystemExit: it failed.
    """
    shutil.rmtree(place, ignore_errors=True)
    command = [sys.executable, "workflows/erac.py", "--task=demo", "--reuse=never", *options]
    command += [f"--output-dir={place / 'run'}", f"--store-dir={place / 'stages'}"]
    command += [f"--tracking-uri=sqlite:///{place / 'mlflow.db'}"]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise SystemExit(2)
    return digests(place / "run")


def digests(run: Path) -> dict[str, str]:
    """sha256 of what a run made, by what it is: best checkpoints' tensors, and files of hypotheses."""
    found = {}
    for stage in json.loads((run / "result.json").read_text())["stages"]:
        best = checkpoint.best(Path(stage["folder"]) / "checkpoints")
        if best is None:
            raise SystemExit(f"stage {stage['name']} has no best checkpoint")
        found[f"{stage['name']}, update {best.step}, parameters"] = of_tensors(best.tensors)
    for path in sorted((run / "hypotheses").glob("*.txt")):
        found[f"hypotheses/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """sha256 of tensors with their names, types and shapes."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def differing(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    """What only one training made, or the two made differently."""
    return [what for what in {**first, **second} if first.get(what) != second.get(what)]


def main(argv: Sequence[str] | None = None) -> int:
    """Train, print, compare; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a minute's version")
    parser.add_argument(
        "--place", type=Path, default=Path("runs/reproduce"), help="folder for both trainings"
    )
    known, options = parser.parse_known_args(argv)
    options = [*(SHORT if known.short else ()), *options]
    first, second = (train(known.place.resolve() / name, options) for name in ("first", "second"))
    differ = differing(first, second)
    for what in {**first, **second}:
        print(f"{first.get(what, 'none'):.16}  {second.get(what, 'none'):.16}  {what}")
    if differ:
        print(f"NOT REPRODUCED: {len(differ)} of {len({**first, **second})} differ, as {differ[0]}")
        return 1
    print(f"reproduced: {len(first)} digests are the same twice")
    return 0


if __name__ == "__main__":
    sys.exit(main())
