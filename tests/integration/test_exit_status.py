"""How a command ends: its status, one line on stderr, nothing on stdout."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from raysq.commandline import run_command
from raysq.config import Unfinished, UserError, WorkflowConfig
from raysq.workflow import main as run_workflow
from tests.integration.faults.conftest import statuses
from tests.integration.test_workflow import SMALL
from workflows import raml, vaml
from workflows.mle import RECIPE

ROOT = Path(__file__).parents[2]


def test_status_is_what_main_returns() -> None:
    def main(config: WorkflowConfig) -> int:
        return config.seed

    assert run_command(WorkflowConfig, main, description=None, argv=["--seed", "3"]) == 3
    assert run_command(WorkflowConfig, lambda _: None, description=None, argv=[]) == 0


def test_a_user_error_of_main_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def main(_: WorkflowConfig) -> None:
        raise UserError("data.en: line 3 is no UTF-8:\n convert it")

    assert run_command(WorkflowConfig, main, description=None, argv=[]) == 2
    assert capsys.readouterr() == ("", "error: data.en: line 3 is no UTF-8: convert it\n")
    assert run_command(WorkflowConfig, main, description=None, argv=["--debug"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Traceback")
    assert err.endswith("error: data.en: line 3 is no UTF-8: convert it\n")


def test_an_interruption_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def main(_: WorkflowConfig) -> None:
        raise KeyboardInterrupt

    assert run_command(WorkflowConfig, main, description=None, argv=[]) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


def test_an_interruption_says_what_was_noted_on_it(capsys: pytest.CaptureFixture[str]) -> None:
    def main(_: WorkflowConfig) -> None:
        stop = KeyboardInterrupt()
        stop.add_note("repeat the command")
        raise stop

    assert run_command(WorkflowConfig, main, description=None, argv=[]) == 130
    assert capsys.readouterr() == ("", "interrupted: repeat the command\n")


def test_sigterm_interrupts_with_its_own_status_and_is_not_disturbed_by_its_echo(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    closed = []

    def main(_: WorkflowConfig) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            closed.append(True)

    assert run_command(WorkflowConfig, main, description=None, argv=[]) == 143
    assert capsys.readouterr() == ("", "interrupted\n")
    assert closed == [True]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_does_not_wait_for_the_orderly_end(number: int, status: int) -> None:
    script = f"""
import signal, sys, time
from raysq import commandline
from raysq.config import WorkflowConfig
commandline.SAME_STOP = 0.0
def main(config):
    try:
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.raise_signal({number})
        print("closed")
sys.exit(commandline.run_command(WorkflowConfig, main, description=None))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr == "interrupted again: ended at once\n"


def test_a_divergence_with_nothing_to_keep_is_one_line_and_status_3(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [option for option in SMALL if not option.startswith(("--critic", "--erac"))]
    high = ["--mle.learning-rate=1e38", "--mle.clip-norm=1e30"]
    places = [f"--data-dir={data}", f"--output-dir={tmp_path / 'run'}"]
    assert run_workflow(RECIPE, None, [*small, *high, *places]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(
        r"error: stage mle diverged before its first evaluation: loss term mle is (nan|inf) at update 1 .*: "
        "give the stage a lower learning rate or clip norm\n",
        err,
    )
    assert statuses(tmp_path / "mlflow.db") == {"FAILED"}


@pytest.mark.parametrize(
    "mistake",
    ["--data-dir=nowhere", "--tracking-uri=http://127.0.0.1:9", "--tracking-uri=mlruns", "--mle.tau=1"],
)
def test_a_mistake_leaves_nothing_behind(tmp_path: Path, mistake: str) -> None:
    places = [f"--output-dir={tmp_path / 'runs' / 'a'}", f"--store-dir={tmp_path / 'stages'}"]
    assert run_workflow(RECIPE, None, ["--num-learners=0", *places, mistake]) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_proposal_that_the_vocabulary_does_not_allow_is_refused_before_anything_is_trained(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--raml.proposal.name=edit", "--raml.proposal.edit.temperature=2"]
    places = [f"--data-dir={data}", f"--output-dir={tmp_path / 'runs' / 'a'}"]
    assert run_workflow(raml.RECIPE, None, ["--num-learners=0", *options, *places]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(
        r"error: stage raml: temperature 2 would insert words without end: set it below 1\.\d+\n", err
    )
    assert not list((tmp_path / "runs").glob("*/"))


def test_settings_of_two_stages_that_do_not_go_together_leave_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--vaml.tau=0.5", f"--output-dir={tmp_path / 'runs' / 'a'}"]
    assert run_workflow(vaml.RECIPE, None, argv) == 2
    assert capsys.readouterr() == (
        "",
        "error: --oracle.tau (0.4) and --vaml.tau (0.5) differ: give both the same value\n",
    )
    assert list(tmp_path.iterdir()) == []


def test_what_no_mistake_of_the_user_broke_off_is_one_line_and_status_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def main(_: WorkflowConfig) -> None:
        raise Unfinished("the learners were lost: repeat the command")

    assert run_command(WorkflowConfig, main, description=None, argv=[]) == 1
    assert capsys.readouterr() == ("", "error: the learners were lost: repeat the command\n")


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    def main(_: WorkflowConfig) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_command(WorkflowConfig, main, description=None, argv=[])


def test_a_real_process_ends_with_status_2_one_line_and_without_torch(tmp_path: Path) -> None:
    script = tmp_path / "workflow.py"
    script.write_text(
        "import sys\n"
        "from raysq.commandline import run_command\n"
        "from raysq.config import WorkflowConfig\n"
        "assert not {'torch', 'ray', 'mlflow'} & sys.modules.keys()\n"
        "sys.exit(run_command(WorkflowConfig, print, description='A workflow.'))\n"
    )
    done = subprocess.run(
        [sys.executable, script, "--seed", "-1"],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: --seed -1: must be at least 0\n")
