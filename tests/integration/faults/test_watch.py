"""What one sees of a run on a cluster while it goes on: measurements and log lines of its processes."""

import json
import signal
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from raysq.cluster import instruments
from raysq.cluster.instruments import INSTRUMENTS, LABELS
from tests.integration.faults.conftest import Head, ray_head, running, within

pytestmark = pytest.mark.faults

SETTINGS = [
    "--num-learners=1",
    "--num-reward-workers=1",
    "--num-sample-workers=1",
    "--threads-per-learner=1",
    "--log-format=json",
    "--checkpoint-minutes=0.02",
    "--network.hidden-size=16",
    "--network.embedding-size=16",
    "--decoding.max-length=12",
    "--decoding.beam-size=1",
    "--spg.max-updates=100000",
    "--spg.max-epochs=100000",
    "--spg.evaluate-every=50",
]
BY_REWARD_WORKERS = {instruments.REWARD_SCORING}
OF_SAMPLES = {instruments.SAMPLE_CALLS, instruments.SAMPLE_WAIT, instruments.STALENESS}
OF_REWARDS = {instruments.REWARD_LATENCY, instruments.REWARD_CALLS, instruments.REWARD_WAIT}
Series = dict[str, list[tuple[dict[str, str], float]]]
"""Labels and values by the name of a series."""


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """One whose processes report every second, not every ten."""
    options = ["--num-cpus=2", '--system-config={"metrics_report_interval_ms": 1000}']
    with (
        tempfile.TemporaryDirectory(prefix="rsq", dir="/tmp", ignore_cleanup_errors=True) as home,
        ray_head(Path(home), *options) as started,
    ):
        yield started


def scraped(head: Head) -> Series:
    """What is exported by the nodes that Ray lists for Prometheus, where ``prometheus.yml`` looks."""
    found: Series = {}
    lists = head.home / "prom_metrics_service_discovery.json"
    for target in json.loads(lists.read_text())[0]["targets"] if lists.exists() else ():
        try:
            with urllib.request.urlopen(f"http://{target}/metrics", timeout=10) as answer:
                text = answer.read().decode()
        except urllib.error.URLError:
            continue  # not up yet
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if "raysq" in sample.name:
                    found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return found


@dataclass(frozen=True)
class Watched:
    """What was seen of a run that trained, until it was stopped."""

    series: Series
    run_id: str
    """Of the workflow in MLflow."""
    printed: list[dict[str, Any]]
    """By the command."""
    logged: list[dict[str, Any]]
    """By the processes of the run, in Ray's files."""


def watched(head: Head, data: Path, place: Path, wanted: set[instruments.Instrument], *more: str) -> Watched:
    """Train until every wanted instrument is exported for the run, then stop it with SIGTERM."""
    command = [sys.executable, "workflows/spg.py", *SETTINGS, *more, f"--data-dir={data}"]
    output, log = place / "run", place / "output.txt"
    series: Series = {}
    with running([*command, f"--output-dir={output}"], head.attached(), log) as process:

        def seen() -> bool:
            assert process.poll() is None, log.read_text()
            if not (output / "run_id").exists():
                return False
            run_id = (output / "run_id").read_text().strip()
            series.clear()
            for name, samples in scraped(head).items():
                series[name] = [sample for sample in samples if sample[0].get("run") == run_id]
            names = {name for name, samples in series.items() if samples}
            if " left" not in log.read_text():
                return False  # the first plain line that can say how long it takes
            return all(series_of(instrument) <= names for instrument in wanted)

        try:
            within(300, "all is exported", seen)
        except AssertionError:
            raise AssertionError(f"{sorted(series)} of {log.read_text()}") from None
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 143, log.read_text()
    run_id = (output / "run_id").read_text().strip()
    logged = []
    for path in sorted((head.home / "session_latest" / "logs").glob("worker-*.err")):
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]
        logged += [line for line in lines if line.get("run") == run_id]
    return Watched(series, run_id, [json.loads(line) for line in log.read_text().splitlines()], logged)


