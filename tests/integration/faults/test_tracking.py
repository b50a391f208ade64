"""A real MLflow server killed or hung in the middle of a training: nothing is lost, nothing doubled."""

import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from mlflow import MlflowClient

from raysq.card import CARD
from raysq.training import journal
from tests.integration.faults.conftest import (
    ROOT,
    Run,
    alive,
    descendants,
    environment,
    free_ports,
    running,
    within,
)

pytestmark = pytest.mark.faults

SETTINGS = [
    "--num-learners=0",
    "--threads-per-learner=1",
    "--quiet",
    "--network.hidden-size=16",
    "--network.embedding-size=16",
    "--decoding.max-length=12",
    "--decoding.beam-size=1",
    "--mle.max-epochs=100000",
    "--mle.max-decays=100000",
    "--mle.evaluate-every=100",
]
CLOSING = re.compile(r"(test|dev)_best/\w+")


class Server:
    """``mlflow server`` on loopback; killed and started again it has the same address and database."""

    def __init__(self, place: Path, env: dict[str, str]) -> None:
        (port,) = free_ports(1)
        self.uri = f"http://127.0.0.1:{port}"
        self.database = place / "server.db"
        self.artifacts = place / "artifacts"
        self._env, self._log = {**env, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}, place / "server.log"
        options = ["--host=127.0.0.1", f"--port={port}", "--workers=1"]
        options += [f"--backend-store-uri=sqlite:///{self.database}"]
        self._command = ["mlflow", "server", *options, f"--artifacts-destination={self.artifacts}"]
        self._running = ExitStack()
        self._processes: set[int] = set()

    def start(self) -> None:
        process = self._running.enter_context(running(self._command, self._env, self._log))
        within(300, "MLflow's server answers", self._answers)
        self._processes = {process.pid} | descendants(process.pid)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def kill(self) -> None:
        """SIGKILL, all of it."""
        self._running.close()
        within(60, "no process of the server is left", lambda: not alive(self._processes))

    def send(self, number: int) -> None:
        for process_id in self._processes:
            os.kill(process_id, number)

    def hang(self) -> None:
        """It takes connections and never answers."""
        self.send(signal.SIGSTOP)

    def wake(self) -> None:
        """It goes on, with what was asked of it meanwhile."""
        self.send(signal.SIGCONT)


