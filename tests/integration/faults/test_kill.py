"""SIGKILL of a learner or a driver: the run goes on, or the same command continues it, to equal results."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from raysq.training import checkpoint, journal
from tests.integration.faults.conftest import alive, descendants, environment, learners, running, within

pytestmark = pytest.mark.faults

UPDATES = {"mle": 160, "critic": 80, "erac": 120}
SETTINGS = [
    "--threads-per-learner=1",
    "--reuse=never",
    "--quiet",
    "--checkpoint-minutes=0.005",
    "--network.hidden-size=32",
    "--network.embedding-size=32",
    "--decoding.max-length=12",
    "--decoding.beam-size=2",
    "--mle.optimizer=adam",
    "--mle.learning-rate=0.01",
    *(f"--{stage}.max-updates={updates}" for stage, updates in UPDATES.items()),
    *(f"--{stage}.evaluate-every=40" for stage in UPDATES),
]
"""Dropout is on, as it is by default: its masks are functions of the update too."""


@dataclass(frozen=True)
class Run:
    """A workflow in a place of its own, as a real process."""

    data: Path
    home: Path
    place: Path
    learners: int

    def running(self) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """The command, once more at each call."""
        command = [sys.executable, "workflows/erac.py", *SETTINGS, f"--num-learners={self.learners}"]
        command += [f"--data-dir={self.data}", f"--output-dir={self.place / 'run'}"]
        return running(command, environment(self.home), self.log)

    @property
    def log(self) -> Path:
        """What the last command printed."""
        return self.place / "output.txt"

    def finish(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for its end, which must be a good one."""
        assert process.wait(timeout=300) == 0, self.log.read_text()

    def stage(self, name: str) -> Path:
        """The one folder of a stage in this run's own store."""
        (folder,) = (self.place / "stages").glob(f"{name}-*")
        return folder

    def logged_step(self, name: str) -> int:
        """Updates done by the last line of a stage's journal; 0 where there is none."""
        journals = list((self.place / "stages").glob(f"{name}-*/journal.jsonl"))
        records = journal.read(journals[0])[0] if journals else []
        return max((record.step for record in records), default=0)

    def wait_for(self, process: subprocess.Popen[bytes], name: str, step: int) -> int:
        """Wait until a stage has logged ``step`` updates and has a checkpoint; returns the step it is at."""

        def there() -> bool:
            assert process.poll() is None, self.log.read_text()
            return self.logged_step(name) >= step and bool(list(self.stage(name).glob("checkpoints/step-*")))

        within(240, f"{name} comes to update {step}", there)
        return self.logged_step(name)


@pytest.fixture(scope="module")
def undisturbed(data: Path, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(data, home, tmp_path_factory.mktemp("undisturbed"), learners=1)
    with run.running() as process:
        run.finish(process)
    return run


@pytest.fixture
def disturbed(data: Path, home: Path, tmp_path: Path) -> Callable[[int], Run]:
    return lambda learners: Run(data, home, tmp_path, learners)


def curve(run: Run, name: str) -> dict[tuple[int, str], float]:
    """Every metric of a stage's journal but times, the first record of a step counting."""
    found: dict[tuple[int, str], float] = {}
    for record in journal.read(run.stage(name) / "journal.jsonl")[0]:
        for metric, value in record.metrics.items():
            if not metric.endswith(("seconds", "per_second", "wait_share")):
                found.setdefault((record.step, metric), value)
    return found


def assert_continued(run: Run, name: str) -> None:
    """The stage went on from a checkpoint: what came before it was not done again."""
    records, _ = journal.read(run.stage(name) / "journal.jsonl")
    assert [record.step for record in records].count(20) == 1


def assert_same_results(run: Run, expected: Run) -> None:
    """Parameters, hypotheses, scores and loss curves, to the last bit; all updates executed in both."""
    results = [json.loads((r.place / "run" / "result.json").read_text()) for r in (run, expected)]
    for entry, theirs in zip(*(result["stages"] for result in results), strict=True):
        name = entry["name"]
        assert entry["updates"] == theirs["updates"] == UPDATES[name]
        for key in ("state", "best_update", "scores", "dev", "test"):
            assert entry[key] == theirs[key], (name, key)
        for load in (checkpoint.latest, checkpoint.best):
            mine, other = (load(r.stage(name) / "checkpoints") for r in (run, expected))
            assert mine is not None
            assert other is not None
            assert mine.step == other.step
            assert mine.tensors.keys() == other.tensors.keys()
            for key, tensor in mine.tensors.items():
                assert torch.equal(tensor, other.tensors[key]), (name, key)
        assert curve(run, name) == curve(expected, name)
    texts = [sorted((r.place / "run" / "hypotheses").glob("*.txt")) for r in (run, expected)]
    assert [path.name for path in texts[0]] == [path.name for path in texts[1]]
    assert len(texts[0]) == 4  # dev and test of the two stages with a policy
    for path, other_path in zip(*texts, strict=True):
        assert path.read_text() == other_path.read_text()


def assert_every_metric_once(run: Run) -> None:
    """MLflow has the journal's points, each step of a metric once, and no run left open."""
    client = MlflowClient(f"sqlite:///{run.place / 'mlflow.db'}")
    for entry in json.loads((run.place / "run" / "result.json").read_text())["stages"]:
        assert client.get_run(entry["run_id"]).info.status == "FINISHED"
        history = client.get_metric_history(
            entry["run_id"], "dev/td_error" if entry["name"] == "critic" else "dev/bleu"
        )
        expected = [
            value for (_, metric), value in curve(run, entry["name"]).items() if metric == history[0].key
        ]
        assert [point.value for point in history] == expected
        steps = [point.step for point in history]
        assert steps == sorted(set(steps))


@pytest.mark.parametrize(("stage", "step"), [("mle", 60), ("erac", 60)])
def test_a_killed_learner_is_restarted_and_nothing_changes(
    undisturbed: Run, disturbed: Callable[[int], Run], stage: str, step: int
) -> None:
    run = disturbed(1)
    with run.running() as process:
        at = run.wait_for(process, stage, step)
        (killed,) = learners(process.pid)
        os.kill(killed, signal.SIGKILL)
        assert 0 < at < UPDATES[stage]
        within(60, "a new learner", lambda: bool(learners(process.pid) - {killed}))
        run.finish(process)
    assert_continued(run, stage)
    assert_same_results(run, undisturbed)
    assert_every_metric_once(run)


@pytest.mark.parametrize("num_learners", [1, 0], ids=["on Ray", "in one process"])
def test_a_killed_driver_is_continued_by_the_same_command(
    undisturbed: Run, disturbed: Callable[[int], Run], num_learners: int
) -> None:
    run = disturbed(num_learners)
    with run.running() as process:
        at = run.wait_for(process, "erac", 60)
        left = descendants(process.pid)
        process.kill()
        process.wait()
    assert 0 < at < UPDATES["erac"]
    assert not (run.place / "run" / "result.json").exists()
    with run.running() as again:  # at once: the killed driver's learner may still be alive
        assert again.pid != process.pid
        run.finish(again)
    assert_continued(run, "erac")
    assert_same_results(run, undisturbed)
    assert_every_metric_once(run)
    within(60, "nothing is left of the killed command", lambda: not alive(left))
