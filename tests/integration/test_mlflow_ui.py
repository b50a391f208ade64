"""What MLflow's interface shows of raysq's runs, as Chromium renders it."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from matplotlib.image import imread

from raysq.commandline import parse
from raysq.data.shards import Corpus
from raysq.delivery import Delivery
from raysq.mlflow_runs import Runs
from raysq.mlflow_views import SEEDS, comparison_text, runs_url
from raysq.recipe import PlannedStage, plan
from raysq.tracking import Tracker, default_uri
from raysq.training.journal import Journal
from workflows.erac import RECIPE

LOCAL = "http://127.0.0.1:5000"
"""Where the printed addresses expect the interface."""
WAIT = 300
"""For what takes 5 on an idle machine [s]."""
TRAINED = ((1, 0.045, 29.75), (2, 0.045, 30.75), (2, 0.01, 27.25))
"""Seed, tau (0.045 is the default) and test BLEU of ERAC."""
OFFLINE = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


@dataclass(frozen=True)
class Experiment:
    uri: str
    id: str
    printed: list[str]
    """What each command prints at its end."""


def finish(stages: list[PlannedStage], bleu: dict[str, float]) -> None:
    """Results as of a training that did not take place; ``bleu`` of the stages with a policy."""
    for stage in stages:
        folder, name = stage.spec.folder, stage.spec.name
        with Journal(folder / "journal.jsonl") as journal:
            for update in (10, 20):
                journal.write(update, {"train/loss": 2 - update / 20})
        dev, test = ({"bleu": bleu[name]},) * 2 if name in bleu else ({"td_error": 0.25}, {})
        result = {"name": name, "state": "finished", "updates": 20, "best_update": 10}
        result |= {"stopped_by": "all of 20 updates done", "warnings": [], "seconds": 1.0}
        (folder / "result.json").write_text(json.dumps({**result, "dev": dev, "test": test}))


@pytest.fixture(scope="module")
def experiment(small_corpus: Corpus, tmp_path_factory) -> Experiment:
    """The runs in ``TRAINED``."""
    root = tmp_path_factory.mktemp("interface")
    tracker = Tracker(default_uri(root), "raysq")
    printed = []
    for number, (seed, tau, bleu) in enumerate(TRAINED):
        arguments = [f"--seed={seed}", f"--erac.tau={tau}"]
        config = parse(
            RECIPE.config_class(), arguments, prog="erac", description="", defaults_for=RECIPE.defaults
        )
        stages = plan(RECIPE, config, root / "stages", small_corpus.digest, "version")
        output = root / str(number)
        output.mkdir()
        runs = Runs(tracker, RECIPE, config, small_corpus, output)
        runs.open(stages)
        mine = [stage for stage in stages if not stage.reused]
        finish(mine, {"mle": 21.5, "erac": bleu})
        delivery = Delivery(tracker, poll_seconds=0.01)
        for stage in mine:
            delivery.add(stage.spec.folder / "journal.jsonl", stage.record["run_id"])
        assert delivery.close() == []
        runs.close(stages, "FINISHED")
        run_ids = [stage.record["run_id"] for stage in stages]
        printed.append(comparison_text(tracker.uri, tracker.experiment_id, run_ids))
    return Experiment(tracker.uri, tracker.experiment_id, printed)


@contextlib.contextmanager
def running(command: list[str], **options) -> Iterator[subprocess.Popen]:
    """A process that does not outlive the block, nor do those that it starts."""
    process = subprocess.Popen(command, text=True, start_new_session=True, **options)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def server(experiment: Experiment, tmp_path_factory) -> Iterator[str]:
    """Address of an MLflow server of the experiment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    where = ["--backend-store-uri", experiment.uri, "--host", "127.0.0.1", "--port", str(port)]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (
        log.open("w") as output,
        running(
            [sys.executable, "-m", "mlflow", "server", "--workers", "1", *where],
            env={**os.environ, **quiet},
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        deadline = time.monotonic() + WAIT
        while not healthy(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"


def healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium")
    if found is None:
        refuse = pytest.fail if os.environ.get("RAYSQ_NEEDS_CHROMIUM") else pytest.skip
        refuse("there is no chromium here: apt-get install chromium")
    return found


def rendered(chromium: str, url: str, folder: Path) -> str:
    """The page's elements once it has come to rest; its picture is folder/page.png."""
    picture = folder / "page.png"
    print(f"picture of {url}: {picture}")  # pytest keeps the folders of the last three runs
    command = [
        chromium,
        "--headless=new",
        "--no-sandbox",  # root has none
        "--disable-gpu",
        "--no-first-run",
        *OFFLINE,
        f"--user-data-dir={folder / 'profile'}",
        "--window-size=1700,1000",
        "--virtual-time-budget=60000",  # of the page's own clock [ms], which does not wait
        f"--screenshot={picture}",
        "--dump-dom",
        url,
    ]
    with running(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        return process.communicate(timeout=WAIT)[0]


def names(page: str) -> dict[str, str]:
    """Of the runs in a table, by run id."""
    return dict(re.findall(r'href="#/experiments/\d+/runs/(\w+)"><span[^>]*>([^<]+)<', page))


def column(page: str, metric: str) -> dict[str, str]:
    """What stands in a metric's column of a table, by the row's id, from the top down."""
    cell = rf'id="cell-metrics\.`{metric}`-\d+"[^>]*>(?:<[^>]*>)*([^<]+)<'
    rows = re.findall(rf'row-index="(\d+)" row-id="([^"]+)"(?:(?!row-id=).)*?{cell}', page, re.DOTALL)
    return {row: text.strip() for _, row, text in sorted(rows, key=lambda found: int(found[0]))}


def test_the_table_of_runs_names_them_and_shows_the_headline_first(chromium, experiment, server, tmp_path):
    _, table, _ = experiment.printed[-1].splitlines()
    page = rendered(chromium, table.replace(LOCAL, server), tmp_path)
    found = {names(page)[run]: bleu for run, bleu in column(page, "test_best/bleu").items()}
    assert list(found.items()) == [
        ("ERAC demo seed 2", "30.75"),
        ("ERAC demo seed 1", "29.75"),
        ("ERAC demo seed 2 erac.tau=0.01", "27.25"),
    ]
    order = dict(re.findall(r'aria-colindex="(\d+)"[^>]*col-id="([^"]+)"[^>]*aria-sort', page))
    metrics = [order[place] for place in sorted(order, key=int) if order[place].startswith("metrics.")]
    assert metrics[0] == "metrics.`test_best/bleu`"


def test_runs_are_grouped_by_all_but_the_seed(chromium, experiment, server, tmp_path):
    page = rendered(chromium, runs_url(server, experiment.id, SEEDS), tmp_path)
    assert re.findall(r"Group: ([^<]+)<", page) == ["ERAC demo erac.tau=0.01", "ERAC demo"]
    rows = column(page, "test_best/bleu").items()  # of a group by its name, of a run by group and run id
    means = [bleu for row, bleu in rows if row.rpartition(".")[2] not in names(page)]
    assert means == ["27.25", "30.25"]


def test_the_printed_address_compares_the_stages(chromium, experiment, server, tmp_path):
    _, _, comparison = experiment.printed[-1].splitlines()
    page = rendered(chromium, comparison.replace(LOCAL, server), tmp_path)
    assert "Comparing 3 Runs from 1 Experiment" in page
    for name in ("MLE demo seed 2", "critic demo seed 2", "ERAC demo seed 2 erac.tau=0.01"):
        assert f">{name}<" in page
    assert 'class="parcoords"' in page
    assert 'data-unformatted="train/loss"' in page  # what all three have
    picture = imread(tmp_path / "page.png")[..., :3]
    # the lines are drawn on a canvas, in colours that the rest of the page does not have
    assert (picture.max(-1) - picture.min(-1) > 0.8).sum() > 1000
