"""Commands that deploy/README.md and the manifests give: their options exist, and so do files they name."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from raysq.commandline import parse
from raysq.config import UserError
from raysq.data.settings import PrepareSettings, task_defaults
from raysq.sweep.settings import TuneSettings
from tests.deploy.manifests import DEPLOY, ROOT, documents
from workflows.tune import space_named

TEXT = (DEPLOY / "README.md").read_text()
BLOCKS = re.findall(r"^```\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
LINES = [line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]
(JOB,) = documents(Path("kuberay/rayjob.yaml"))
COMMANDS = [
    *(line for line in LINES if re.match(r"(ray job submit .*-- )?python (-m raysq\.)?workflows", line)),
    JOB["spec"]["entrypoint"],
]


def understood(command: str) -> None:
    """Read the options of a workflow. Raises UserError where it would not take them."""
    found = re.search(r"python (?:-m raysq\.workflows\.(\w+)|workflows/(\w+)\.py)(.*)", command)
    assert found is not None
    name, argv = found[1] or found[2], shlex.split(found[3], comments=True)
    if name == "prepare":
        parse(PrepareSettings, argv, prog="", description="", defaults_for=task_defaults)
    elif name == "tune":
        space_named(parse(TuneSettings, argv, prog="", description="").space)
    else:
        recipe = importlib.import_module(f"workflows.{name}").RECIPE
        parse(recipe.config_class(), argv, prog="", description="", defaults_for=recipe.defaults)


@pytest.mark.parametrize("command", COMMANDS)
def test_workflows_take_the_options_that_are_given_to_them(command: str) -> None:
    understood(command)


@pytest.mark.parametrize(
    ("old", "new"),
    [("--num-learners", "--num-learner"), ("iwslt14 ", "iwslt15 "), ("--device cuda", "--device gpu")],
)
def test_a_wrong_option_is_told(old: str, new: str) -> None:
    entry = JOB["spec"]["entrypoint"]
    assert old in entry
    with pytest.raises(UserError):
        understood(entry.replace(old, new))


def test_there_are_commands_of_every_kind() -> None:
    assert len([c for c in COMMANDS if "erac" in c]) >= 3
    assert len([c for c in COMMANDS if "tune" in c]) >= 3
    assert len([c for c in COMMANDS if "prepare" in c]) >= 1


def test_files_that_commands_name_are_there() -> None:
    named = {path.rstrip(".") for line in LINES for path in re.findall(r"\bdeploy/[\w./-]+", line)}
    assert named
    assert {path for path in named if not (ROOT / path).exists()} <= {"deploy/mlflow/.env"}


def test_the_passwords_that_are_made_are_those_that_the_compose_file_wants() -> None:
    (loop,) = [line for line in LINES if "umask 077" in line]
    made = set(re.search(r"for name in (.*?);", loop)[1].split())
    wanted = set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "mlflow" / "compose.yaml").read_text()))
    assert made == wanted
