import os
from pathlib import Path

import pytest

from raysq.training.journal import Journal
from tests.benchmarks import demo_run
from tests.benchmarks.demo_run import DemoRun, train_demo


def write_journal(folder: Path, rates: list[float], waits: list[float]) -> None:
    """Every second record is of the dev split, as after an evaluation."""
    with Journal(folder / "journal.jsonl") as journal:
        for i, (rate, wait) in enumerate(zip(rates, waits, strict=True)):
            journal.write(20 * i, {"train/updates_per_second": rate, "train/reward_wait_share": wait})
            journal.write(20 * i, {"dev/bleu": 1.0})


def test_figures_of_a_stage_are_medians_of_what_follows_its_warm_up(tmp_path):
    write_journal(tmp_path, [1.0, 2.0, 10.0, 20.0, 50.0], [0.9, 0.8, 0.01, 0.04, 0.02])
    run = DemoRun(tmp_path, 0.0, {"erac": tmp_path})
    assert run.seconds_per_update("erac") == pytest.approx(0.05)
    assert run.reward_wait_share("erac") == pytest.approx(0.02)


def test_moments_on_the_way_to_the_first_update(tmp_path):
    stage = tmp_path / "stage"
    write_journal(stage, [1.0], [0.0])
    (written,) = DemoRun(tmp_path, 0.0, {"mle": stage}).records("mle")
    started = written.time - 10
    for path, at in (("config.json", 2), ("ray", 5), ("stage/preparation/manifest.json", 9)):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
        os.utime(tmp_path / path, (started + at,) * 2)
    assert DemoRun(tmp_path, started, {"mle": stage}).launch_seconds("mle") == pytest.approx(
        {"planned": 2, "ray_started": 5, "learner_ready": 9, "first_update": 10}, abs=1e-3
    )


@pytest.fixture
def workflows(tmp_path, monkeypatch) -> Path:
    """A folder of workflows of our own."""
    monkeypatch.setattr(demo_run, "ROOT", tmp_path)
    (tmp_path / "workflows").mkdir()
    return tmp_path / "workflows"


def test_a_workflow_is_run_afresh_and_without_the_users_cluster(workflows, tmp_path, monkeypatch):
    (workflows / "fake.py").write_text(
        "import json, os, pathlib, sys\n"
        "assert 'RAY_ADDRESS' not in os.environ\n"
        "assert {'--task=demo', '--reuse=never', '--num-learners=1'} <= set(sys.argv)\n"
        "folder = next(a.partition('=')[2] for a in sys.argv if a.startswith('--output-dir'))\n"
        "pathlib.Path(folder).mkdir()\n"
        "stages = [{'name': 'mle', 'folder': '/somewhere'}]\n"
        "(pathlib.Path(folder) / 'result.json').write_text(json.dumps({'stages': stages}))\n"
    )
    monkeypatch.setenv("RAY_ADDRESS", "nowhere:1")
    run = train_demo("fake", tmp_path / "run", ["--num-learners=1"])
    assert (run.folder, run.stages) == (tmp_path / "run", {"mle": Path("/somewhere")})


def test_a_workflow_that_fails_is_said_with_its_last_words(workflows, tmp_path):
    (workflows / "fake.py").write_text("import sys; sys.exit('no room')")
    with pytest.raises(RuntimeError, match="status 1: no room"):
        train_demo("fake", tmp_path / "run", [])


def test_an_interruption_ends_the_workflow_in_an_orderly_way(workflows, tmp_path, monkeypatch):
    (workflows / "fake.py").write_text(
        "import pathlib, signal, sys, time\n"
        "def end(*_):\n"
        f"    pathlib.Path({str(tmp_path / 'ended')!r}).touch()\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )

    def interrupted(process):
        assert process.stdout.readline() == "ready\n"
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_run.subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_demo("fake", tmp_path / "run", [])
    assert (tmp_path / "ended").exists()
