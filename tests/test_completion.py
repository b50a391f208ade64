import subprocess
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from raysq.commandline import parse
from raysq.completion import completion
from raysq.config import Config


class Stage(Config):
    learning_rate: float = Field(1e-3, gt=0)
    """Step size."""
    form: Literal["plain", "released"] | None = "plain"
    """Which form."""


class Recipe(Config):
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where."""
    quiet: bool = False
    """Say less."""
    erac: Stage = Stage()


class Other(Config):
    depth: int = 1
    """Another command's."""


def completed(tmp_path: Path, line: str) -> list[str]:
    """What bash offers for a typed line, of which the last word is not finished."""
    script = tmp_path / "completion.sh"
    script.write_text(
        f"{completion(Recipe, 'workflows/erac.py')}\n{completion(Other, '/elsewhere/workflows/other.py')}\n"
        f"COMPREPLY=() COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _raysq\n"
        'echo "${COMPREPLY[@]}"\n'
    )
    ran = subprocess.run(["bash", "-u", script], capture_output=True, text=True, check=False)
    assert ran.stderr == ""
    return ran.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("python workflows/erac.py --erac.l", ["--erac.learning-rate"]),
        ("python -m raysq.workflows.erac --erac.l", ["--erac.learning-rate"]),
        (".venv/bin/python -O /x/workflows/erac.py --seed 1 --qu", ["--quiet"]),
        ("python workflows/erac.py --device c", ["cpu", "cuda"]),
        ("python workflows/erac.py --device = cu", ["cuda"]),  # bash makes three words of --device=cu
        ("python workflows/erac.py --device =", ["auto", "cpu", "cuda"]),
        ("python workflows/erac.py --quiet ''", ["true", "false"]),
        ("python workflows/erac.py --erac.form ''", ["plain", "released", "none"]),
        ("python workflows/erac.py --erac.learning-rate 1", []),
        ("python workflows/erac.py --print-", ["--print-config", "--print-completion"]),
        ("python workflows/other.py --d", ["--depth", "--debug"]),
        ("python workflows/unknown.py --d", []),
        ("python --d", []),
    ],
)
def test_what_is_offered(tmp_path: Path, line: str, offered: list[str]) -> None:
    assert completed(tmp_path, line) == offered


def test_files_are_completed_as_ever(tmp_path: Path) -> None:
    script = f"{completion(Recipe, 'workflows/erac.py')}\ncomplete -p python python3\n"
    ran = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
    expected = "complete -o bashdefault -o default -F _raysq "
    assert ran.stdout.splitlines() == [f"{expected}python", f"{expected}python3"]


def test_it_is_an_option_of_every_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["workflows/erac.py"])
    with pytest.raises(SystemExit) as ended:
        parse(Recipe, ["--print-completion"], prog="", description="")
    assert ended.value.code == 0
    assert capsys.readouterr().out == completion(Recipe, "workflows/erac.py") + "\n"
