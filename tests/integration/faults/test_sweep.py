"""SIGKILL of a trial's process and of a sweep's driver: the same command ends with the undisturbed table."""

import json
import os
import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from raysq.training import journal
from tests.integration.faults.conftest import alive, command_line, descendants, environment, running, within

pytestmark = pytest.mark.faults

SPACE = """
from raysq.sweep.space import Arm, Axis, Space

TAU = Axis("tau", (0.0, 0.045), keys=("critic.tau", "erac.tau"))
MLE = {"mle.optimizer": "adam", "mle.learning_rate": 0.01}
FAST = {"mle.optimizer": "adam", "mle.learning_rate": 3e38}  # nearly the largest float32: products overflow

SPACE = Space("small", "Small", (
    Arm("ERAC", "erac", MLE, (TAU,)),
    Arm("MLE", "mle", MLE),
    Arm("MLE much too fast", "mle", FAST),
    Arm("AC after that", "ac", FAST),
), seeds=(1,), baseline="MLE")
"""
SEARCH = """
from raysq.sweep.space import Arm, Axis, Range, Space

RATE = Axis("rate", Range(1e-5, 1e-2, log=True), ("erac.learning_rate",))
MLE = {"mle.optimizer": "adam", "mle.learning_rate": 0.01}
SPACE = Space("search", "Search", (Arm("ERAC", "erac", MLE, (RATE,)),), seeds=(1,))
"""
UPDATES = {"mle": 120, "critic": 20, "erac": 80}
SETTINGS = [
    "network.hidden_size=32",
    "network.embedding_size=32",
    "decoding.max_length=12",
    "decoding.beam_size=2",
    *(f"{stage}.max_updates={updates}" for stage, updates in UPDATES.items()),
    *(f"{stage}.evaluate_every=40" for stage in UPDATES),
]


