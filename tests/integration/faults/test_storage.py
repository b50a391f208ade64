"""Runs on an S3 server and Ray: learners with working copies of their own, a killed command, a sweep."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from raysq import lease
from raysq.addresses import placed
from raysq.storage import pull, push
from tests.integration.faults.conftest import (
    Head,
    Run,
    assert_same_results,
    environment,
    free_ports,
    kill,
    learners,
    ray_head,
    ray_node,
    running,
    statuses,
    within,
)

pytestmark = pytest.mark.faults

UPDATES = {"mle": 1500}
SETTINGS = [
    "workflows/mle.py",
    "--num-learners=1",
    "--threads-per-learner=1",
    "--checkpoint-minutes=0.005",
    "--network.hidden-size=16",
    "--network.embedding-size=16",
    "--decoding.max-length=12",
    "--decoding.beam-size=2",
    "--mle.optimizer=adam",
    "--mle.learning-rate=0.01",
    f"--mle.max-updates={UPDATES['mle']}",
    "--mle.max-epochs=1000",
    "--mle.max-decays=1000",
    "--mle.evaluate-every=300",
]
SPACE = """
from raysq.sweep.space import Arm, Space

MLE = {"mle.optimizer": "adam", "mle.learning_rate": 0.01}
SPACE = Space("small", "Small", (Arm("MLE", "mle", MLE), Arm("AC", "ac", MLE)), seeds=(1,), baseline="MLE")
"""


@pytest.fixture
def head(s3: str, tmp_path: Path) -> Iterator[Head]:
    """A cluster of a machine of its own: other working copies than the tests' commands have."""
    os.environ["RAYSQ_CACHE"] = str(tmp_path / "cluster")  # of the s3 fixture's, which restores it
    with (
        tempfile.TemporaryDirectory(prefix="rsq", dir="/tmp", ignore_cleanup_errors=True) as folder,
        ray_head(Path(folder), "--num-cpus=2") as cluster,
    ):
        os.environ["RAYSQ_CACHE"] = str(tmp_path / "copies")
        yield cluster


def seen(address: str) -> bool:
    """Whether something lies there."""
    system, root = fsspec.url_to_fs(address, use_listings_cache=False)
    system.invalidate_cache()
    return bool(system.glob(root))


def command(cluster: Head, copies: Path, arguments: list[str], log: Path):
    env = cluster.attached() | {"RAYSQ_CACHE": str(copies)}
    return running([sys.executable, *arguments], env, log)


def put_data(data: Path, s3: str) -> str:
    """The prepared data on the server."""
    shutil.copytree(data, placed(f"{s3}/data"))
    push(placed(f"{s3}/data"))
    return f"{s3}/data"


