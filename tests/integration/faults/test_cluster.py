"""Two learners on a cluster of two nodes: one of them lost, its node lost, its node taken away on notice."""

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from raysq.training import journal
from tests.integration.faults.conftest import (
    LONG,
    Head,
    Run,
    alive,
    assert_continued,
    assert_same_results,
    called,
    checkpoints,
    command_line,
    kill,
    learners,
    moment,
    ray_head,
    ray_node,
    statuses,
    within,
)
from tests.integration.test_workflow import parameters

pytestmark = pytest.mark.faults

UPDATES = {"mle": 500}
SETTINGS = [
    "--num-learners=2",
    "--threads-per-learner=1",
    "--reuse=never",
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
    "--mle.evaluate-every=100",
]
ELASTIC = """
import sys
from raysq.cluster import driver
from raysq.workflow import main
from workflows.mle import RECIPE
driver.RESIZE_INTERVAL = 5.0
sys.exit(main(RECIPE, None))
"""
HEAVY = [
    "--min-learners=1",
    "--network.hidden-size=128",
    "--network.embedding-size=128",
    "--network.dropout=0",
    "--mle.optimizer=sgd",
    "--mle.learning-rate=0.6",
    "--mle.batch-size=150",
    "--mle.evaluate-every=6",
]
"""Updates that take long, so that some are left when a node's learner has ended, seconds after the kill."""
RAYLET = b"raylet/raylet"
"""In the command line of a node's main process."""
NOTICE = 8
"""Time between the notice that a node will be taken away and its end [s]."""
IMPATIENT = """
import sys
from raysq.cluster import connection
from raysq.workflow import main
from workflows.mle import RECIPE
connection.LOST_PATIENCE = 5.0
sys.exit(main(RECIPE, None))
"""


@dataclass
class Cluster:
    """A head and a node of one CPU each; the node may be replaced."""

    head: Head
    exits: ExitStack
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    """All that ever joined; the last one lives."""

    def add_node(self) -> None:
        """One more; returns when it has joined."""
        log = self.head.home / f"node{len(self.nodes)}.log"
        options = [f"--address={self.head.address}", "--num-cpus=1", "--object-store-memory=100000000"]
        process = self.exits.enter_context(ray_node(options, self.head.env, log))
        self.nodes.append(process)

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """SIGKILL of all on it, as when a machine is lost; after a notice it may have ended by itself."""
        below = called(b"ray::", node.pid)
        for process in [*called(RAYLET, node.pid), *below]:
            with suppress(ProcessLookupError):  # it has ended by itself in this moment
                kill(process, "a process of a node")
        node.terminate()  # `ray start --block` outlives a raylet that has ended by itself with status 0
        within(300, "the node has ended", lambda: node.poll() is not None and not alive(below))

    def give_notice(self, node: subprocess.Popen[bytes]) -> float:
        """Say that a node will be taken away; returns when that will be, by ``time.time``."""
        (raylet,) = called(RAYLET, node.pid)
        arguments = command_line(raylet).split(b"\0")
        (node_id,) = (a.partition(b"=")[2].decode() for a in arguments if a.startswith(b"--node_id="))
        ends = time.time() + NOTICE
        told = self.head.ray(
            "drain-node",
            f"--address={self.head.address}",
            f"--node-id={node_id}",
            "--reason=DRAIN_NODE_REASON_PREEMPTION",
            "--reason-message=a test",
            f"--deadline-remaining-seconds={NOTICE}",
        )
        assert told.returncode == 0, told.stderr
        print(f"{time.strftime('%H:%M:%S')} told node {node_id} that it has {NOTICE} s")
        return ends

    def learners(self) -> set[int]:
        """On all nodes."""
        return {p for node in (self.head.process, *self.nodes) for p in learners(node.pid)}


@contextmanager
def slowed(processes: set[int]) -> Iterator[None]:
    """They work a tenth of the time meanwhile, and so still answer when Ray asks them how they are."""

    def tell(what: signal.Signals) -> None:
        for process in processes:
            with suppress(ProcessLookupError):  # ended meanwhile
                os.kill(process, what)

    def throttle() -> None:
        while not over.wait(0.05):
            tell(signal.SIGSTOP)
            over.wait(0.45)
            tell(signal.SIGCONT)

    over, thread = threading.Event(), threading.Thread(target=throttle)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        tell(signal.SIGCONT)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    options = ["--num-cpus=1", "--include-dashboard=false"]  # nobody looks, and it takes long to start
    with (
        tempfile.TemporaryDirectory(prefix="rsq", dir="/tmp", ignore_cleanup_errors=True) as home,
        ray_head(Path(home), *options) as head,
        ExitStack() as exits,
    ):
        started = Cluster(head, exits)
        started.add_node()
        yield started


def mle(cluster: Cluster, data: Path, place: Path, *program: str) -> Run:
    command = [*(program or ["workflows/mle.py"]), *SETTINGS, f"--data-dir={data}"]
    return Run(command, UPDATES, cluster.head.attached(), place)


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = mle(cluster, data, tmp_path_factory.mktemp("undisturbed"))
    with run.running() as process:
        run.finish(process)
    return run