@dataclass(frozen=True)
class Sweep:
    """A sweep in a place of its own, as a real process."""

    data: Path
    home: Path
    place: Path
    definition: str = SPACE
    """Of the space."""

    def running(self, *options: str, reuse: str = "never") -> AbstractContextManager[subprocess.Popen[bytes]]:
        """The command, once more at each call."""
        space = self.place / "small.py"
        space.write_text(self.definition)
        command = [sys.executable, "workflows/tune.py", f"--space={space}", f"--reuse={reuse}"]
        command += [f"--settings={','.join(SETTINGS)}", "--checkpoint-minutes=0.005", "--max-concurrent=2"]
        command += [f"--data-dir={self.data}", f"--output-dir={self.place / 'sweep'}"]
        return running([*command, *options], environment(self.home), self.log)

    @property
    def log(self) -> Path:
        """What the last command printed."""
        return self.place / "output.txt"

    def finish(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        """Wait for its end, which must be a good one; what it found."""
        assert process.wait(timeout=400) == 0, self.log.read_text()
        found: dict[str, Any] = json.loads((self.place / "sweep" / "result.json").read_text())
        return found

    def steps(self, stage: str) -> dict[Path, list[int]]:
        """Updates that the journals of the stages of a name speak of."""
        paths = (self.place / "stages").glob(f"{stage}-*/journal.jsonl")
        return {path.parent: [record.step for record in journal.read(path)[0]] for path in paths}

    def wait_for(self, process: subprocess.Popen[bytes], stage: str, step: int) -> Path:
        """Wait until a stage of a name has logged an update and has a checkpoint; its folder."""
        found: list[Path] = []

        def there() -> bool:
            assert process.poll() is None, self.log.read_text()
            steps = self.steps(stage).items()
            found[:] = [
                f for f, s in steps if max(s, default=0) >= step and list(f.glob("checkpoints/step-*"))
            ]
            return bool(found)

        within(300, f"{stage} comes to update {step}", there)
        return found[0]

    def killed(self, stage: str, step: int, *options: str) -> None:
        """The command, killed when a stage of a name has come to an update."""
        with self.running(*options) as process:
            self.wait_for(process, stage, step)
            training = self.trial_processes(process)
            process.kill()
            within(60, "nobody trains any more", lambda: not alive(training))

    def trial_processes(self, process: subprocess.Popen[bytes]) -> set[int]:
        """Ids of the processes in which stages are trained, those that wait for the next one too."""
        return {p for p in descendants(process.pid) if b"ImplicitFunc" in command_line(p)}


@pytest.fixture(scope="module")
def undisturbed(data: Path, home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    sweep = Sweep(data, home, tmp_path_factory.mktemp("undisturbed"))
    with sweep.running() as process:
        return sweep.finish(process)


def table(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Everything of the trials but where and how long they ran."""
    passing = ("folder", "run_id", "seconds")
    return [{key: value for key, value in trial.items() if key not in passing} for trial in found["trials"]]


def test_every_stage_is_trained_once_and_a_divergence_is_a_result(undisturbed: dict[str, Any]) -> None:
    # mle, twice critic and erac; the fast mle, and what would start from it
    assert (undisturbed["stages"], undisturbed["stages_trained"]) == (8, 8)
    states = {(t["arm"], t["values"].get("tau")): t["state"] for t in undisturbed["trials"]}
    assert states == {
        ("ERAC", 0.0): "finished",
        ("ERAC", 0.045): "finished",
        ("MLE", None): "finished",
        ("MLE much too fast", None): "diverged",
        ("AC after that", None): "not run",
    }
    first, second, *_ = undisturbed["trials"]
    assert first["updates"] == second["updates"] == UPDATES["erac"]
    assert first["dev"] != second["dev"]


def test_a_killed_trial_is_retried_and_a_killed_sweep_continued(
    data: Path, home: Path, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    sweep = Sweep(data, home, tmp_path)
    with sweep.running() as process:
        mle = sweep.wait_for(process, "mle", 60)
        before = sweep.trial_processes(process)
        assert before
        for victim in before:
            os.kill(victim, signal.SIGKILL)
        joint = sweep.wait_for(process, "erac", 20)
        assert not sweep.trial_processes(process) & before
        training = sweep.trial_processes(process)
        assert training
        process.kill()
        within(60, "nobody trains any more", lambda: not alive(training))
    done = {path.parent for path in (tmp_path / "stages").glob("*/result.json")}
    assert mle in done
    assert joint not in done
    assert max(sweep.steps("erac")[joint]) < UPDATES["erac"]
    results = {folder: (folder / "result.json").stat().st_mtime_ns for folder in done}
    with sweep.running() as process:
        found = sweep.finish(process)
    assert table(found) == table(undisturbed)
    assert found["stages_trained"] < 8
    assert {folder: (folder / "result.json").stat().st_mtime_ns for folder in done} == results
    for folder, steps in {**sweep.steps("mle"), **sweep.steps("erac")}.items():
        assert steps.count(20) <= 1, folder  # went on from a checkpoint
    runs_are_complete(tmp_path, found)
    with sweep.running("--arms=ERAC,MLE", reuse="same-config") as process:
        again = sweep.finish(process)
    assert table(again) == table(found)[:3]
    assert again["stages_trained"] == 0
    assert [t["run_id"] for t in again["trials"]] == [t["run_id"] for t in found["trials"][:3]]


def runs_are_complete(place: Path, found: dict[str, Any]) -> None:
    """One run of the sweep, below it one of each trial and each stage, none left open, every metric once."""
    client = MlflowClient(f"sqlite:///{place / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "raysq"]
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    levels = [run.data.tags["raysq.level"] for run in runs]
    assert {level: levels.count(level) for level in set(levels)} == {"sweep": 1, "trial": 5, "stage": 8}
    assert all(run.info.status != "RUNNING" for run in runs)
    for run in runs:
        if run.data.tags["raysq.level"] != "sweep":
            assert run.data.tags["mlflow.parentRunId"] == found["run_id"]
    for trial in found["trials"]:
        tags = client.get_run(trial["run_id"]).data.tags
        assert tags["raysq.state"] == trial["state"]
        assert tags["raysq.arm"] == trial["arm"]
        if "test" in trial:
            metrics = client.get_run(trial["run_id"]).data.metrics
            assert metrics["test_best/bleu"] == trial["test"]["bleu"]
    erac = next(t for t in found["trials"] if t["arm"] == "ERAC")
    stage = client.get_run(erac["run_id"]).data.tags["raysq.stage.erac"]
    steps = [point.step for point in client.get_metric_history(stage, "dev/bleu")]
    assert steps == [0, 40, 80]


@pytest.mark.slow
def test_a_stage_that_fails_is_recorded_and_the_sweep_ends_with_status_1(
    data: Path, home: Path, tmp_path: Path
) -> None:
    sweep = Sweep(data, home, tmp_path)
    with sweep.running("--retries=0", "--arms=ERAC,MLE") as process:
        sweep.wait_for(process, "mle", 60)
        for victim in sweep.trial_processes(process):
            os.kill(victim, signal.SIGKILL)
        assert process.wait(timeout=300) == 1, sweep.log.read_text()
    found = json.loads((tmp_path / "sweep" / "result.json").read_text())
    states = {(trial["arm"], trial["state"]) for trial in found["trials"]}
    assert states == {("ERAC", "not run"), ("MLE", "failed")}


@pytest.mark.slow
def test_a_killed_population_goes_on_and_ends_the_same(data: Path, home: Path, tmp_path: Path) -> None:
    """In its second round; what was drawn, who went on from whom, and every score."""
    options = ("--scheduler=pbt", "--num-samples=4", "--rounds=2")
    tables = []
    for killed in (False, True):
        place = tmp_path / str(killed)
        place.mkdir()
        sweep = Sweep(data, home, place, SEARCH)
        if killed:
            sweep.killed("erac", 60, *options)
            assert not (place / "sweep" / "result.json").exists()
        with sweep.running(*options) as process:
            tables.append(table(sweep.finish(process)))
    assert tables[0] == tables[1]
    assert [(trial["member"], trial["round"]) for trial in tables[0]] == [
        (member, number) for number in (1, 2) for member in (1, 2, 3, 4)
    ]
    values = [trial["values"]["rate"] for trial in tables[0]]
    assert sum(before != after for before, after in zip(values[:4], values[4:], strict=True)) == 1
