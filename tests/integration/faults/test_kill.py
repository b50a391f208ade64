"""SIGKILL of a learner or a driver: the run goes on, or the same command continues it, to equal results."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.integration.faults.conftest import (
    Head,
    Run,
    alive,
    assert_continued,
    assert_same_results,
    curve,
    descendants,
    environment,
    kill,
    learners,
    moment,
    within,
)

pytestmark = pytest.mark.faults

UPDATES = {"mle": 120, "critic": 40, "erac": 120}
SETTINGS = [
    "--threads-per-learner=1",
    "--reuse=never",
    "--quiet",
    "--checkpoint-minutes=0.005",
    "--network.hidden-size=16",
    "--network.embedding-size=16",
    "--decoding.max-length=12",
    "--decoding.beam-size=2",
    "--mle.optimizer=adam",
    "--mle.learning-rate=0.01",
    *(f"--{stage}.max-updates={updates}" for stage, updates in UPDATES.items()),
    *(f"--{stage}.evaluate-every=40" for stage in UPDATES),
]
"""Dropout is on, as it is by default: its masks are functions of the update too."""


def erac(env: dict[str, str], data: Path, place: Path, num_learners: int) -> Run:
    command = ["workflows/erac.py", *SETTINGS, f"--num-learners={num_learners}", f"--data-dir={data}"]
    return Run(command, UPDATES, env, place)


@pytest.fixture(scope="module")
def undisturbed(head: Head, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = erac(head.attached(), data, tmp_path_factory.mktemp("undisturbed"), num_learners=1)
    with run.running() as process:
        run.finish(process)
    return run


def assert_every_metric_once(run: Run) -> None:
    """MLflow has the journal's points, each step of a metric once, and no run left open."""
    client = MlflowClient(f"sqlite:///{run.place / 'mlflow.db'}")
    for entry in json.loads((run.place / "run" / "result.json").read_text())["stages"]:
        assert client.get_run(entry["run_id"]).info.status == "FINISHED"
        history = client.get_metric_history(
            entry["run_id"], "dev/td_error" if entry["name"] == "critic" else "dev/bleu"
        )
        expected = [
            value for (_, metric), value in curve(run, entry["name"]).items() if metric == history[0].key
        ]
        assert [point.value for point in history] == expected
        steps = [point.step for point in history]
        assert steps == sorted(set(steps))


def test_killed_learners_are_restarted_and_nothing_changes(
    head: Head, undisturbed: Run, data: Path, tmp_path: Path
) -> None:
    """One in the first stage; and the one that took its place, in the last."""
    run, node = erac(head.attached(), data, tmp_path, num_learners=1), head.process.pid
    with run.running() as process:
        for stage in ("mle", "erac"):
            run.wait_for(process, stage, moment(stage, 40, 80))
            (killed,) = learners(node)
            kill(killed, "the learner")
            run.while_it_runs(process, "a new learner", lambda old=killed: bool(learners(node) - {old}))
        run.finish(process)
    for stage in ("mle", "erac"):
        assert_continued(run, stage)
    assert_same_results(run, undisturbed)
    assert_every_metric_once(run)


@pytest.mark.parametrize("num_learners", [1, 0], ids=["on Ray", "in one process"])
def test_a_killed_driver_is_continued_by_the_same_command(
    undisturbed: Run, data: Path, home: Path, tmp_path: Path, num_learners: int
) -> None:
    """With a Ray of its own, of which nothing is left."""
    run = erac(environment(home), data, tmp_path, num_learners)
    with run.running() as process:
        run.wait_for(process, "erac", moment("driver", 40, 80))
        left = descendants(process.pid)
        kill(process.pid, "the driver")
        process.wait()
    assert not (run.place / "run" / "result.json").exists()
    with run.running() as again:  # at once: the killed driver's learner may still be alive
        assert again.pid != process.pid
        run.finish(again)
    for stage in UPDATES:  # those that were done, too, were not trained again
        assert_continued(run, stage)
    assert_same_results(run, undisturbed)
    assert_every_metric_once(run)
    within(300, "nothing is left of the killed command", lambda: not alive(left))
