import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, create_model, field_validator, model_validator

from raysq.commandline import DefaultsFor, parse, run_command
from raysq.config import Config, Scalar, UserError, WorkflowConfig, flatten


class Training(Config):
    """Trains."""

    learning_rate: float = Field(1e-3, gt=0)
    """Step size."""
    max_epochs: int = Field(30, ge=1)
    """When to stop [epochs]."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share that is dropped."""
    samples: Literal[1, 2] = 2
    """How many are drawn."""

    @model_validator(mode="after")
    def _two_samples(self) -> "Training":
        if self.dropout and self.samples == 1:
            raise ValueError("dropout needs two samples")
        return self


class JointTraining(Training):
    """Trains both."""

    tau: float = Field(0.045, ge=0)
    """Entropy weight."""
    entropy: bool = True
    """Entropy in the target."""
    sizes: tuple[int, ...] = ()
    """Even numbers."""
    limit: int | None = Field(None, ge=1)
    """Bound, if any."""

    @field_validator("sizes")
    @classmethod
    def _even(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if any(size % 2 for size in sizes):
            raise ValueError("must be even")
        return sizes

    @model_validator(mode="after")
    def _entropy_needs_tau(self) -> "JointTraining":
        if self.entropy and self.tau == 0:
            raise ValueError("`entropy` needs `tau` > 0: raise `tau`")
        return self


class Recipe(WorkflowConfig):
    mle: Training = Training(learning_rate=0.6)
    erac: JointTraining = JointTraining(learning_rate=1e-4, max_epochs=20)


def settings(command: str, defaults_for: DefaultsFor | None = None) -> dict[str, Scalar]:
    return flatten(parse(Recipe, command.split(), prog="recipe", description="", defaults_for=defaults_for))


def changed(command: str, defaults_for: DefaultsFor | None = None) -> dict[str, Scalar]:
    """What a command line changes of the recipe's defaults."""
    defaults = flatten(Recipe())
    return {key: value for key, value in settings(command, defaults_for).items() if value != defaults[key]}


def error(command: str, defaults_for: DefaultsFor | None = None) -> str:
    with pytest.raises(UserError) as caught:
        settings(command, defaults_for)
    return str(caught.value)


# What is accepted


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("", {}),
        ("--task demo-headline --seed 7", {"task": "demo-headline", "seed": 7}),
        ("--data-dir a/b", {"data_dir": "a/b"}),
        ("--data_dir=a=b", {"data_dir": "a=b"}),
        ("--erac.tau 0.1 --mle.max-epochs 12", {"erac.tau": 0.1, "mle.max_epochs": 12}),
        ("--mle.max_epochs=12", {"mle.max_epochs": 12}),
        ("--mle.learning-rate 1e-3", {"mle.learning_rate": 0.001}),
        ("--quiet --seed 2", {"quiet": True, "seed": 2}),
        ("--seed 2 --quiet", {"seed": 2, "quiet": True}),
        ("--quiet false --erac.entropy false", {"erac.entropy": False}),
        ("--mle.betas 0,0.99", {"mle.betas": "0.0,0.99"}),
        ("--erac.sizes 2,4,6", {"erac.sizes": "2,4,6"}),
        ("--erac.sizes 2 --erac.sizes=", {}),
        ("--erac.limit 3", {"erac.limit": 3}),
        ("--mle.samples 1", {"mle.samples": 1}),
        ("--data-dir x --data-dir None", {}),
        ("--seed 2 --seed 3", {"seed": 3}),
        ("--debug", {}),
    ],
)
def test_accepted(command: str, expected: dict[str, object]) -> None:
    assert changed(command) == expected


def test_changing_one_field_keeps_the_others_of_a_stage_made_by_create_model() -> None:
    workflow = create_model(
        "Workflow",
        __base__=WorkflowConfig,
        critic=(JointTraining, JointTraining(learning_rate=5e-4, tau=0.04)),
    )
    config = parse(workflow, ["--critic.max-epochs", "3"], prog="", description="")
    assert dict(config)["critic"] == JointTraining(learning_rate=5e-4, tau=0.04, max_epochs=3)


