"""Two workflows at once on one machine, one tracking store and one store of stages: nothing is mixed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run as TrackedRun

from raysq.training import checkpoint, journal
from tests.integration.faults.conftest import environment, running, within

pytestmark = pytest.mark.faults

UPDATES = {"mle": 40, "critic": 20, "erac": 20}
SETTINGS = [
    "--num-learners=0",
    "--threads-per-learner=1",
    "--quiet",
    "--network.hidden-size=16",
    "--network.embedding-size=16",
    "--decoding.max-length=12",
    "--decoding.beam-size=2",
    *(f"--{stage}.max-updates={updates}" for stage, updates in UPDATES.items()),
    *(f"--{stage}.evaluate-every=20" for stage in UPDATES),
]


@dataclass(frozen=True)
class Workflow:
    """ERAC of a seed in an output folder of its own; stages and tracking store lie beside it."""

    data: Path
    home: Path
    output: Path
    options: Sequence[str]

    def running(self) -> AbstractContextManager[subprocess.Popen[bytes]]:
        command = [sys.executable, "workflows/erac.py", *SETTINGS, *self.options, f"--data-dir={self.data}"]
        return running([*command, f"--output-dir={self.output}"], environment(self.home), self.log)

    @property
    def log(self) -> Path:
        return self.output.with_suffix(".log")

    def began(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether it has claimed its first stage and opened its runs."""
        assert process.poll() is None, self.log.read_text()
        return (self.output / "run_id").exists()

    def entries(self) -> list[dict[str, Any]]:
        """Its stages in result.json."""
        found: list[dict[str, Any]] = json.loads((self.output / "result.json").read_text())["stages"]
        return found


Start = Callable[..., Workflow]
"""From an output folder and options."""


@pytest.fixture
def workflow(data: Path, home: Path) -> Start:
    return lambda output, *options: Workflow(data, home, output, options)


def runs_of(place: Path) -> dict[str, TrackedRun]:
    """All runs of a place's tracking store."""
    client = MlflowClient(f"sqlite:///{place / 'mlflow.db'}")
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    return {run.info.run_id: run for run in runs}


def assert_runs_of_its_own(flow: Workflow, seed: str, runs: dict[str, TrackedRun]) -> None:
    """Its runs in MLflow have its seed, its parent and the points of its journals, each once, all closed."""
    client = MlflowClient(f"sqlite:///{flow.output.parent / 'mlflow.db'}")
    parent = json.loads((flow.output / "result.json").read_text())["run_id"]
    assert (runs[parent].info.status, runs[parent].data.params["seed"]) == ("FINISHED", seed)
    for entry in flow.entries():
        run, folder = runs[entry["run_id"]], Path(entry["folder"])
        assert (run.info.status, run.data.params["seed"]) == ("FINISHED", seed)
        assert run.data.tags["raysq.folder"] == str(folder)
        assert run.data.tags["mlflow.parentRunId"] == parent
        expected: dict[str, dict[int, float]] = {}
        for record in journal.read(folder / "journal.jsonl")[0]:
            for name, value in record.metrics.items():
                expected.setdefault(name, {}).setdefault(record.step, value)
        for name, by_step in expected.items():
            history = [(p.step, p.value) for p in client.get_metric_history(run.info.run_id, name)]
            assert sorted(history) == list(by_step.items()), (entry["name"], name)
        assert max(expected["epoch"]) == UPDATES[entry["name"]]


def assert_same(flow: Workflow, alone: Workflow) -> None:
    """Scores, best parameters and hypotheses, to the last bit."""
    for entry, other in zip(flow.entries(), alone.entries(), strict=True):
        for key in ("name", "updates", "best_update", "dev", "test", "scores"):
            assert entry[key] == other[key], entry["name"]
        mine, theirs = (checkpoint.best(Path(e["folder"]) / "checkpoints") for e in (entry, other))
        assert mine is not None
        assert theirs is not None
        assert mine.tensors.keys() == theirs.tensors.keys()
        for name, tensor in mine.tensors.items():
            assert torch.equal(tensor, theirs.tensors[name]), (entry["name"], name)
    texts = {path.name: path.read_text() for path in (flow.output / "hypotheses").iterdir()}
    assert len(texts) == 4
    assert texts == {path.name: path.read_text() for path in (alone.output / "hypotheses").iterdir()}


def test_two_workflows_at_once_are_those_of_running_alone(workflow: Start, tmp_path: Path) -> None:
    shared, apart = tmp_path / "shared", tmp_path / "alone"
    shared.mkdir()
    flows = [workflow(shared / f"run{seed}", f"--seed={seed}") for seed in (1, 2)]
    with ExitStack() as stack:
        processes = [stack.enter_context(flow.running()) for flow in flows]
        for flow, process in zip(flows, processes, strict=True):  # neither goes on before both have begun
            within(300, "it begins", partial(flow.began, process))
            process.send_signal(signal.SIGSTOP)
        for process in processes:
            process.send_signal(signal.SIGCONT)
        for flow, process in zip(flows, processes, strict=True):
            assert process.wait(600) == 0, flow.log.read_text()
    runs = runs_of(shared)
    assert len(runs) == 2 * (1 + len(UPDATES))
    assert len(list((shared / "stages").iterdir())) == 2 * len(UPDATES)
    for seed, flow in enumerate(flows, start=1):
        assert [entry["reused"] for entry in flow.entries()] == [False] * 3
        assert_runs_of_its_own(flow, str(seed), runs)
        own = apart / str(seed)
        own.mkdir(parents=True)
        alone = workflow(own / "run", f"--seed={seed}")
        with alone.running() as process:
            assert process.wait(600) == 0, alone.log.read_text()
        assert_same(flow, alone)


def test_a_stage_that_two_workflows_share_is_trained_by_one_of_them(workflow: Start, tmp_path: Path) -> None:
    """They differ in what comes after it: the second is refused while the first trains, then reuses."""
    first, second = workflow(tmp_path / "a"), workflow(tmp_path / "b", "--erac.tau=0.2", "--critic.tau=0.2")
    with first.running() as process:
        within(300, "it begins", partial(first.began, process))
        process.send_signal(signal.SIGSTOP)
        with second.running() as refused:
            assert refused.wait(300) == 2, second.log.read_text()
        said = second.log.read_text()
        assert said.startswith("error: stage mle in ")
        by = f"process {process.pid} on {os.uname().nodename}"
        assert said.endswith(f" is in use by {by}: wait for it, or give another --store-dir\n")
        assert said.count("\n") == 1
        assert not (tmp_path / "b" / "run_id").exists()
        process.send_signal(signal.SIGCONT)
        assert process.wait(600) == 0, first.log.read_text()
    with second.running() as process:
        assert process.wait(600) == 0, second.log.read_text()
    assert [entry["reused"] for entry in first.entries()] == [False, False, False]
    assert [entry["reused"] for entry in second.entries()] == [True, False, False]
    assert len(list((tmp_path / "stages").glob("mle-*"))) == 1
    runs = runs_of(tmp_path)
    assert sorted(
        run.data.tags["raysq.stage"] for run in runs.values() if "raysq.stage" in run.data.tags
    ) == [
        "critic",
        "critic",
        "erac",
        "erac",
        "mle",
    ]
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert_runs_of_its_own(first, "1", runs)
