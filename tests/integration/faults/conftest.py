"""Commands as processes of their own, and a Ray head of our own: signals and jobs are the real ones."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from raysq.training import checkpoint, journal

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
STARTED = "Ray runtime started"
"""What ``ray start`` prints then."""


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


def called(name: bytes, process_id: int) -> set[int]:
    """Ids of the processes below one whose command line has ``name``."""
    return {p for p in descendants(process_id) if name in command_line(p)}


def learners(process_id: int) -> set[int]:
    """Ids of the learners below a command that trains on Ray, or below a node of a cluster."""
    return called(b"RayTrainWorker", process_id)


def kill(process_id: int, what: str) -> None:
    """SIGKILL, and a line that says so."""
    os.kill(process_id, signal.SIGKILL)
    print(f"{time.strftime('%H:%M:%S')} killed {what}, process {process_id}")


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


@pytest.fixture(scope="package")
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


@dataclass(frozen=True)
class Run:
    """A workflow in a place of its own, as a real process."""

    command: Sequence[str]
    """The workflow and its options, but for the output folder."""
    updates: Mapping[str, int]
    """Of each of its stages, all to be done."""
    env: dict[str, str]
    place: Path

    def running(self) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """The command, once more at each call."""
        command = [sys.executable, *self.command, f"--output-dir={self.place / 'run'}"]
        return running(command, self.env, self.log)

    @property
    def log(self) -> Path:
        """What the last command printed."""
        return self.place / "output.txt"

    def finish(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for its end, which must be a good one."""
        assert process.wait(timeout=900) == 0, self.log.read_text()

    def while_it_runs(self, process: subprocess.Popen[bytes], what: str, true: Callable[[], bool]) -> None:
        """Wait until something is true; fail where the command ends before."""

        def there() -> bool:
            assert process.poll() is None, self.log.read_text()
            return true()

        within(600, what, there)

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
        """Wait until a stage has logged ``step`` updates and has a checkpoint; returns the step it is at.

        By then it has not done all of them.
        """

        def there() -> bool:
            return self.logged_step(name) >= step and bool(list(self.stage(name).glob("checkpoints/step-*")))

        self.while_it_runs(process, f"{name} comes to update {step}", there)
        at = self.logged_step(name)
        assert 0 < at < self.updates[name]
        print(f"{name} is at update {at} of {self.updates[name]}")
        return at


def moment(seed: str, first: int, last: int) -> int:
    """When a fault hits: an update between two, the same for the same seed."""
    return random.Random(seed).randint(first, last)


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


def assert_same_results(run: Run, expected: Run, *, diverged: bool = False) -> None:
    """Parameters, hypotheses, scores and loss curves, to the last bit.

    All updates were executed in both, but for those of a last stage that was to diverge.
    """
    results = [json.loads((r.place / "run" / "result.json").read_text()) for r in (run, expected)]
    assert [entry["name"] for entry in results[0]["stages"]] == list(expected.updates)
    for entry, theirs in zip(*(result["stages"] for result in results), strict=True):
        name = entry["name"]
        assert entry["updates"] == theirs["updates"]
        if diverged and entry is results[0]["stages"][-1]:
            assert entry["state"] == "diverged"
        else:
            assert (entry["state"], entry["updates"]) == ("finished", expected.updates[name])
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
    with_policy = [name for name in expected.updates if name != "critic"]
    assert len(texts[0]) == 2 * len(with_policy)  # dev and test
    for path, other_path in zip(*texts, strict=True):
        assert path.read_text() == other_path.read_text()


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
    """A Ray head that asks for a token, as README says to start one."""

    env: dict[str, str]
    address: str
    """HOST:PORT for RAY_ADDRESS."""
    home: Path
    process: subprocess.Popen[bytes]

    def attached(self) -> dict[str, str]:
        """What a command sees that trains here."""
        return self.env | {"RAY_ADDRESS": self.address}

    def ray(self, *arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """``ray ...`` from the project's folder, to its end."""
        return subprocess.run(
            ["ray", *arguments], cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=timeout
        )

    def submit(self, *entry: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """``ray job submit --working-dir . -- ENTRY``."""
        return self.ray("job", "submit", *options, "--working-dir", ".", "--", *entry)


@contextmanager
def ray_node(options: Sequence[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``ray start --block``; once more where a busy machine makes it miss Ray's own limit of 30 s."""
    for _ in range(5):
        with running(["ray", "start", "--block", *options], env, log) as process:
            within(300, "a start", lambda: process.poll() is not None or STARTED in log.read_text())
            if process.poll() is None:
                yield process
                return
    pytest.fail(log.read_text())


@contextmanager
def ray_head(home: Path, *more: str) -> Iterator[Head]:
    """A Ray head, with more options for its start."""
    gcs, dashboard, agent, agent_grpc, client = free_ports(5)
    # as connection.py has it for clusters of its own: at Ray's 15 any other load holds learners up
    env = environment(home) | {"RAY_AUTH_MODE": "token", "RAY_worker_niceness": "0"}
    subprocess.run(["ray", "get-auth-token", "--generate"], env=env, capture_output=True, check=True)
    options = [
        "--head",
        f"--port={gcs}",
        f"--dashboard-port={dashboard}",
        f"--dashboard-agent-listen-port={agent}",
        f"--dashboard-agent-grpc-port={agent_grpc}",
        f"--ray-client-server-port={client}",
        f"--temp-dir={home}",
        "--object-store-memory=150000000",
        "--node-ip-address=127.0.0.1",
    ]
    with ray_node([*options, *more], env, home / "head.log") as process:
        env["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{dashboard}"
        yield Head(env, f"127.0.0.1:{gcs}", home, process)


@pytest.fixture(scope="package")
def head(home: Path) -> Iterator[Head]:
    """One for all tests that need no cluster of their own; it outlives their commands."""
    with ray_head(home, "--num-cpus=2") as started:
        yield started