# Layers


def task_defaults(top_level: Mapping[str, object]) -> dict[str, object]:
    if top_level["task"] == "demo":
        return {"mle.max_epochs": 5, "erac.tau": 0.02, "vaml.tau": 0.4, "num_learners": 2}
    return {"mle.max_epochs": 9}


def test_layers(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("[mle]\nmax_epochs = 6\nlearning_rate = 0.5\n")
    assert changed("", task_defaults) == {
        "mle.max_epochs": 5,
        "erac.tau": 0.02,
        "num_learners": 2,
    }
    assert changed(f"--config {file} --mle.learning-rate 0.4 --num-learners 3", task_defaults) == {
        "mle.max_epochs": 6,
        "mle.learning_rate": 0.4,
        "erac.tau": 0.02,
        "num_learners": 3,
    }


def test_the_task_may_come_from_the_file_or_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text('{"task": "iwslt14"}')
    assert changed(f"--config {file}", task_defaults) == {"task": "iwslt14", "mle.max_epochs": 9}
    assert changed("--task x", task_defaults) == {"task": "x", "mle.max_epochs": 9}
    assert changed(f"--config {file} --task demo", task_defaults)["mle.max_epochs"] == 5


def test_a_task_s_slip_in_a_stage_of_the_workflow_is_no_foreign_stage() -> None:
    assert error("", lambda _: {"mle.max_epoch": 3}) == (
        "unknown key mle.max_epoch in the defaults of task or preset; did you mean mle.max_epochs?"
    )
    assert error("", lambda _: {"mle.max_epochs": 0}) == (
        "mle.max_epochs = 0 in the defaults of task or preset: must be at least 1"
    )
    assert error("", lambda _: {"mle.max_epochs": 1.5}) == (
        "mle.max_epochs = 1.5 in the defaults of task or preset: must be a whole number, at least 1"
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"seed": 3, "data_dir": "d", "mle": {"betas": [0, 0.5], "learning-rate": 1}}'),
        ("a.json", '{"seed": 3, "data-dir": "d", "mle.betas": [0, 0.5], "mle.learning_rate": 1}'),
        ("a.toml", 'seed = 3\ndata_dir = "d"\nmle.betas = [0, 0.5]\n[mle]\nlearning_rate = 1'),
        ("a.toml", 'seed = 3\ndata_dir = "d"\n"mle.betas" = [0, 0.5]\n"mle.learning_rate" = 1'),
    ],
)
def test_config_file(tmp_path: Path, name: str, text: str) -> None:
    if text.count("[mle]"):
        text = text.replace("mle.betas = [0, 0.5]\n[mle]", "[mle]\nbetas = [0, 0.5]")
    (tmp_path / name).write_text(text)
    expected = {"seed": 3, "data_dir": "d", "mle.betas": "0.0,0.5", "mle.learning_rate": 1.0}
    assert changed(f"--config {tmp_path / name}") == expected


def test_print_config_can_be_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = "--erac.tau 0.1 --data-dir d --mle.betas 0,0.5"
    with pytest.raises(SystemExit) as ended:
        settings(f"{command} --print-config")
    printed = capsys.readouterr().out
    assert ended.value.code == 0
    assert json.loads(printed)["erac"]["tau"] == 0.1
    (tmp_path / "again.json").write_text(printed)
    assert settings(f"--config {tmp_path / 'again.json'}") == settings(command)


def test_help_needs_no_correct_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    for asked in ("--help", "--taau 1 -h"):
        with pytest.raises(SystemExit) as ended:
            settings(asked)
        assert ended.value.code == 0
        assert (
            "--erac.learning-rate NUMBER\n      Step size. (above 0; default 0.0001)"
            in capsys.readouterr().out
        )