def test_what_is_lost_of_two_learners_is_replaced_and_nothing_changes(
    cluster: Cluster, undisturbed: Run, data: Path, tmp_path: Path
) -> None:
    """First the node of a learner, on notice; then a learner; then a node at once."""
    run = mle(cluster, data, tmp_path)
    with run.running() as process:

        def learners_at(first: int, last: int) -> set[int]:
            run.wait_for(process, "mle", moment(f"mle {first}", first, last))
            found = cluster.learners()
            assert len(found) == 2
            return found

        def wait_for_others(than: set[int]) -> None:
            run.while_it_runs(process, "two new learners", lambda: len(cluster.learners() - than) == 2)

        before = learners_at(40, 60)
        taken = cluster.nodes[-1]
        assert len(learners(taken.pid)) == 1
        with slowed(before):  # or a fast machine has done all updates before the deadline
            ends = cluster.give_notice(taken)
            cluster.add_node()
            time.sleep(max(0.0, ends - time.time()))
        cluster.kill(taken)
        wait_for_others(before)

        before = learners_at(350, 380)
        kill(sorted(before)[moment("which", 0, 1)], "one of two learners")
        wait_for_others(before)

        before = learners_at(420, 440)
        lost = cluster.nodes[-1]
        assert len(learners(lost.pid)) == 1
        cluster.kill(lost)
        cluster.add_node()
        wait_for_others(before)
        run.finish(process)
    assert_continued(run, "mle")
    assert_same_results(run, undisturbed)


@pytest.mark.slow
def test_a_node_lost_for_good_ends_the_command_and_the_same_command_continues(
    cluster: Cluster, undisturbed: Run, data: Path, tmp_path: Path
) -> None:
    run = mle(cluster, data, tmp_path, "-c", IMPATIENT)
    with run.running() as process:
        run.wait_for(process, "mle", moment("for good", 40, 160))
        cluster.kill(cluster.nodes[-1])
        assert process.wait(600) == 1, run.log.read_text()
    lacking = "--num-learners 2 needs 2 CPUs, what is left of the cluster has 1"
    lines = run.log.read_text().splitlines()
    assert f"waiting for a node: {lacking}" in lines
    assert lines[-1] == (
        f"error: {lacking}: lower it, or add a node; repeat the command to continue from the last checkpoint"
    )
    assert statuses(tmp_path / "mlflow.db") == {"FAILED"}
    assert checkpoints(tmp_path / "stages")
    within(60, "no learner is left", lambda: not cluster.learners())
    cluster.add_node()
    with run.running() as again:
        run.finish(again)
    assert_continued(run, "mle")
    assert_same_results(run, undisturbed)


@pytest.mark.slow
def test_with_fewer_learners_it_goes_on_without_a_lost_node(
    cluster: Cluster, data: Path, tmp_path: Path
) -> None:
    """The batches are the same, so the model is that of one learner all along, but for rounding."""

    def run_of(name: str, *more: str) -> Run:
        place = tmp_path / name
        place.mkdir()
        made = mle(cluster, data, place, "-c", ELASTIC)
        updates = {"mle": 60}
        return Run(
            [*made.command, *HEAVY, f"--mle.max-updates={updates['mle']}", *more], updates, made.env, place
        )

    def result_of(run: Run) -> dict:
        return json.loads((run.place / "run" / "result.json").read_text())

    alone, run = run_of("alone", "--num-learners=0", "--min-learners=0"), run_of("elastic")
    with alone.running() as process:
        alone.finish(process)
    try:
        with run.running() as process:
            at = run.wait_for(process, "mle", 6)
            assert len(cluster.learners()) == 2
            cluster.kill(cluster.nodes[-1])
            run.finish(process)
    finally:
        cluster.add_node()
    lines = run.log.read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("mle update ") and "learners" in line]
    first, _, rest = line.removeprefix("mle update ").partition(": ")
    assert (int(first) >= at, rest) == (True, "goes on with 1 of 2 learners")
    (entry,) = result_of(run)["stages"]
    assert (entry["state"], entry["updates"]) == ("finished", 60)
    theirs = parameters(result_of(alone), "mle")
    for key, value in parameters(result_of(run), "mle").items():
        # sixty such updates of one process differ by 1.1e-4 where gradients are accumulated in two parts
        assert float((value - theirs[key]).norm() / theirs[key].norm()) < 2e-4, key
    records, _ = journal.read(run.stage("mle") / "journal.jsonl")
    assert [r.step for r in records if "train/loss_mle" in r.metrics] == [*range(6, 61, 6)]  # none done again


@pytest.mark.slow
def test_a_learner_is_added_on_a_new_node(cluster: Cluster, data: Path, tmp_path: Path) -> None:
    """It begins with those there is room for."""
    cluster.kill(cluster.nodes[-1])
    command = ["-c", ELASTIC, *LONG, "--num-learners=2", "--min-learners=1", "--reuse=never"]
    command += ["--checkpoint-minutes=0.02", f"--data-dir={data}"]
    run = Run(command, {"mle": 100000}, cluster.head.attached(), tmp_path)
    with run.running() as process:

        def said(learners: int) -> bool:
            return f": goes on with {learners} of 2 learners" in run.log.read_text()

        run.while_it_runs(process, "one learner", lambda: said(1) and run.logged_step("mle") >= 50)
        cluster.add_node()
        run.while_it_runs(process, "two learners", lambda: said(2))
        at = run.logged_step("mle")
        run.while_it_runs(process, "they go on", lambda: run.logged_step("mle") >= at + 50)
        assert len(cluster.learners()) == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 143, run.log.read_text()
    assert_continued(run, "mle")
