"""How a command ends: its status, one line on stderr, nothing on stdout."""

import subprocess
import sys
from pathlib import Path

import pytest

from raysq.commandline import run_command
from raysq.config import UserError, WorkflowConfig


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
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, script, "--seed", "-1"],
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: --seed -1: must be at least 0\n")
