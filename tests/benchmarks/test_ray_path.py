"""The suites that train, on journals written by hand; one real run, which takes minutes, is marked slow."""

from pathlib import Path

import pytest

from raysq.training.journal import Journal
from tests.benchmarks import ray_path, scaling
from tests.benchmarks.demo_run import DemoRun
from tests.benchmarks.settings import BenchmarkSettings

SETTINGS = BenchmarkSettings(output_dir=Path("unused"), device="cpu", threads=2, repeats=1)


@pytest.fixture
def commands(monkeypatch):
    """The commands given; their journals say 10 updates/s, 8 on Ray, with each reward worker more by 1."""
    given = []

    def train(workflow: str, folder: Path, options: list[str]) -> DemoRun:
        given.append((workflow, *options))
        learners, workers = (
            int(next((o.partition("=")[2] for o in options if o.startswith(name)), "1"))
            for name in ("--num-learners", "--num-reward-workers")
        )
        rate = 10.0 if learners == 0 else 7.0 + workers
        for stage in ("mle", "critic", "erac"):
            with Journal(folder / stage / "journal.jsonl") as journal:
                for i in range(4):
                    metrics = {"train/updates_per_second": rate, "train/reward_wait_share": 0.015}
                    journal.write(i, metrics)
        for path in ("config.json", "ray", "mle/preparation/manifest.json"):
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).touch()
        started = (folder / "ray").stat().st_mtime - 5
        return DemoRun(folder, started, {stage: folder / stage for stage in ("mle", "critic", "erac")})

    for suite in (ray_path, scaling):
        monkeypatch.setattr(suite, "train_demo", train)
    return given


def test_ray_suite_says_what_ray_adds(commands):
    rows = {row.name: row for row in ray_path.run(SETTINGS)}
    assert list(rows) == [
        "critic_update_on_ray",
        "erac_update_on_ray",
        "critic_reward_wait",
        "erac_reward_wait",
        "command_to_first_update",
    ]
    update = rows["erac_update_on_ray"]
    assert (update.median, update.baseline, update.baseline_median) == (125, "in_one_process", 100)
    assert update.ratio == pytest.approx(0.8)
    assert update.numbers["more_percent"] == pytest.approx(25)
    assert (rows["erac_reward_wait"].median, rows["erac_reward_wait"].unit) == (1.5, "% of an update")
    launch = rows["command_to_first_update"]
    assert launch.median == pytest.approx(5, abs=1)
    assert launch.numbers["ray_started_s"] == pytest.approx(5)
    assert [command[:2] for command in commands] == [
        ("erac", "--num-learners=0"),
        ("erac", "--num-learners=1"),
        ("mle", "--num-learners=1"),
    ]
    assert all("--threads-per-learner=2" in command for command in commands)


def test_scaling_suite_compares_with_one_learner_and_one_worker(commands, monkeypatch):
    monkeypatch.setattr(scaling.os, "sched_getaffinity", lambda _: {0, 1})
    rows = {row.name: row for row in scaling.run(SETTINGS)}
    assert len(rows) == 6
    one = rows["erac_update_1_learners_1_reward_workers"]
    assert (one.ratio, one.numbers["updates_per_second"], one.numbers["cores"]) == (None, 8, 2)
    two = rows["erac_update_1_learners_2_reward_workers"]
    assert two.ratio == pytest.approx(9 / 8)
    assert {"--num-learners=2", "--num-reward-workers=1"} <= set(commands[1])
    assert all("--threads-per-learner=1" in command for command in commands)


@pytest.mark.parametrize(
    ("cores", "forms"),
    [
        (1, [(1, 1)]),
        (2, [(1, 1), (2, 1), (1, 2)]),
        (4, [(1, 1), (2, 1), (1, 2), (1, 4)]),
    ],
)
def test_no_more_processes_of_a_kind_than_cores(cores, forms):
    assert scaling.forms(cores) == forms


@pytest.mark.slow
def test_ray_suite_for_real(monkeypatch):
    monkeypatch.setattr(ray_path, "UPDATES", {"mle": 60, "critic": 60, "erac": 60})
    rows = {row.name: row for row in ray_path.run(SETTINGS.model_copy(update={"threads": 1}))}
    assert rows["erac_update_on_ray"].ratio > 0
    assert 0 <= rows["erac_reward_wait"].median < 100
    launch = rows["command_to_first_update"]
    on_the_way = [launch.numbers[f"{name}_s"] for name in ("planned", "ray_started", "learner_ready")]
    assert 0 < on_the_way[0] < on_the_way[1] < on_the_way[2] < launch.median
