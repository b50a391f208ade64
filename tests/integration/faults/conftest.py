"""Commands as processes of their own, and a Ray head of our own: signals and jobs are the real ones."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
LONG = [
    "--threads-per-learner=1",
    "--network.hidden-size=16",
    "--network.embedding-size=16",
    "--decoding.max-length=12",
    "--decoding.beam-size=1",
    "--mle.max-updates=100000",
    "--mle.max-epochs=100000",
    "--mle.max-decays=100000",
    "--mle.evaluate-every=50",
]
"""A stage that is still training when the test gets to it, and writes a checkpoint every second or so."""


def within(seconds: float, what: str, true: Callable[[], bool]) -> None:
    """Wait until something is true; fail when it is not in time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not after {seconds:g} s: {what}"
        time.sleep(0.2)


def checkpoints(store: Path) -> list[Path]:
    return sorted(store.glob("*/checkpoints/step-*"))


def statuses(database: Path) -> set[str]:
    """How MLflow says that the runs ended."""
    client = MlflowClient(f"sqlite:///{database}")
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    return {run.info.status for run in runs}


def descendants(process_id: int) -> set[int]:
    """Ids of all processes below one, itself not among them."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found: set[int] = set()
    wanted = {process_id}
    while wanted:
        wanted = {child for child, parent in parents.items() if parent in wanted}
        found |= wanted
    return found


def command_line(process_id: int) -> bytes:
    try:
        return Path(f"/proc/{process_id}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def learners(process_id: int) -> set[int]:
    """Ids of the learners below a command that trains on Ray."""
    return {p for p in descendants(process_id) if b"RayTrainWorker" in command_line(p)}


def alive(process_ids: set[int]) -> set[int]:
    """Those that still run; zombies do not."""

    def runs(process_id: int) -> bool:
        try:
            return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False

    return {process_id for process_id in process_ids if runs(process_id)}


def environment(home: Path) -> dict[str, str]:
    """What a command sees: nothing of a cluster or a token of the user's own."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    mine = {"HOME": str(home), "RAY_TMPDIR": str(home), "PATH": path, "PYTHONPATH": str(ROOT)}
    return (
        inherited | mine | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    )


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home folder with a short path, which Ray's sockets need."""
    with tempfile.TemporaryDirectory(prefix="rsq", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def running(command: Sequence[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of a group of its own; whatever is left of it and below it is killed, by its id."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=file, stderr=file, start_new_session=True
        )
    below: set[int] = set()
    try:
        yield process
    finally:
        below = descendants(process.pid)
        process.kill()
        process.wait()
        for process_id in alive(below):
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(process_id, signal.SIGKILL)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, outside those that Ray's workers take (10002 to 19999)."""
    sockets = [socket.socket() for _ in range(count)]
    ports: list[int] = []
    for each in sockets:
        for port in range(21000 + (os.getpid() * 31) % 9000, 32000):
            try:
                each.bind(("", port))
            except OSError:
                continue
            ports.append(port)
            break
    for each in sockets:
        each.close()
    return ports


@dataclass(frozen=True)
class Head:
    """A Ray head of 2 CPUs that asks for a token, as README says to start one."""

    env: dict[str, str]
    address: str
    """HOST:PORT for RAY_ADDRESS."""
    home: Path

    def ray(self, *arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """``ray ...`` from the project's folder, to its end."""
        return subprocess.run(
            ["ray", *arguments], cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=timeout
        )

    def submit(self, *entry: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """``ray job submit --working-dir . -- ENTRY``."""
        return self.ray("job", "submit", *options, "--working-dir", ".", "--", *entry)


@pytest.fixture(scope="module")
def head(home: Path) -> Iterator[Head]:
    gcs, dashboard, agent, agent_grpc, client = free_ports(5)
    env = environment(home) | {"RAY_AUTH_MODE": "token"}
    subprocess.run(["ray", "get-auth-token", "--generate"], env=env, capture_output=True, check=True)
    options = [
        "--num-cpus=2",
        f"--port={gcs}",
        f"--dashboard-port={dashboard}",
        f"--dashboard-agent-listen-port={agent}",
        f"--dashboard-agent-grpc-port={agent_grpc}",
        f"--ray-client-server-port={client}",
        f"--temp-dir={home}",
        "--object-store-memory=150000000",
        "--node-ip-address=127.0.0.1",
    ]
    log = home / "head.log"
    with running(["ray", "start", "--head", "--block", *options], env, log):
        within(120, "Ray's head has started", lambda: "Ray runtime started" in log.read_text())
        env["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{dashboard}"
        yield Head(env, f"127.0.0.1:{gcs}", home)
