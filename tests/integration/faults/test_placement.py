"""A head and nodes on one machine: learners stay on the one, reward and sample workers on the others."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.faults.conftest import ROOT, Head, checkpoints, ray_head, ray_node, running, within

pytestmark = pytest.mark.faults

SETTINGS = [
    "--threads-per-learner=1",
    "--checkpoint-minutes=0.01",
    "--network.hidden-size=16",
    "--network.embedding-size=16",
    "--decoding.max-length=12",
    "--decoding.beam-size=1",
    "--raml.max-updates=100000",
    "--raml.max-epochs=100000",
    "--raml.evaluate-every=50",
    "--worker-resource=place",
]
ASK = """
import json, ray
from ray._private.state import actors
ray.init(logging_level="ERROR", log_to_driver=False)
nodes = [[node["NodeID"], node["Resources"]] for node in ray.nodes() if node["Alive"]]
alive = [[a["ActorClassName"], a["Address"]["NodeID"]] for a in actors(actor_state_name="ALIVE").values()]
print(json.dumps([nodes, alive]))
"""
"""Prints which nodes there are, with their resources, and on which of them every actor is."""


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """One CPU, and no place for workers; nodes are added to it."""
    options = ["--num-cpus=1", "--include-dashboard=false"]
    with (
        tempfile.TemporaryDirectory(prefix="rsq", dir="/tmp", ignore_cleanup_errors=True) as home,
        ray_head(Path(home), *options) as started,
    ):
        yield started


def asked(head: Head) -> tuple[list, list]:
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=ROOT,
        env=head.attached(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    nodes, alive = json.loads(done.stdout.splitlines()[-1])
    return nodes, alive


def test_workers_wait_for_nodes_that_have_their_resource_and_stay_on_them(
    head: Head, data: Path, tmp_path: Path
) -> None:
    node = [f"--address={head.address}", "--num-cpus=0", "--object-store-memory=100000000"]
    command = [sys.executable, "workflows/raml.py", *SETTINGS, f"--data-dir={data}"]
    log, output = tmp_path / "log", tmp_path / "run"
    with ExitStack() as exits:

        def add_node(number: int) -> None:
            options = [*node, '--resources={"place": 1}']
            exits.enter_context(ray_node(options, head.env, tmp_path / f"node{number}.log"))

        add_node(1)
        short = [*command, "--num-reward-workers=3", f"--output-dir={output}"]
        done = subprocess.run(
            short, cwd=ROOT, env=head.attached(), capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 2, done.stdout + done.stderr
        assert done.stderr.splitlines()[-1] == (
            f"error: --worker-resource place: 4 reward and sample workers take one each, the cluster at "
            f"{head.address} has 1: lower --num-reward-workers or --num-sample-workers, or start a node with "
            "--resources '{\"place\":3}', or add --wait-for-resources"
        )
        assert not output.exists()

        patient = [*command, "--wait-for-resources", f"--output-dir={output}"]
        process = exits.enter_context(running(patient, head.attached(), log))
        waits = f"waiting for 1 CPUs (free now: 1) and 2 place (free now: 1) on the cluster at {head.address}"
        within(120, "it waits", lambda: waits in log.read_text())
        assert not output.exists()
        add_node(2)

        def trains() -> bool:
            assert process.poll() is None, log.read_text()
            return bool(checkpoints(tmp_path / "stages"))

        within(300, "a checkpoint", trains)
        nodes, alive = asked(head)
    found: dict[str, set[str]] = {}
    for name, node_id in alive:
        found.setdefault(name.rpartition(".")[2], set()).add(node_id)
    places = {node_id for node_id, resources in nodes if "place" in resources}
    heads = {node_id for node_id, resources in nodes if "CPU" in resources}
    assert len(places) == 2
    assert found["RewardWorker"] | found["SampleWorker"] == places  # one each
    assert found["RayTrainWorker"] == heads
    assert not places & heads
