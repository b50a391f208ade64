import sys
from io import StringIO
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from rich.table import Table

from raysq import terminal as package
from raysq.terminal import as_started, shown, terminal, without_credentials

TEXT = "[old]/data 12 :smile: " + "x" * 100


@pytest.mark.parametrize("colours", [False, True])
def test_text_stays_as_it_is(colours: bool) -> None:
    """Brackets, colons and numbers mean nothing, and no line is broken; neither are they in a table."""
    out = StringIO()
    console = terminal(file=out, width=60, force_terminal=colours)
    console.print(TEXT)
    assert out.getvalue() == f"{TEXT}\n"
    table = Table("[dim]name")
    table.add_row(":cat:")
    console.print(table, soft_wrap=False)
    assert "[dim]name" in out.getvalue()
    assert ":cat:" in out.getvalue()


def test_names_that_would_break_a_line_or_a_terminal() -> None:
    assert shown("a b é.png") == "a b é.png"
    assert shown("a\tb\n\x1b[31m\udce9.png") == "a\\tb\\n\\x1b[31m\\udce9.png"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("http://me:secret@host:5000/api", "http://host:5000/api"),
        ("at (https://secret@host): away", "at (https://host): away"),
        ("'s3://key:se@cret@host/x', 'ftp://me:secret@host'", "'s3://host/x', 'ftp://host'"),
        ("http://me:se/cr?e#t@host/x", "http://host/x"),
        ("url='https://host/a.tgz?X-Signature=secret'", "url='https://host/a.tgz?...'"),
        ("http://me:secret@host/a?sig=secret: gone", "http://host/a?... gone"),
    ],
)
def test_secrets_of_addresses_are_not_told(text, told):
    assert without_credentials(text) == told


@pytest.mark.parametrize(
    "text",
    [
        "http://host:5000/#/compare-runs?runs=1",
        "http://host:5000/people/me@there",
        "sqlite:////a/b@c.db",
        "me@host: no // address",
        "what? me@host",
    ],
)
def test_what_is_no_secret_is_told(text):
    assert without_credentials(text) == text


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch):
    """Make this process look as if it had been started by path, or as a module."""

    def start(argument: str, module: str | None = None) -> None:
        main = ModuleType("__main__")
        if module is not None:
            main.__spec__ = SimpleNamespace(name=module, parent=module.rpartition(".")[0])
        monkeypatch.setitem(sys.modules, "__main__", main)
        monkeypatch.setattr(sys, "argv", [argument])

    return start


@pytest.mark.parametrize("package", ["raysq.workflows", "workflows"])
def test_other_workflows_are_named_as_modules_where_this_is_one(started, package: str) -> None:
    started("/somewhere/erac.py", f"{package}.erac")
    assert as_started() == f"python -m {package}.erac"
    assert as_started("runs") == f"python -m {package}.runs"


def test_other_workflows_are_named_by_path_where_this_was(started, tmp_path: Path) -> None:
    folder = tmp_path / "two words"
    folder.mkdir()
    (folder / "runs.py").touch()
    started(str(folder / "erac.py"))
    assert as_started() == f"python {folder / 'erac.py'}"
    assert as_started("runs") == f"python '{folder / 'runs.py'}'"


@pytest.mark.parametrize("argument", ["", "-c", "/ray/default_worker.py"])
def test_a_process_that_no_workflow_began_tells_from_where_the_package_lies(
    started, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, argument: str
) -> None:
    started(argument)
    assert as_started("runs") == "python workflows/runs.py"
    started(argument, "pytest.__main__")
    assert as_started("runs") == "python workflows/runs.py"
    monkeypatch.setattr(package, "__file__", str(tmp_path / "terminal.py"))
    (tmp_path / "workflows").mkdir()
    assert as_started("runs") == "python -m raysq.workflows.runs"
