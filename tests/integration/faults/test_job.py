"""Jobs on a Ray head of our own: submitted, listed, followed, stopped, as README writes it."""

import json
import re
from pathlib import Path

import pytest

from tests.integration.faults.conftest import LONG, Head, checkpoints, running, statuses, within

pytestmark = pytest.mark.faults

MLE = ("python", "workflows/mle.py", *LONG)


def test_a_job_that_finishes_succeeds_and_its_results_outlive_it(head: Head, data: Path) -> None:
    entry = [*MLE, f"--data-dir={data}", "--mle.max-updates=4", "--mle.evaluate-every=2"]
    done = head.submit(*entry, options=["--submission-id=finishes"])
    assert done.returncode == 0, done.stdout + done.stderr
    output = head.home / "raysq" / "runs" / "mle-demo-seed1"
    assert f"results go to {output}" in done.stdout
    assert json.loads((output / "result.json").read_text())["stages"][0]["updates"] == 4
    assert statuses(output.parent / "mlflow.db") == {"FINISHED"}
    assert "succeeded" in head.ray("job", "status", "finishes").stdout
    assert f"results: {output / 'result.json'}" in head.ray("job", "logs", "finishes").stdout
    assert "finishes" in head.ray("job", "list").stderr + head.ray("job", "list").stdout


def test_a_job_that_nobody_waits_for_shows_plain_lines_and_ends_with_its_status(
    head: Head, data: Path
) -> None:
    """What `ray job logs` shows has no bars, colours or lines that are written over."""
    entry = [*MLE, f"--data-dir={data}", "--seed=2", "--mle.max-updates=600", "--mle.evaluate-every=150"]
    began = head.submit(*entry, options=["--submission-id=quick", "--no-wait"])
    assert began.returncode == 0, began.stderr
    head.ray("job", "logs", "--follow", "quick", timeout=600)  # to its end
    assert "succeeded" in head.ray("job", "status", "quick").stdout
    log = head.ray("job", "logs", "quick").stdout
    assert not re.search(r"[\x1b\r]", log.partition("results go to")[2].partition("┏")[0])
    progress = [line for line in log.splitlines() if line.startswith("mle update ")]
    news = r": dev BLEU [\d.]+, sample BLEU [\d.]+, perplexity [\d.]+"
    evaluations = [line for line in progress if "BLEU" in line]
    for update, line in zip((150, 300, 450, 600), evaluations[-4:], strict=True):
        left = r" \(at most \d+ (s|min) left\)"
        assert re.fullmatch(f"mle update {update} of 600({left})?{news}", line), line
    assert "left)" in evaluations[-1]


@pytest.mark.slow
def test_a_sweep_as_a_job(head: Head, data: Path) -> None:
    """Its stages are trained on the cluster, its results outlive the job."""
    small = [f"--{option}" for option in ("space=search", "seeds=5", "quiet", f"data-dir={data}")]
    sizes = [option.removeprefix("--") for option in LONG if option.startswith(("--network", "--decoding"))]
    updates = [
        f"{stage}.{key}=4" for stage in ("mle", "critic", "erac") for key in ("max-updates", "evaluate-every")
    ]
    settings = ",".join([*sizes, *updates])
    done = head.submit("python", "workflows/tune.py", *small, f"--settings={settings}")
    assert done.returncode == 0, done.stdout + done.stderr
    output = head.home / "raysq" / "runs" / "tune-search-demo"
    found = json.loads((output / "result.json").read_text())
    assert (found["stages"], found["stages_trained"]) == (3, 3)
    assert [(trial["arm"], trial["seed"], trial["state"]) for trial in found["trials"]] == [
        ("ERAC", 5, "finished")
    ]
    assert found["trials"][0]["updates"] == 4


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--mle.learning-rate=-1", "error: --mle.learning-rate -1: must be above 0"),
        ("--output-dir=here", "error: --output-dir here: in a job this lies in Ray's copy of the working"),
        ("--num-learners=3", "error: --num-learners 3 needs 3 CPUs, the cluster at "),
    ],
)
def test_a_job_with_a_mistake_fails_with_its_line(head: Head, data: Path, option: str, message: str) -> None:
    done = head.submit(*MLE, f"--data-dir={data}", "--seed=9", option)
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "failed with exit code 2" in said
    assert message in said
    assert not (head.home / "raysq" / "runs" / "mle-demo-seed9").exists()


def test_a_stopped_job_closes_its_runs_and_keeps_its_checkpoint(head: Head, data: Path) -> None:
    output = head.home / "stopped" / "run"
    entry = [*MLE, f"--data-dir={data}", f"--output-dir={output}"]
    stop_in_time = json.dumps({"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "60"}})
    head.submit(*entry, options=["--submission-id=stops", "--no-wait", f"--runtime-env-json={stop_in_time}"])
    within(120, "a checkpoint", lambda: bool(checkpoints(output.parent / "stages")))
    head.ray("job", "stop", "stops")
    assert "was stopped" in head.ray("job", "status", "stops").stdout
    log = head.ray("job", "logs", "stops").stdout
    assert "interrupted: repeat the command to continue from the last checkpoint" in log
    assert statuses(output.parent / "mlflow.db") == {"KILLED"}
    assert checkpoints(output.parent / "stages")


@pytest.mark.parametrize(("seconds", "ended_by_itself"), [("1", False), ("30", True)])
def test_the_job_says_how_long_ray_waits_after_sigterm(
    head: Head, tmp_path: Path, seconds: str, ended_by_itself: bool
) -> None:
    began, ended = tmp_path / "began", tmp_path / "ended"
    script = f"""
import pathlib, signal, sys, time
def slowly(number, frame):
    time.sleep(5)
    pathlib.Path({str(ended)!r}).touch()
    sys.exit()
signal.signal(signal.SIGTERM, slowly)
pathlib.Path({str(began)!r}).touch()
time.sleep(600)
"""
    (tmp_path / "slow.py").write_text(script)
    wait = json.dumps({"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": seconds}})
    options = [f"--submission-id=slow{seconds}", "--no-wait", f"--runtime-env-json={wait}"]
    head.ray("job", "submit", *options, "--", "python", str(tmp_path / "slow.py"))
    within(60, "the job has begun", began.exists)
    head.ray("job", "stop", f"slow{seconds}")
    assert ended.exists() == ended_by_itself


@pytest.mark.slow
def test_waiting_for_cpus_ends_when_a_node_joins(head: Head, data: Path, tmp_path: Path) -> None:
    env = head.env | {"RAY_ADDRESS": head.address}
    log = tmp_path / "log"
    options = ["--mle.max-updates=4", "--mle.evaluate-every=2", "--num-learners=3", "--wait-for-resources"]
    command = [*MLE, *options, f"--data-dir={data}", f"--output-dir={tmp_path / 'run'}"]
    node = ["ray", "start", f"--address={head.address}", "--num-cpus=1", "--block"]
    with running(command, env, log) as process:
        within(60, "it waits", lambda: "waiting for 3 CPUs (free now: 2)" in log.read_text())
        assert not (tmp_path / "run").exists()
        with running([*node, "--object-store-memory=100000000"], env, tmp_path / "node.log"):
            assert process.wait(180) == 0, log.read_text()
    assert json.loads((tmp_path / "run" / "result.json").read_text())["stages"][0]["updates"] == 4