@pytest.mark.slow
def test_a_killed_command_goes_on_on_another_machine(
    s3: str, head: Head, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = tmp_path / "local"
    local.mkdir()
    here = Run([*SETTINGS, f"--data-dir={data}", "--num-learners=0"], UPDATES, environment(head.home), local)
    with here.running() as process:
        here.finish(process)

    address, database, log = f"{s3}/runs/run", tmp_path / "mlflow.db", tmp_path / "log.txt"
    places = [f"--data-dir={put_data(data, s3)}", f"--output-dir={address}"]
    arguments = [*SETTINGS, *places, f"--tracking-uri=sqlite:///{database}"]
    with command(head, tmp_path / "first", arguments, log) as process:

        def sent() -> bool:
            assert process.poll() is None, log.read_text()
            return seen(f"{s3}/runs/stages/mle-*/checkpoints/step-*/state.json")

        within(300, "a checkpoint on the server", sent)
        kill(process.pid, "the command")
        process.wait()
    within(120, "the end of the learner", lambda: not learners(head.process.pid))
    shutil.rmtree(tmp_path / "cluster")  # the learners' machine is gone, too
    shutil.rmtree(tmp_path / "first")

    with command(head, tmp_path / "second", arguments, log) as process:
        assert process.wait(300) == 2, log.read_text()
    assert f"error: the output folder in {address} is in use by process" in log.read_text()
    silence(s3)
    with command(head, tmp_path / "second", arguments, log) as process:
        assert process.wait(600) == 0, log.read_text()
    assert f"resumes in {s3}/runs/stages/mle-" in log.read_text()
    assert not list((tmp_path / "second").rglob("tensors.safetensors")), "the command needs none"

    monkeypatch.setenv("RAYSQ_CACHE", str(tmp_path / "reader"))
    pull(placed(address))
    result = json.loads((placed(address) / "result.json").read_text())
    pull(placed(result["stages"][0]["folder"]))
    there = Run(SETTINGS, UPDATES, {}, placed(address).parent)
    assert_same_results(there, here)
    assert statuses(database) == {"FINISHED"}


def silence(s3: str) -> None:
    """Let claims end that a killed command holds: their last sign of life is old."""
    system, root = fsspec.url_to_fs(s3, use_listings_cache=False)
    claims = [path for path in system.find(root) if "/claims/" in path]
    assert claims
    for path in claims:
        record = json.loads(system.cat_file(path))
        system.pipe_file(path, json.dumps(record | {"at": record["at"] - lease.LIFE}).encode())


@pytest.mark.slow
def test_a_sweep_and_its_report(s3: str, head: Head, data: Path, tmp_path: Path) -> None:
    space, log = tmp_path / "small.py", tmp_path / "log.txt"
    space.write_text(SPACE)
    sizes = ["network.hidden_size=16", "network.embedding_size=16", "decoding.max_length=12"]
    stages = [
        f"{stage}.{key}=20" for stage in ("mle", "critic", "ac") for key in ("max_updates", "evaluate_every")
    ]
    uri = f"--tracking-uri=sqlite:///{tmp_path / 'mlflow.db'}"
    arguments = ["workflows/tune.py", f"--space={space}", f"--settings={','.join([*sizes, *stages])}"]
    arguments += [f"--data-dir={put_data(data, s3)}", f"--output-dir={s3}/runs/sweep", uri]
    for again in (False, True):
        with command(head, tmp_path / f"driver{again}", arguments, log) as process:
            assert process.wait(600) == 0, log.read_text()
        pull(placed(f"{s3}/runs/sweep"))
        result = json.loads((placed(f"{s3}/runs/sweep") / "result.json").read_text())
        assert (result["stages"], result["stages_trained"]) == (3, 0 if again else 3)
        assert [trial["state"] for trial in result["trials"]] == ["finished", "finished"]
        assert all(trial["folder"].startswith(f"{s3}/runs/stages/") for trial in result["trials"])
    report = ["workflows/report.py", "--experiment=raysq", uri, f"--output-dir={s3}/report"]
    with command(head, tmp_path / "reader", report, log) as process:
        assert process.wait(300) == 0, log.read_text()
    assert "No bootstrap" not in log.read_text()
    pull(placed(f"{s3}/report"))
    page = (placed(f"{s3}/report") / "report.html").read_text()
    assert "bootstrap" in page
    assert (placed(f"{s3}/report") / "rows").is_dir()


@pytest.mark.skipif(
    subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode != 0,
    reason="needs the right to give a process folders of its own",
)
@pytest.mark.slow
def test_a_folder_that_a_node_does_not_see_is_refused(
    head: Head, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, log = tmp_path / "mine", tmp_path / "log.txt"
    mine.mkdir()
    monkeypatch.setenv("PATH", f"{hiding(mine, tmp_path)}{os.pathsep}{os.environ['PATH']}")
    (port,) = free_ports(1)
    options = [f"--address={head.address}", "--num-cpus=1", "--node-ip-address=127.0.0.1"]
    options += [f"--dashboard-agent-listen-port={port}"]
    with ray_node(options, head.env | {"PATH": os.environ["PATH"]}, tmp_path / "node.log"):
        arguments = [*SETTINGS, f"--data-dir={data}", f"--output-dir={mine / 'runs' / 'run'}"]
        with command(head, tmp_path / "driver", arguments, log) as process:
            assert process.wait(300) == 2, log.read_text()
        assert f"error: --output-dir {mine / 'runs' / 'run'}: node " in log.read_text()
        assert "does not see this folder" in log.read_text()
        assert list(mine.iterdir()) == []
        shared = tmp_path / "shared" / "run"
        few = [*arguments[:-1], f"--output-dir={shared}", "--mle.max-updates=2", "--mle.evaluate-every=1"]
        with command(head, tmp_path / "driver", few, log) as process:
            assert process.wait(600) == 0, log.read_text()


def hiding(folder: Path, place: Path) -> Path:
    """A folder with a ``ray`` whose processes do not see what is in ``folder``."""
    real = shutil.which("ray", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    script = place / "bin" / "ray"
    script.parent.mkdir()
    hidden = f"mount -t tmpfs none {folder} && exec {real}"
    script.write_text(f"""#!/bin/sh\nexec unshare --mount sh -c '{hidden} "$@"' ray "$@"\n""")
    script.chmod(0o755)
    return script.parent
