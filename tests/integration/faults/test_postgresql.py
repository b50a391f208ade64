"""Eight trials that log at once to an MLflow server on PostgreSQL: every value is there, and once."""

import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from mlflow import MlflowClient

from tests.integration.faults.conftest import environment, free_ports, running, within
from tests.integration.faults.postgresql_trial import STEPS, metrics
from tests.integration.test_mlflow_ui import healthy

pytestmark = pytest.mark.faults

TRIALS = 8


def programs() -> Path:
    """The folder of the newest PostgreSQL's programs, where Debian has them or as PATH has them."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    on_path = shutil.which("initdb")
    found += [Path(on_path).parent] if on_path else []
    if not found:
        refuse = pytest.fail if os.environ.get("RAYSQ_NEEDS_POSTGRESQL") else pytest.skip
        refuse("there is no PostgreSQL here: apt-get install postgresql")
    return found[-1]


def unprivileged() -> int | None:
    """User that PostgreSQL runs as, which must not be root; None: the one who runs this."""
    if os.geteuid() != 0:
        return None
    known = {user.pw_name: user.pw_uid for user in pwd.getpwall()}
    return known.get("postgres", known["nobody"])


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """HOST:PORT/NAME with user and password of an empty database on a server of our own."""
    binaries, user = programs(), unprivileged()
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="rsq", dir="/tmp", ignore_cleanup_errors=True) as place:
        folder, password = Path(place), secrets.token_hex(16)
        (folder / "password").write_text(password)
        if user is not None:
            for path in (folder, folder / "password"):
                os.chown(path, user, -1)
        made = subprocess.run(
            [
                binaries / "initdb",
                f"--pgdata={folder / 'data'}",
                "--username=mlflow",
                "--auth=scram-sha-256",
                f"--pwfile={folder / 'password'}",
                "--encoding=UTF8",
                "--no-sync",
            ],
            user=user,
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
        )
        assert made.returncode == 0, made.stderr
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", f"port={port}", "fsync=off"]
        options = [part for setting in settings for part in ("-c", setting)]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [binaries / "postgres", "-D", folder / "data", *options],
                user=user,
                stdout=log,
                stderr=log,
                cwd=folder,
            )
        try:
            address = f"mlflow:{password}@127.0.0.1:{port}"

            def answers() -> bool:
                assert server.poll() is None, (folder / "log").read_text()
                try:
                    psycopg.connect(f"postgresql://{address}/postgres", connect_timeout=5).close()
                except psycopg.OperationalError:
                    return False
                return True

            within(120, "PostgreSQL answers", answers)
            with psycopg.connect(f"postgresql://{address}/postgres", autocommit=True) as connection:
                connection.execute("CREATE DATABASE mlflow")
            yield f"{address}/mlflow"
        finally:
            server.send_signal(signal.SIGINT)  # "fast": ends sessions and closes in order
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


@pytest.fixture(scope="module")
def server(database: str, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an MLflow server on the database."""
    (port,) = free_ports(1)
    place = tmp_path_factory.mktemp("server")
    env = environment(home) | {
        "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg://{database}",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}"]
    command += ["--workers=2", f"--artifacts-destination={place / 'artifacts'}"]
    with running(command, env, place / "log") as process:

        def answers() -> bool:
            assert process.poll() is None, (place / "log").read_text()
            return healthy(port)

        within(300, "MLflow answers", answers)
        yield f"http://127.0.0.1:{port}"


def test_nothing_that_eight_trials_log_at_once_is_lost_or_doubled(
    server: str, database: str, home: Path, tmp_path: Path
) -> None:
    """Each with journal and delivery of its own, and a second driver and replayed steps half-way."""
    patient = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}  # they all start on two cores
    with ExitStack() as exits:
        trials = []
        for number in range(TRIALS):
            program = [sys.executable, "-m", "tests.integration.faults.postgresql_trial"]
            command = [*program, server, str(tmp_path), str(number)]
            trials.append(
                exits.enter_context(running(command, environment(home) | patient, tmp_path / f"{number}.log"))
            )

        def ready() -> bool:
            for number, trial in enumerate(trials):
                assert trial.poll() is None, (tmp_path / f"{number}.log").read_text()
            return len(list(tmp_path.glob("*/ready"))) == TRIALS

        within(400, "all trials have their runs", ready)
        (tmp_path / "go").touch()
        for number, trial in enumerate(trials):
            assert trial.wait(600) == 0, (tmp_path / f"{number}.log").read_text()
    done = [json.loads((tmp_path / str(number) / "done.json").read_text()) for number in range(TRIALS)]
    assert max(one["began"] for one in done) < min(one["ended"] for one in done)  # all at once, indeed

    with psycopg.connect(f"postgresql://{database}") as connection:
        for number, one in enumerate(done):
            query = "SELECT key, step, value FROM metrics WHERE run_uuid = %s"
            stored = Counter(connection.execute(query, (one["run_id"],)).fetchall())
            expected = Counter(
                (name, step, value) for step in range(STEPS) for name, value in metrics(number, step).items()
            )
            assert stored == expected, f"trial {number}"
        (rows,) = connection.execute("SELECT count(*) FROM metrics").fetchone() or (0,)
    assert rows == TRIALS * (5 * STEPS + STEPS // 20)
    client = MlflowClient(server)
    history = client.get_metric_history(done[3]["run_id"], "train/a")
    assert [(point.step, point.value) for point in history] == [(s, 3 + s / 1000) for s in range(STEPS)]
    assert {client.get_run(one["run_id"]).info.status for one in done} == {"FINISHED"}
