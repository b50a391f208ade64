"""workflows/export.py on a small finished run: what leaves does what the run does, wherever it is used."""

import contextlib
import http.client
import json
import os
import random
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raysq.commandline import run_command
from raysq.data.corpus import moses_tokeniser
from raysq.exported import load_policy
from raysq.finished import DecodeSettings, FinishedStage
from tests.integration.finished_run import entry, raw_text
from tests.integration.test_mlflow_ui import WAIT, running
from tests.test_exported import finished_stage
from workflows.export import ExportSettings, main

ROOT = Path(__file__).parents[2]
SOURCES = [source for source, _ in raw_text().splits["test"]]


def export(*arguments: object) -> int:
    return run_command(ExportSettings, main, description="", argv=list(map(str, arguments)))


def hypotheses(run: Path) -> list[str]:
    return (run / "hypotheses" / "mle.test.txt").read_text().splitlines()


@pytest.fixture(scope="module")
def exported(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All formats of the run."""
    folder = tmp_path_factory.mktemp("exported") / "all"
    options = "--format", "torch-export,onnx,mlflow", "--output-dir", folder
    assert export("--run", finished_run, *options) == 0
    return folder


@pytest.fixture(scope="module")
def exported_images(small_captions: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of a stage that reads images, and all formats that it can have."""
    place = tmp_path_factory.mktemp("exported_images")
    stage = finished_stage(small_captions, place / "mle-0123456789ab-01234567")
    assert export("--run", stage, "--format=torch-export,onnx", "--output-dir", place / "all") == 0
    return stage, place / "all"


def test_it_translates_raw_text_as_the_run_did(exported: Path, finished_run: Path) -> None:
    assert load_policy(exported).translate(SOURCES) == hypotheses(finished_run)
    assert sorted(path.name for path in exported.iterdir()) == [
        "README.md",
        "encoder.onnx",
        "encoder.pt2",
        "mlflow",
        "policy.json",
        "policy.safetensors",
        "step.onnx",
        "step.pt2",
    ]
    assert list(exported.parent.iterdir()) == [exported]


def test_the_card_is_the_one_that_the_run_has(exported: Path, finished_run: Path) -> None:
    stage = entry(finished_run)
    card = (Path(stage["folder"]) / "README.md").read_text()
    assert (exported / "README.md").read_text().startswith(card.rstrip() + "\n\n## Use\n")
    assert f"| BLEU | {stage['dev']['bleu']:.2f} | {stage['test']['bleu']:.2f} |" in card
    assert f"`{stage['test']['signature']}`" in card
    assert "Text is tokenised by Moses. It is lower-cased." in card
    digest = json.loads((exported / "policy.json").read_text())["digest"]
    assert f"Policy `{digest}`" in (exported / "README.md").read_text()


def programs(folder: Path) -> dict[str, str]:
    """Of the card, by what they need."""
    text = (folder / "README.md").read_text()
    return dict(re.findall(r"### With (\S+)[^\n]*\n\n```python\n(.*?)```", text, re.DOTALL))


def printed(program: str, folder: Path, line: str, python_path: Path) -> str:
    """What a program of the card prints for a line, run where the files lie."""
    environment = {**os.environ, "PYTHONPATH": str(python_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        input=f"{line}\n",
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.removesuffix("\n")


@pytest.fixture(scope="module")
def without_raysq(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where no program can import raysq."""
    folder = tmp_path_factory.mktemp("without")
    (folder / "raysq").mkdir()
    (folder / "raysq" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    return folder


def test_the_programs_of_the_card_translate(exported: Path, finished_run: Path, without_raysq: Path) -> None:
    """The last two know neither raysq nor beams: they decode greedily, from words."""
    place = max(range(len(SOURCES)), key=lambda i: len(SOURCES[i]))
    words = [word.lower() for word in moses_tokeniser("de")(SOURCES[place])]
    settings = DecodeSettings(run=finished_run, beam_size=1)
    ((greedy,),) = FinishedStage.open(finished_run).translator(settings).translate([words])
    assert len(greedy.words) > 3
    found = programs(exported)
    assert found.keys() == {"raysq", "torch", "onnxruntime"}
    assert printed(found["raysq"], exported, SOURCES[place], ROOT) == hypotheses(finished_run)[place]
    for name in ("torch", "onnxruntime"):
        assert printed(found[name], exported, " ".join(words), without_raysq) == " ".join(greedy.words), name


def test_the_programs_of_the_card_caption(exported_images: Any, without_raysq: Path) -> None:
    stage, folder = exported_images
    features = [0.5, -2.0, 1.5, 0.0, 1.0]
    settings = DecodeSettings(run=stage, beam_size=1)
    (greedy,) = FinishedStage.open(stage).captioner(settings).caption(np.array([features], np.float32))
    line, found = " ".join(map(str, features)), programs(folder)
    for name in ("torch", "onnxruntime"):
        assert printed(found[name], folder, line, without_raysq) == " ".join(greedy.words), name
    (best,) = load_policy(folder).caption(np.array([features], np.float32))
    assert printed(found["raysq"], folder, line, ROOT) == best


@pytest.fixture(scope="module")
def served(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of ``mlflow models serve``, as the card starts it, on a port that is free."""
    port = free_port()
    (command,) = re.findall(r"^mlflow models serve .*$", (exported / "README.md").read_text(), re.MULTILINE)
    arguments = command.replace("--port 5001", f"--port {port}").split()[1:]
    log = tmp_path_factory.mktemp("served") / "log"
    path = (
        f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # MLflow calls uvicorn by its name
    )
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (
        log.open("w") as output,
        running(
            [sys.executable, "-m", "mlflow", *arguments],
            cwd=exported,
            env={**environment, "MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + WAIT
        while not answers(address):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield address


def free_port() -> int:
    """Below those that connections of other programs are given meanwhile."""
    for port in random.Random(os.getpid()).sample(range(20_001, 32_000), 100):
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def answers(address: str) -> bool:
    try:
        return urllib.request.urlopen(f"{address}/ping", timeout=5).status == 200
    except (OSError, http.client.HTTPException):
        return False


def posted(address: str, body: object) -> tuple[int, Any]:
    """Status and answer of a request to the model."""
    request = urllib.request.Request(
        f"{address}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=WAIT) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_mlflow_serves_the_runs_translations(served: str, finished_run: Path) -> None:
    """Twenty sentences at once, one, and none that is blank."""
    expected = hypotheses(finished_run)
    assert posted(served, {"inputs": SOURCES[:20]}) == (200, {"predictions": expected[:20]})
    assert posted(served, {"inputs": SOURCES[21:22]}) == (200, {"predictions": expected[21:22]})
    assert posted(served, {"inputs": [" ", SOURCES[0]]}) == (200, {"predictions": ["", expected[0]]})


@pytest.mark.parametrize("body", [{"inputs": [{"a": 1}]}, {"lines": ["a"]}, {"inputs": [["a"], "b"]}, 3])
def test_a_request_that_is_no_text_is_refused(body: object, served: str) -> None:
    status, answer = posted(served, body)
    assert status == 400
    assert answer["message"]
    assert "predictions" not in answer


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--format", "pickle"], "--format pickle: must be values of torch-export, onnx, mlflow joined by"),
        (["--unknown", "guess"], "must be keep, drop or copy"),
        (["--stage", "erac"], "--stage must be one of mle"),
        (["--device", "cuda"], "--device cuda: must be cpu"),
    ],
)
def test_mistakes_are_one_line(
    options: list[str], said: str, finished_run: Path, tmp_path: Path, capsys: Any
) -> None:
    folder = tmp_path / "out"
    assert export("--run", finished_run, "--output-dir", folder, *options) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_written_over(finished_run: Path, exported: Path, tmp_path: Path) -> None:
    before = sorted(path.stat().st_mtime_ns for path in exported.rglob("*"))
    assert export("--run", finished_run, "--output-dir", exported) == 2
    assert sorted(path.stat().st_mtime_ns for path in exported.rglob("*")) == before
    (tmp_path / "empty").mkdir()
    assert export("--run", finished_run, "--output-dir", tmp_path / "empty") == 0
    assert load_policy(tmp_path / "empty").translate(SOURCES[:2]) == hypotheses(finished_run)[:2]


def test_an_export_that_fails_leaves_nothing(
    exported_images: Any, finished_run: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, _ = exported_images
    assert export("--run", stage, "--format=mlflow", "--output-dir", tmp_path / "out") == 2
    assert "--format mlflow: the policy reads features of images" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "encoder.pt2"))

    monkeypatch.setattr("workflows.export.write_torch", full)
    options = "--format", "torch-export", "--output-dir", tmp_path / "out"
    assert export("--run", finished_run, *options) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
