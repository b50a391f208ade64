import io
import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raysq import logs
from raysq.commandline import run_command
from raysq.config import UserError, WorkflowConfig
from raysq.logs import Sender, about, begin, begin_command, enter, sender, structured
from raysq.terminal import terminal

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sender and logging of this process as they were before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(logs, "_process", Sender())
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_thread_may_be_about_another_stage_than_its_process() -> None:
    enter(run="r1", stage="mle")
    found = []
    with about("critic"):
        assert sender().labels() == {"run": "r1", "stage": "critic", "process": "driver"}
        thread = threading.Thread(target=lambda: found.append(sender().stage))
        thread.start()
        thread.join()
    assert found == ["mle"]
    assert sender().stage == "mle"
    enter(run="r2")
    assert sender() == Sender("r2", "mle")


def test_a_learner_signs_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    begin(Sender("r1", process="learner-1"))
    logging.getLogger("raysq.x").info("first")
    enter(stage="mle")
    logging.getLogger("raysq.x").warning("second")
    lines = capsys.readouterr().err.splitlines()
    assert [re.sub(r"^[\d-]+ [\d:,]+ ", "", line) for line in lines] == [
        "INFO run=r1 stage=- process=learner-1 first",
        "WARNING run=r1 stage=mle process=learner-1 second",
    ]


def test_a_learners_objects_are_one_a_line_whatever_they_hold(capsys: pytest.CaptureFixture[str]) -> None:
    begin(Sender("r1", "mle", "learner-0", "json"))
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        logging.getLogger("raysq.x").exception("broke \x1b[2J off")
    (found,) = objects(capsys.readouterr().err)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    message = found.pop("message")
    assert message.startswith("broke \x1b[2J off\nTraceback")
    assert message.endswith("ValueError: first\nsecond")
    assert found == {"level": "ERROR", "run": "r1", "stage": "mle", "process": "learner-0"}


def test_each_printed_line_is_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    with structured("json"):
        begin_command("json", verbose=False)
        enter(run="r1")
        console = terminal()
        assert not console.is_terminal
        console.print("results go to /a [b]\n\nstage mle trains")
        with about("mle"):
            console.print("warning: mind", "the gap")
        print("error: wrong", file=sys.stderr)
        logging.getLogger("raysq.x").warning("logged")
        print("unended", end="")
    done = capsys.readouterr()
    assert [(o["level"], o["run"], o["stage"], o["message"]) for o in objects(done.out)] == [
        ("INFO", "r1", "", "results go to /a [b]"),
        ("INFO", "r1", "", "stage mle trains"),
        ("WARNING", "r1", "mle", "warning: mind the gap"),
        ("INFO", "r1", "", "unended"),
    ]
    assert [(o["level"], o["process"], o["message"]) for o in objects(done.err)] == [
        ("ERROR", "driver", "error: wrong"),
        ("WARNING", "driver", "logged"),
    ]
    print("plain again")
    assert capsys.readouterr().out == "plain again\n"


def test_threads_do_not_mix_their_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    beneath = io.StringIO()
    monkeypatch.setattr(sys, "stdout", beneath)
    with structured("json"):
        sys.stdout.write("one, ")
        thread = threading.Thread(target=lambda: print("another"))
        thread.start()
        thread.join()
        sys.stdout.write("two\n")
    assert [found["message"] for found in objects(beneath.getvalue())] == ["another", "one, two"]


def test_text_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    with structured("text"):
        assert sys.stdout is before
        print("plain")
    assert capsys.readouterr().out == "plain\n"


def fails(error: Exception) -> Callable[[WorkflowConfig], int]:
    def main(config: WorkflowConfig) -> int:
        raise error

    return main


def test_an_error_of_a_command_is_an_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--log-format=json"]
    main = fails(UserError("no such file: name another"))
    assert run_command(WorkflowConfig, main, description=None, argv=argv) == 2
    (found,) = objects(capsys.readouterr().err)
    assert (found["level"], found["message"]) == ("ERROR", "error: no such file: name another")
    with pytest.raises(SystemExit) as ended:
        run_command(WorkflowConfig, fails(ZeroDivisionError("a fault")), description=None, argv=argv)
    assert ended.value.code == 1
    (found,) = objects(capsys.readouterr().err)
    assert found["level"] == "ERROR"
    assert found["message"].startswith("Traceback (most recent call last):\n")
    assert found["message"].endswith("ZeroDivisionError: a fault")


def test_a_whole_command_prints_nothing_but_objects(tmp_path: Path) -> None:
    """A mistake that is found before anything has begun."""
    command = [sys.executable, "workflows/mle.py", "--log-format=json", "--num-learners=0"]
    command += ["--task=multi30k", f"--output-dir={tmp_path / 'run'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 2
    assert done.stdout == ""
    (found,) = objects(done.stderr)
    assert found["message"].startswith("error: --task multi30k needs --data-dir")