@pytest.fixture(scope="module")
def server(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Runs whenever a test begins."""
    served = Server(tmp_path_factory.mktemp("server"), environment(home))
    served.start()
    yield served
    served.kill()


def training(server: Server, data: Path, home: Path, place: Path, updates: int) -> Run:
    options = [*SETTINGS, f"--mle.max-updates={updates}", f"--data-dir={data}"]
    command = ["workflows/mle.py", *options, f"--tracking-uri={server.uri}"]
    return Run(command, {"mle": updates}, environment(home), place)


def wait_for_delivery(run: Run, process: subprocess.Popen[bytes]) -> None:
    """Wait until MLflow has the first metrics, and more are to come."""

    def delivered() -> bool:
        assert process.poll() is None, run.log.read_text()
        return bool(list((run.place / "stages").glob("mle-*/journal.jsonl.delivered.json")))

    within(600, "the first metrics are delivered", delivered)
    at = run.logged_step("mle")
    print(f"mle is at update {at} of {run.updates['mle']}")
    assert 0 < at < run.updates["mle"]


def wait_for_progress(run: Run, process: subprocess.Popen[bytes]) -> None:
    """Training goes on: 40 updates more."""
    before = run.logged_step("mle")

    def on() -> bool:
        return process.poll() is not None or run.logged_step("mle") >= before + 40

    within(600, "training goes on", on)
    assert run.logged_step("mle") >= before + 40, run.log.read_text()


Points = dict[str, list[tuple[int, float, int]]]


def stored(server: Server, run_id: str) -> Points:
    """Step, value and time of every point that MLflow has of a run, by metric in the order of arrival."""
    found: Points = {}
    with sqlite3.connect(server.database) as connection:
        query = "SELECT key, step, value, timestamp FROM metrics WHERE run_uuid = ? ORDER BY rowid"
        for key, *point in connection.execute(query, [run_id]):
            found.setdefault(key, []).append(tuple(point))
    return found


def written(run: Run) -> Points:
    """The same of the stage's journal, where the first record of a step counts."""
    found: dict[str, dict[int, tuple[int, float, int]]] = {}
    for record in journal.read(run.stage("mle") / "journal.jsonl")[0]:
        for name, value in record.metrics.items():
            point = record.step, value, int(record.time * 1000)
            found.setdefault(name, {}).setdefault(record.step, point)
    return {name: list(by_step.values()) for name, by_step in found.items()}


def assert_everything_arrived(server: Server, run: Run) -> None:
    """Of the stage's run and of the workflow's: metrics, scores, params, artifacts and end, each once."""
    client = MlflowClient(f"sqlite:///{server.database}")
    folder = str(run.stage("mle"))
    (experiment,) = [e for e in client.search_experiments() if e.name == "raysq"]
    runs = client.search_runs([experiment.experiment_id])
    (stage,) = [r for r in runs if r.data.tags.get("raysq.folder") == folder]
    (workflow,) = [r for r in runs if r.info.run_id == stage.data.tags["mlflow.parentRunId"]]
    points = stored(server, stage.info.run_id)
    scores = {name: points.pop(name) for name in list(points) if CLOSING.fullmatch(name)}
    assert points == written(run)
    assert {"test_best/bleu", "dev_best/bleu"} <= set(scores)
    assert {len(values) for values in scores.values()} == {1}
    assert {len(values) for values in stored(server, workflow.info.run_id).values()} == {1}
    assert [r.info.status for r in (stage, workflow)] == ["FINISHED", "FINISHED"]
    assert stage.data.tags["raysq.state"] == "finished"
    assert stage.data.params["mle.max_updates"] == str(run.updates["mle"])
    assert workflow.data.params["mle.max_updates"] == str(run.updates["mle"])
    for one, files in (
        (stage, {CARD, "result.json", "stage.json", "hypotheses/dev.txt", "hypotheses/test.txt"}),
        (workflow, {"config.json", "manifest.json"}),
    ):
        root = server.artifacts / experiment.experiment_id / one.info.run_id / "artifacts"
        assert {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()} == files


def everything(server: Server) -> list[object]:
    """All that the server's database holds of runs."""
    with sqlite3.connect(server.database) as connection:
        return [
            sorted(connection.execute(f"SELECT * FROM {table}"), key=repr)
            for table in ("runs", "metrics", "latest_metrics", "params", "tags")
        ]


@pytest.mark.parametrize(
    ("updates", "down"), [(600, 0), pytest.param(10000, 60, marks=pytest.mark.slow)], ids=["as short", "60 s"]
)
def test_a_server_killed_and_started_again(
    server: Server, data: Path, home: Path, tmp_path: Path, updates: int, down: int
) -> None:
    run = training(server, data, home, tmp_path, updates)
    with run.running() as process:
        wait_for_delivery(run, process)
        server.kill()
        wait_for_progress(run, process)
        time.sleep(down)
        within(120, "the outage is noticed", lambda: "wait in" in run.log.read_text())
        assert process.poll() is None, run.log.read_text()
        process.send_signal(signal.SIGSTOP)  # or it might end before the server has started
        server.start()
        process.send_signal(signal.SIGCONT)
        run.finish(process)
    said = run.log.read_text()
    assert "are delivered again" in said
    assert "--deliver" not in said
    assert_everything_arrived(server, run)


@pytest.mark.parametrize("fault", ["killed", "hung"])
def test_a_server_that_stays_away(server: Server, data: Path, home: Path, tmp_path: Path, fault: str) -> None:
    run = training(server, data, home, tmp_path, 300)
    with run.running() as process:
        wait_for_delivery(run, process)
        (server.kill if fault == "killed" else server.hang)()
        try:
            wait_for_progress(run, process)
            within(600, "training ends", lambda: (run.stage("mle") / "result.json").exists())
            assert process.wait(120) == 0, run.log.read_text()  # seconds of waiting, not of work
            assert (tmp_path / "run" / "result.json").exists()
            *said, asked = run.log.read_text().splitlines()
            assert asked.startswith(f"warning: MLflow at {server.uri} does not have all of these runs: once")
            assert not [line for line in said if "--deliver" in line or "Traceback" in line]
            command = re.search(r"once it is back, (python .* --deliver) brings the rest", asked)
            assert command, asked
            still_away = deliver(command[1])
            assert still_away.returncode == 2
            assert still_away.stderr.startswith(f"error: MLflow at {server.uri} ")
            assert still_away.stderr.count("\n") == 1
        finally:
            (server.start if fault == "killed" else server.wake)()
    first = deliver(command[1])
    assert (first.returncode, first.stderr) == (0, "")
    assert_everything_arrived(server, run)
    before = everything(server)
    second = deliver(command[1])
    assert (second.returncode, second.stdout) == (0, f"nothing waits for MLflow in {tmp_path / 'run'}\n")
    assert everything(server) == before


def deliver(command: str) -> subprocess.CompletedProcess[str]:
    """The command that was named, typed."""
    typed = [sys.executable, *shlex.split(command)[1:]]
    return subprocess.run(typed, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
