import os
import re
import signal
import socket
from pathlib import Path

import pytest
import ray

from raysq.cluster.connection import (
    Room,
    chosen_device,
    connection,
    shortage,
    start,
    stop,
    worker_shortage,
)
from raysq.config import Unfinished, UserError, WorkflowConfig
from raysq.workflow import main
from workflows.mle import RECIPE

CORES = len(os.sched_getaffinity(0))


@pytest.fixture(autouse=True)
def no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def never(line: str) -> None:
    pytest.fail(f"said {line}")


@pytest.mark.parametrize(
    ("wanted", "gpus", "chosen"),
    [("auto", 0, "cpu"), ("auto", 1, "cuda"), ("cpu", 4, "cpu"), ("cuda", 0, "cuda")],
)
def test_auto_takes_gpus_where_there_are_any(wanted, gpus, chosen) -> None:
    assert chosen_device(wanted, {"CPU": 8.0, "GPU": gpus}) == chosen
    assert chosen_device("auto", {"CPU": 8.0}) == "cpu"


@pytest.mark.parametrize(
    ("num_learners", "device", "there", "lacking"),
    [
        (4, "cpu", {"CPU": 4.0}, None),
        (5, "cpu", {"CPU": 4.0, "GPU": 8.0}, "--num-learners 5 needs 5 CPUs, it has 4: lower it"),
        (1, "cpu", {"memory": 1e9}, "--num-learners 1 needs 1 CPUs, it has 0: lower it"),
        (2, "cuda", {"CPU": 2.0, "GPU": 2.0}, None),
        (
            2,
            "cuda",
            {"CPU": 8.0, "GPU": 1.0},
            "--num-learners 2 needs 2 GPUs, it has 1: lower it, or give --device cpu",
        ),
        (2, "cuda", {"CPU": 1.0, "GPU": 2.0}, "--num-learners 2 needs 2 CPUs, it has 1: lower it"),
        (1, "cuda", {"CPU": 8.0}, "--device cuda: it has no GPU: give --device auto or cpu"),
    ],
)
def test_shortage(num_learners, device, there, lacking) -> None:
    assert shortage(num_learners, device, there, "it") == lacking


@pytest.mark.parametrize(
    ("there", "lacking"),
    [
        ({"CPU": 1.0, "node": 4.0}, None),
        (
            {"CPU": 64.0, "node": 1.0},
            "--worker-resource node: 4 reward and sample workers take one each, it has 1: lower "
            "--num-reward-workers or --num-sample-workers, or start a node with --resources '{\"node\":3}'",
        ),
        (
            {"CPU": 64.0},
            "--worker-resource node: 4 reward and sample workers take one each, it has 0: lower "
            "--num-reward-workers or --num-sample-workers, or start a node with --resources '{\"node\":4}'",
        ),
    ],
)
def test_shortage_of_what_workers_take(there, lacking) -> None:
    assert worker_shortage(4, "node", there, "it") == lacking


def test_a_machine_alone_has_no_custom_resource() -> None:
    config = WorkflowConfig(device="cpu", worker_resource="node")
    said = "^--worker-resource node: this machine alone has none of it: leave it out, or name a cluster"
    with pytest.raises(UserError, match=said), connection(config, never, 1):
        pass


def test_fewer_learners_may_be_enough() -> None:
    config = WorkflowConfig(num_learners=CORES + 1, min_learners=CORES, device="cpu")
    with connection(config, never) as device:
        assert device == "cpu"
    config = WorkflowConfig(num_learners=CORES + 2, min_learners=CORES + 1, device="cpu")
    said = f"^--min-learners {CORES + 1} needs {CORES + 1} CPUs, this machine has {CORES}: lower it$"
    with pytest.raises(UserError, match=said), connection(config, never):
        pass


def test_on_this_machine_nothing_is_started_to_find_room() -> None:
    config = WorkflowConfig(num_learners=CORES, device="cpu")
    attached = ray.is_initialized()
    with connection(config, never) as device:
        assert device == "cpu"
        assert ray.is_initialized() == attached


