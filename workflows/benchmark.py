"""How fast everything is on this machine, each figure beside a named baseline of the same run.

    python workflows/benchmark.py --output-dir results/benchmark                  # all but the suite sizes
    python workflows/benchmark.py --suite updates --device cuda --output-dir results/benchmark
    python workflows/benchmark.py --suite rewards,decoding --threads 1 --output-dir results/benchmark

Writes benchmark.json, a list of rows, after every suite, and machine.json: what the machine is, and the rates
of products and copies that it reaches. What is measured, and how, is in tests/benchmarks.
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from raysq.commandline import run_command
from raysq.files import replace_json
from raysq.terminal import terminal

if TYPE_CHECKING:
    from tests.benchmarks.settings import BenchmarkSettings

ROOT = Path(__file__).resolve().parents[1]
MODULES = {
    "updates": "updates",
    "sizes": "sizes",
    "rewards": "rewards",
    "decoding": "decoding",
    "ray": "ray_path",
    "scaling": "scaling",
}
"""Where in tests/benchmarks a suite is: its ``run`` takes the settings and gives rows."""


def command() -> int:
    """The command line; returns the exit status."""
    if not (ROOT / "tests" / "benchmarks" / "settings.py").exists():
        print(
            f"error: there is no tests/benchmarks in {ROOT}, which an installed raysq lacks: "
            "run workflows/benchmark.py in a checkout of the repository",
            file=sys.stderr,
        )
        return 2
    sys.path.insert(0, str(ROOT))
    from tests.benchmarks.settings import BenchmarkSettings

    return run_command(BenchmarkSettings, main, description=__doc__)


def main(settings: BenchmarkSettings) -> None:
    """Measure the suites one after another; print and write the rows of each as soon as it is finished."""
    import torch

    from raysq.training.job import local_device
    from tests.benchmarks import machine, rows

    console = terminal(width=None if sys.stdout.isatty() else 220)
    settings = settings.model_copy(update={"device": local_device(settings.device)})
    torch.set_num_threads(settings.num_threads)
    rows.write([], settings.output_dir)  # what cannot be written is said before hours of work
    console.print(f"{machine.name(settings)}; results go to {settings.output_dir}")
    replace_json(settings.output_dir / "machine.json", machine.describe(settings))
    for suite in settings.suite:
        started = time.monotonic()
        try:
            found = importlib.import_module(f"tests.benchmarks.{MODULES[suite]}").run(settings)
        except KeyboardInterrupt as stop:
            stop.add_note(f"in suite {suite}; the suites before it are in {settings.output_dir}")
            raise
        rows.write(found, settings.output_dir)
        console.print(f"{suite} ({time.monotonic() - started:.0f} s)")
        console.print(rows.table(found))


if __name__ == "__main__":
    sys.exit(command())
