"""Signals to a training command: its checkpoint stands, its runs are closed, nothing is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raysq.training import checkpoint
from tests.integration.faults.conftest import (
    LONG,
    alive,
    checkpoints,
    command_line,
    descendants,
    environment,
    learners,
    running,
    statuses,
    within,
)

pytestmark = pytest.mark.faults

WITHOUT_RESTARTS = """
import sys
from raysq.cluster import driver
from raysq.workflow import main
from workflows.mle import RECIPE
driver.LEARNER_RESTARTS = 0  # each takes 15 s
sys.exit(main(RECIPE, None))
"""


def wait_for_checkpoint(process: subprocess.Popen[bytes], store: Path, log: Path) -> None:
    within(180, "a checkpoint", lambda: bool(checkpoints(store)) or process.poll() is not None)
    assert process.poll() is None, log.read_text()


@pytest.mark.parametrize("num_learners", [0, 1])
@pytest.mark.parametrize(
    ("number", "whole_group", "status"),
    [(signal.SIGTERM, False, 143), (signal.SIGINT, True, 130)],
    ids=["SIGTERM", "SIGINT"],
)
def test_an_interrupted_command_leaves_everything_in_order(
    home: Path, data: Path, tmp_path: Path, num_learners: int, number: int, whole_group: bool, status: int
) -> None:
    log, store = tmp_path / "log", tmp_path / "stages"
    command = [sys.executable, "workflows/mle.py", *LONG]
    command += [f"--data-dir={data}", f"--output-dir={tmp_path / 'run'}"]
    with running([*command, f"--num-learners={num_learners}"], environment(home), log) as process:
        wait_for_checkpoint(process, store, log)
        below = descendants(process.pid)
        assert bool(below) == bool(num_learners)
        (os.killpg if whole_group else os.kill)(process.pid, number)
        assert process.wait(60) == status, log.read_text()
        within(15, "no process is left", lambda: not alive(below))
    lines = log.read_text().splitlines()
    assert lines[-1] == "interrupted: repeat the command to continue from the last checkpoint"
    assert not any("Traceback" in line for line in lines)
    assert statuses(tmp_path / "mlflow.db") == {"KILLED"}
    (stage,) = store.iterdir()
    assert checkpoint.latest(stage / "checkpoints") is not None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_ray_starts_leaves_nothing(
    home: Path, data: Path, tmp_path: Path, number: int
) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "workflows/mle.py", *LONG, f"--data-dir={data}"]
    with running([*command, f"--output-dir={tmp_path / 'run'}"], environment(home), log) as process:
        within(
            120, "Ray starts", lambda: any(b"gcs_server" in command_line(p) for p in descendants(process.pid))
        )
        below = descendants(process.pid)
        process.send_signal(number)
        assert process.wait(60) == 128 + number, log.read_text()
        within(15, "no process is left", lambda: not alive(below))
    assert statuses(tmp_path / "mlflow.db") == {"KILLED"}


def test_a_learner_lost_too_often_ends_the_command_with_one_line(
    home: Path, data: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    options = [*LONG, f"--data-dir={data}", f"--output-dir={tmp_path / 'run'}"]
    with running([sys.executable, "-c", WITHOUT_RESTARTS, *options], environment(home), log) as process:
        wait_for_checkpoint(process, tmp_path / "stages", log)
        (learner,) = learners(process.pid)
        os.kill(learner, signal.SIGKILL)
        assert process.wait(120) == 1, log.read_text()
    assert log.read_text().splitlines()[-1] == (
        "error: the learners were lost 1 times, at last with learner 0 (its process died, often for want of "
        "memory: a higher --gradient-accumulation, or a lower --decoding.batch-size or batch size of the "
        "stage need less): repeat the command to continue from the last checkpoint; --verbose shows the "
        "learners' log"
    )
    assert statuses(tmp_path / "mlflow.db") == {"FAILED"}


def test_a_users_mistake_that_one_of_two_learners_meets_is_one_line(
    home: Path, data: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    options = [*LONG, "--num-learners=2", f"--data-dir={data}", f"--output-dir={tmp_path / 'run'}"]
    with running([sys.executable, "workflows/mle.py", *options], environment(home), log) as process:
        wait_for_checkpoint(process, tmp_path / "stages", log)
        before = learners(process.pid)
        folder = checkpoints(tmp_path / "stages")[0].parent
        folder.rename(tmp_path / "moved")
        folder.touch()  # where the next checkpoint cannot be written
        seen = set()
        while process.poll() is None:
            seen |= learners(process.pid)
            time.sleep(0.2)
        assert process.returncode == 2, log.read_text()
        assert seen <= before  # no learner was started again to meet the same
    assert log.read_text().splitlines()[-1].startswith("error: cannot write checkpoint ")
    assert statuses(tmp_path / "mlflow.db") == {"FAILED"}