def test_a_reader_may_close_the_help_early() -> None:
    """As ``--help | head`` does: no traceback, and the status of help."""
    program = "from raysq.workflow import main; from workflows.erac import RECIPE; main(RECIPE, '')"
    command = [sys.executable, "-c", program, "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0


# What is refused


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("--erac.taau 1", "unknown option --erac.taau; did you mean --erac.tau?"),
        ("--erac.max_epoch 1", "unknown option --erac.max_epoch; did you mean --erac.max-epochs?"),
        ("--tau 1", "unknown option --tau; did you mean --erac.tau?"),
        (
            "--max-epochs 1",
            "unknown option --max-epochs; did you mean --mle.max-epochs or --erac.max-epochs?",
        ),
        ("--erac 1", "unknown option --erac: it is a group of settings, written --erac.NAME; see --help"),
        ("--print-confg", "unknown option --print-confg; did you mean --print-config?"),
        ("--xyz 1", "unknown option --xyz; --help lists all"),
        ("demo", "unexpected argument demo: settings are written --NAME VALUE"),
        ("-- --seed 1", "unexpected argument --: settings are written --NAME VALUE"),
        ("--seed 1 2", "unexpected argument 2: settings are written --NAME VALUE"),
        ("--erac.tau -1", "--erac.tau -1: must be at least 0"),
        ("--mle.learning_rate=0", "--mle.learning_rate 0: must be above 0"),
        ("--mle.dropout 1", "--mle.dropout 1: must be at least 0 and below 1"),
        ("--erac.tau x", "--erac.tau x: must be a finite number, at least 0"),
        ("--erac.tau nan", "--erac.tau nan: must be a finite number, at least 0"),
        ("--mle.max-epochs 1.5", "--mle.max-epochs 1.5: must be a whole number, at least 1"),
        ("--mle.max-epochs", "--mle.max-epochs needs a value: a whole number, at least 1"),
        ("--mle.max-epochs --quiet", "--mle.max-epochs needs a value: a whole number, at least 1"),
        ("--mle.max-epochs=", "--mle.max-epochs '': must be a whole number, at least 1"),
        ("--quiet maybe", "--quiet maybe: must be true or false"),
        ("--device gpu", "--device gpu: must be auto, cpu or cuda"),
        ("--mle.samples 3", "--mle.samples 3: must be 1 or 2"),
        ("--mle.betas 0.9", "--mle.betas 0.9: must be 2 values joined by commas"),
        ("--mle.betas 1,2,3", "--mle.betas 1,2,3: must be 2 values joined by commas"),
        ("--mle.betas 0.9,x", "--mle.betas 0.9,x: must be 2 values joined by commas"),
        ("--erac.sizes 2,x", "--erac.sizes 2,x: must be values joined by commas"),
        ("--erac.limit x", "--erac.limit x: must be a whole number or none, at least 1"),
        ("--erac.sizes 2,3", "--erac.sizes 2,3: must be even"),
        (
            "--erac.tau 0",
            "--erac.entropy needs --erac.tau > 0: raise --erac.tau (now --erac.entropy true, --erac.tau 0)",
        ),
        ("--mle.dropout 0.1 --mle.samples 1", "mle: dropout needs two samples"),
        (
            "--quiet --verbose true",
            "--quiet and --verbose exclude each other: give one of them (now --quiet, --verbose true)",
        ),
        (
            "--num-learners 0 --sampling remote",
            "--num-learners must be above 0 with --sampling remote (now --num-learners 0, --sampling remote)",
        ),
        (
            "--num-learners 2 --min-learners 3",
            "--min-learners must be at most --num-learners (now --min-learners 3, --num-learners 2)",
        ),
        ("--seed -1 --erac.tau -1 --mle.betas x", "--seed -1: must be at least 0 (and 3 more)"),
        ("--debug=yes", "--debug takes no value, got yes"),
        ("--config", "--config needs a value: a JSON or TOML file"),
    ],
)
def test_refused(command: str, message: str) -> None:
    assert error(command) == message


