"""A reward worker or a sample worker lost during a call: the call is repeated, or the command says so."""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.faults.conftest import (
    Head,
    Run,
    assert_same_results,
    called,
    environment,
    kill,
    learners,
    moment,
    running,
    statuses,
    within,
)

pytestmark = pytest.mark.faults

UPDATES = {"mle": 20, "reinforce": 120}
SETTINGS = [
    "--threads-per-learner=1",
    "--reuse=never",
    "--quiet",
    "--max-staleness=2",
    "--network.hidden-size=16",
    "--network.embedding-size=16",
    "--decoding.max-length=12",
    "--decoding.beam-size=1",
    "--mle.optimizer=adam",
    "--mle.learning-rate=0.01",
    "--reinforce.batch-size=16",
    *(f"--{stage}.max-updates={updates}" for stage, updates in UPDATES.items()),
    *(f"--{stage}.evaluate-every=60" for stage in UPDATES),
]
FATAL_REWARD = """
import os, signal, sys
from raysq.cluster import reward_workers
from raysq.workflow import main
from workflows.reinforce import RECIPE

class Fatal(reward_workers.RewardWorker):
    def score(self, batch, stage=""):
        os.kill(os.getpid(), signal.SIGKILL)

reward_workers.RewardWorker = Fatal
sys.exit(main(RECIPE, None))
"""
STANDSTILL = 4.0
"""Time in which no thread of a learner that waits for a call works [s]."""


def reinforce(env: dict[str, str], data: Path, place: Path, *options: str) -> Run:
    return Run(["workflows/reinforce.py", *SETTINGS, f"--data-dir={data}", *options], UPDATES, env, place)


@pytest.fixture(scope="module")
def undisturbed(data: Path, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """In one process, which draws and scores by itself."""
    place = tmp_path_factory.mktemp("undisturbed")
    run = reinforce(environment(home), data, place, "--num-learners=0")
    with run.running() as process:
        run.finish(process)
    return run


def busy_seconds(process_id: int) -> dict[str, float]:
    """How long each thread has worked, or waited for a core, which on a busy machine takes longer [s]."""
    found = {}
    for file in Path(f"/proc/{process_id}/task").glob("*/schedstat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
            worked, waited, _ = file.read_text().split()
            found[file.parent.name] = (int(worked) + int(waited)) / 1e9
    return found


def wait_for_standstill(learner: int) -> None:
    """Wait until a learner waits for a worker that is stopped."""

    def stands() -> bool:
        before = busy_seconds(learner)
        time.sleep(STANDSTILL)
        return all(s - before.get(t, 0.0) < STANDSTILL / 2 for t, s in busy_seconds(learner).items())

    within(300, "the learner stands still", stands)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (b"RewardWorker", ["--num-reward-workers=2"]),
        (b"SampleWorker", ["--num-sample-workers=2", "--sampling=remote"]),
    ],
    ids=["reward", "sample"],
)
def test_a_worker_killed_during_a_call_is_restarted_and_the_call_repeated(
    head: Head, undisturbed: Run, data: Path, tmp_path: Path, kind: bytes, options: list[str]
) -> None:
    run, node = reinforce(head.attached(), data, tmp_path, "--num-learners=1", *options), head.process.pid
    with run.running() as process:
        run.wait_for(process, "reinforce", moment(kind.decode(), 20, 60))
        (learner,) = learners(node)
        workers = called(kind, node)
        assert len(workers) == 2
        victim = sorted(workers)[moment(kind.decode(), 0, 1)]
        os.kill(victim, signal.SIGSTOP)
        wait_for_standstill(learner)
        at = run.logged_step("reinforce")
        assert 0 < at < UPDATES["reinforce"]
        kill(victim, f"{kind.decode()} during a call after update {at}")
        run.while_it_runs(process, "a new worker", lambda: len(called(kind, node) - {victim}) == 2)
        assert learners(node) == {learner}  # it waits for the call, and is not started again
        run.finish(process)
    assert_same_results(run, undisturbed)


def test_a_worker_killed_in_every_call_ends_the_command_with_one_line(
    head: Head, data: Path, tmp_path: Path
) -> None:
    run, node = reinforce(head.attached(), data, tmp_path, "--num-learners=1"), head.process.pid
    command = [sys.executable, "-c", FATAL_REWARD, *run.command[1:], f"--output-dir={tmp_path / 'run'}"]
    seen = set()
    with running(command, run.env, run.log) as process:
        while process.poll() is None:
            seen |= learners(node)
            time.sleep(0.2)
    assert process.returncode == 1, run.log.read_text()
    said = run.log.read_text().splitlines()[-1]
    assert said.startswith("error: a reward worker died, and again at each of 3 repetitions: see its log ")
    assert said.endswith("repeat the command to continue from the last checkpoint")
    assert len(seen) == 1  # no learner was started again to meet the same
    assert run.logged_step("mle") == UPDATES["mle"]
    assert run.logged_step("reinforce") == 0  # no update came of a reward that is missing
    assert "RUNNING" not in statuses(tmp_path / "mlflow.db")