def series_of(instrument: instruments.Instrument) -> set[str]:
    """Names of its series."""
    if instrument.kind == "histogram":
        return {f"{instrument.exported}_{what}" for what in ("bucket", "sum", "count")}
    return {instrument.exported}


def assert_labelled(found: Watched, wanted: set[instruments.Instrument]) -> None:
    """Each series is of the stage, of the process that its description names, and of nothing unknown."""
    for instrument in wanted:
        process = "reward-worker-0" if instrument in BY_REWARD_WORKERS else "learner-0"
        for name in series_of(instrument):
            labels = [{label: one[label] for label in LABELS} for one, _ in found.series[name]]
            assert {"run": found.run_id, "stage": "spg", "process": process} in labels
            assert {one["process"] for one in labels} == {process}
    known = {name for instrument in INSTRUMENTS for name in series_of(instrument)}
    assert {name for name, samples in found.series.items() if samples} <= known


def value(found: Watched, name: str) -> float:
    """Of a series that there is one of."""
    ((_, number),) = found.series[name]
    return number


def test_a_learner_and_a_reward_worker_are_seen(head: Head, data: Path, tmp_path: Path) -> None:
    wanted = set(INSTRUMENTS) - OF_SAMPLES
    found = watched(head, data, tmp_path, wanted)
    assert_labelled(found, wanted)
    updates, tokens = value(found, "ray_raysq_updates_total"), value(found, "ray_raysq_tokens_total")
    assert updates >= 20
    assert tokens > 50 * updates  # sentences of a batch, each with a token at least
    latency, scoring = (f"ray_raysq_reward_{name}_seconds" for name in ("latency", "scoring"))
    assert value(found, f"{latency}_count") >= 20
    assert value(found, f"{latency}_sum") > value(found, f"{scoring}_sum") > 0
    assert 0 < value(found, "ray_raysq_reward_wait_seconds_total") <= value(found, f"{latency}_sum")
    assert value(found, "ray_raysq_reward_queue_calls") in (0, 1)

    # Every line of the command is an object, and of the run as soon as there is one.
    signed = [line for line in found.printed if line["run"]]
    assert {line["run"] for line in signed} == {found.run_id}
    assert {line["process"] for line in found.printed} == {"driver"}
    progress = [line for line in signed if line["message"].startswith("spg update ")]
    assert progress
    assert {line["stage"] for line in progress} == {"spg"}
    assert any(" left" in line["message"] for line in progress)
    assert found.printed[-1]["message"].startswith("interrupted: repeat the command")
    # So is every line of its processes.
    said = [(line["process"], line["stage"], line["message"]) for line in found.logged]
    of_stage = [message for process, stage, message in said if (process, stage) == ("learner-0", "spg")]
    assert any(message.startswith("stage spg in ") for message in of_stage)
    assert ("reward-worker-0", "", "scores with OwnReference") in said


@pytest.mark.slow
def test_samples_of_sample_workers_are_seen_with_their_age(head: Head, data: Path, tmp_path: Path) -> None:
    wanted = set(INSTRUMENTS) - OF_REWARDS - BY_REWARD_WORKERS
    found = watched(head, data, tmp_path, wanted, "--sampling=remote", "--max-staleness=2")
    assert_labelled(found, wanted)
    stem = "ray_raysq_sample_staleness_updates"
    count = value(found, f"{stem}_count")
    assert count >= 20
    # The policy is 0, 1 and 2 updates old in turn, and never older.
    below = {labels["le"]: number for labels, number in found.series[f"{stem}_bucket"]}
    assert below["2.5"] == below["+Inf"] == count
    assert abs(below["0.5"] - count / 3) <= 1
    assert 0 <= value(found, "ray_raysq_sample_queue_calls") <= 3
    assert "sample-worker-0" in {line["process"] for line in found.logged}
