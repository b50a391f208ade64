"""A process that may not have more memory: one line names the setting to lower, and nothing is lost."""

import re
import sys
from pathlib import Path

import pytest

from raysq.training import checkpoint
from tests.integration.faults.conftest import ROOT, environment, running, statuses

pytestmark = pytest.mark.faults

LIMITED = """
import resource, sys
from raysq.training import stage
from raysq.workflow import main
from workflows.mle import RECIPE

def limited(method, update):
    def run(self):
        if self.progress.update == update:
            pages = int(open("/proc/self/statm").read().split()[0])
            room = pages * resource.getpagesize() + 2**20
            resource.setrlimit(resource.RLIMIT_AS, (room, room))
        return method(self)
    return run

name, update = sys.argv.pop(1), int(sys.argv.pop(1))
setattr(stage._StageRun, name, limited(getattr(stage._StageRun, name), update))
sys.exit(main(RECIPE, None))
"""
"""The command, whose process gets no more than a MiB from a moment on."""
NOT_KEPT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
"""Freed memory goes back to the system: what came before leaves none to be used again."""
SETTINGS = [
    "--num-learners=0",
    "--threads-per-learner=1",
    "--quiet",
    "--reuse=never",
    "--network.hidden-size=256",
    "--network.embedding-size=256",
    "--decoding.beam-size=20",
    "--decoding.max-length=12",
    "--mle.max-updates=4",
    "--mle.evaluate-every=2",
]


@pytest.mark.parametrize(
    ("method", "update", "remedy"),
    [
        ("_update", 3, r"raise --gradient-accumulation \(1\), or lower --mle.batch-size \(100\)"),
        ("_evaluate", 4, r"lower --decoding.batch-size \(100\) or --decoding.beam-size \(20\)"),
    ],
    ids=["training", "evaluation"],
)
def test_a_training_without_memory_names_what_to_lower_and_goes_on_with_more(
    home: Path, data: Path, tmp_path: Path, method: str, update: int, remedy: str
) -> None:
    log = tmp_path / "log"
    options = [*SETTINGS, "--mle.batch-size=100", f"--data-dir={data}", f"--output-dir={tmp_path / 'run'}"]
    limited = [sys.executable, "-c", LIMITED, method, str(update), *options]
    with running(limited, environment(home) | NOT_KEPT, log) as process:
        assert process.wait(240) == 2, log.read_text()
    pattern = rf"error: out of memory in \w+ stage mle \(.*\): {remedy}; the last checkpoint stands\n"
    assert re.fullmatch(pattern, log.read_text()), log.read_text()
    assert statuses(tmp_path / "mlflow.db") == {"FAILED"}
    (folder,) = (tmp_path / "stages").glob("mle-*")
    kept = checkpoint.latest(folder / "checkpoints")
    assert kept is not None
    assert kept.step == 2
    more = [sys.executable, str(ROOT / "workflows" / "mle.py"), *options, "--gradient-accumulation=2"]
    with running(more, environment(home), log) as process:
        assert process.wait(240) == 0, log.read_text()
    assert list((tmp_path / "stages").glob("mle-*")) == [folder]  # it was no other stage