def test_a_required_field() -> None:
    class Needy(Config):
        corpus: Path
        """Text to read."""

    with pytest.raises(UserError, match=r"^--corpus PATH is required: Text to read. \(required\)$"):
        parse(Needy, [], prog="", description="")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.json",
            '{"erac": {"tau": "0.1"}}',
            'erac.tau = "0.1" in FILE: must be a finite number, at least 0',
        ),
        ("a.json", '{"erac": {"tau": -1}}', "erac.tau = -1 in FILE: must be at least 0"),
        ("a.json", '{"erac": {"tau": null}}', "erac.tau = null in FILE: must be a finite number, at least 0"),
        (
            "a.json",
            '{"erac": {"tau": {"x": 1}}}',
            'erac.tau = {"x": 1} in FILE: must be a finite number, at least 0',
        ),
        ("a.toml", "seed = 1.5", "seed = 1.5 in FILE: must be a whole number, at least 0"),
        ("a.toml", "quiet = 1", "quiet = 1 in FILE: must be true or false"),
        ("a.toml", "task = 2026-01-01", 'task = "2026-01-01" in FILE: must be text'),
        ("a.toml", "[erac]\ntaau = 1", "unknown key erac.taau in FILE; did you mean erac.tau?"),
        ("a.toml", "debug = true", "unknown key debug in FILE; --help lists all"),
        (
            "a.toml",
            "erac = 1",
            "unknown key erac in FILE: it is a group of settings, written erac.NAME; see --help",
        ),
        ("a.json", "[1]", "--config FILE: must hold a table of settings, not [1]"),
        ("a.yaml", "seed: 1", "--config FILE: must end in .json or .toml"),
    ],
)
def test_refused_in_a_file(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    assert error(f"--config {tmp_path / name}").replace(str(tmp_path / name), "FILE") == message


@pytest.mark.parametrize(
    ("name", "text"), [("a.json", '{"seed": 1\n'), ("a.toml", "seed = 1\ntask = oops\n")]
)
def test_a_file_with_bad_syntax(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    message = error(f"--config {tmp_path / name}")
    assert message.startswith(f"--config {tmp_path / name}: not valid {name[2:].upper()}: ")
    assert "line 2" in message


def test_unreadable_files(tmp_path: Path) -> None:
    missing, latin = tmp_path / "missing.json", tmp_path / "latin.toml"
    latin.write_bytes(b'task = "\xe4"')
    assert error(f"--config {missing}") == f"--config {missing}: cannot be read: No such file or directory"
    assert error(f"--config {latin}").startswith(
        f"--config {latin}: not valid TOML: 'utf-8' codec can't decode"
    )


@pytest.mark.parametrize(
    "text", ['{"erac":' * 5000 + "1" + "}" * 5000, "[" * 100_000, '{"seed": ' + "[" * 900 + "]" * 900 + "}"]
)
def test_a_file_nested_without_end(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert re.fullmatch(
        r"--config \S+/a.json: nested too deeply: .*|seed = \[.*\] in \S+/a.json: must be a whole number.*",
        error(f"--config {tmp_path / 'a.json'}"),
    )


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    assert error(f"--config {tmp_path / 'a.json'}").endswith("cannot be read: it is no regular file")


class AtServer(Config):
    """A command with an address."""

    server: str = "none"
    """Where."""


@pytest.mark.parametrize("option", ["", "--debug", "--print-config"])
def test_no_password_of_an_address_is_told(option, capsys):
    """Neither in a message nor in what led to it."""

    def main(config):
        try:
            raise OSError(f"{config.server} is away")
        except OSError as error:
            raise UserError(f"{config.server} cannot be reached ({error}): start it") from error

    arguments = ["--server=http://me:secret@host/x?sig=secret", *([option] if option else [])]
    with suppress(SystemExit):
        run_command(AtServer, main, description="", argv=arguments)
    said = "".join(capsys.readouterr())
    assert "//host/x" in said
    assert "secret" not in said