def test_waiting_does_not_help_where_this_machine_lacks_cores() -> None:
    config = WorkflowConfig(num_learners=CORES + 1, device="cpu", wait_for_resources=True)
    said = f"--num-learners {CORES + 1} needs {CORES + 1} CPUs, this machine has {CORES}: lower it"
    with pytest.raises(UserError, match=f"^{said}$"), connection(config, never):
        pass


def test_too_many_learners_are_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [f"--num-learners={CORES + 1}", "--device=cpu", f"--output-dir={tmp_path / 'a' / 'run'}"]
    assert main(RECIPE, None, options) == 2
    assert capsys.readouterr().err.startswith(f"error: --num-learners {CORES + 1} needs ")
    assert not (tmp_path / "a").exists()


def test_sigterm_is_ours_again_when_ray_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        monkeypatch.setattr(ray, "shutdown", lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
        stop()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_ray_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**options: object) -> None:
        raise Exception("The current node timed out during startup.\nAnd so on")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(
        Unfinished, match=r"^Ray has not started on this machine \(The current node timed out"
    ):
        start()


@pytest.mark.parametrize("wait", [False, True])
def test_a_cluster_that_has_lost_a_node_has_a_while_to_replace_it(
    monkeypatch: pytest.MonkeyPatch, wait: bool
) -> None:
    now, there, said = [1000.0], {"CPU": 2.0}, []
    monkeypatch.setattr(ray, "cluster_resources", lambda: there)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    room = Room(WorkflowConfig(num_learners=2, wait_for_resources=wait), "cpu", said.append)
    line = "waiting for a node: --num-learners 2 needs 2 CPUs, what is left of the cluster has 1"

    def check(time: float, cpus: float) -> list[str]:
        now[0], there["CPU"] = time, cpus
        said.clear()
        room.check()
        return list(said)

    assert check(1000, 2) == []
    assert check(1010, 1) == [line]
    assert check(1060, 1) == []
    assert check(1071, 1) == [line]
    assert check(1309, 1) == [line]
    assert check(1310, 2) == []  # replaced
    assert check(1400, 1) == [line]  # the next one
    assert check(1700, 1) == [line]
    if wait:
        assert check(9999, 1) == [line]
    else:
        with pytest.raises(Unfinished, match=f"^{line.partition(': ')[2]}: lower it, or add a node; repeat"):
            check(1700.1, 1)


def test_lost_places_of_workers_are_told_and_awaited_too(monkeypatch: pytest.MonkeyPatch) -> None:
    now, said = [1000.0], []
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0, "node": 1.0})
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    room = Room(WorkflowConfig(num_learners=2, worker_resource="node"), "cpu", said.append, num_places=2)
    room.check()
    assert said == [
        "waiting for a node: --worker-resource node: 2 reward and sample workers take one each, what is left "
        "of the cluster has 1"
    ]
    now[0] += 301
    with pytest.raises(Unfinished, match="or add a node; repeat the command to continue"):
        room.check()


def test_a_lost_node_is_not_missed_where_the_learners_left_are_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = {"CPU": 1.0}
    monkeypatch.setattr(ray, "cluster_resources", lambda: there)
    Room(WorkflowConfig(num_learners=2, min_learners=1), "cpu", never).check()
    there["CPU"] = 0.0
    said: list[str] = []
    Room(WorkflowConfig(num_learners=2, min_learners=1), "cpu", said.append).check()
    assert said == ["waiting for a node: --min-learners 1 needs 1 CPUs, what is left of the cluster has 0"]


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "http://127.0.0.1:{port}", "nowhere"])
def test_an_address_where_no_cluster_answers_is_named(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: a connection is refused
        address = address.format(port=unused.getsockname()[1])
        monkeypatch.setenv("RAY_ADDRESS", address)
        said = f"^RAY_ADDRESS {re.escape(address)}: no cluster answers there .* unset RAY_ADDRESS"
        with pytest.raises(UserError, match=said), connection(WorkflowConfig(), never):
            pass
