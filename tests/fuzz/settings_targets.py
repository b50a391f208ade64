"""Readers of what a command is told: settings files, command lines, tune spaces."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from raysq.commandline import parse
from raysq.config import Config, UserError
from raysq.report.rows import space_of
from raysq.sweep.plans import Trials, planned
from raysq.sweep.settings import TuneSettings
from raysq.sweep.space import Arm, Axis, Range, Space
from tests.fuzz.harness import Target
from workflows.erac import RECIPE
from workflows.tune import recipe_named, space_named

WORDS = (
    b"erac.tau",
    b"--",
    b"=",
    b",",
    b"none",
    b"true",
    b"-1",
    b"1e999",
    b"nan",
    b"demo",
    b"--help",
    b"[[",
    b"{}",
)
"""What settings are made of."""
ARGUMENTS = (
    "--task=demo",
    "--seed",
    "3",
    "--erac.tau=0.1",
    "--network.hidden-size",
    "128",
    "--control",
    "--preset=dai2018",
    "--erac.beta2=0.9",
    "--data-dir=data",
    "--quiet",
    "--max-staleness=0",
)
TUNE_ARGUMENTS = (
    "--space=small",
    "--arms=ERAC,MLE",
    "--values=tau=0,tau=0.045",
    "--seeds=1,2",
    "--settings=erac.max_updates=500,critic.batch-size=7",
    "--num-samples=1",
    "--scheduler=none",
    "--cpus-per-trial=1",
)
SETTINGS = {
    "task": "demo",
    "seed": 3,
    "control": True,
    "data_dir": "data",
    "erac": {"tau": 0.1, "learning_rate": 0.001, "entropy_gradient": "exact"},
    "network": {"hidden-size": 128, "dropout": 0},
    "critic.tau": 0.1,
}
TAU = Axis("tau", (0.0, 0.045), keys=("critic.tau", "erac.tau"))
SPACE = Space("small", "Small", (Arm("ERAC", "erac", {}, (TAU,)), Arm("MLE", "mle")), seeds=(1, 2))
DRAWN = Axis("rate", Range(1e-5, 1e-3, log=True), ("erac.learning_rate",))
OTHER = Space(
    "drawn", "Drawn", (Arm("ERAC", "erac", {"erac.tau": 0.1}, (DRAWN,)),), seeds=(1,), baseline="ERAC"
)


@cache
def settings_class() -> type[Config]:
    return RECIPE.config_class()


# -- settings files


def make_json(folder: Path) -> None:
    (folder / "settings.json").write_text(json.dumps(SETTINGS))


def make_toml(folder: Path) -> None:
    lines = [
        'task = "demo"',
        "seed = 3",
        "control = true",
        '"critic.tau" = 0.1',
        "[erac]",
        "tau = 0.1",
        'entropy_gradient = "exact"',
        "[network]",
        "hidden-size = 128",
    ]
    (folder / "settings.toml").write_text("\n".join(lines) + "\n")


def read_settings(folder: Path) -> None:
    path = next(iter(folder.iterdir()), folder / "settings.json")
    try:
        config = parse(
            settings_class(), [f"--config={path}"], prog="x", description="", defaults_for=RECIPE.defaults
        )
    except UserError as error:
        raise UserError(f"{path}: {error}") from error  # of a task an option is named, not the file
    config.model_dump_json()


# -- command lines: one argument a line


def make_arguments(folder: Path) -> None:
    (folder / "arguments").write_text("\n".join(ARGUMENTS))


def make_tune_arguments(folder: Path) -> None:
    (folder / "arguments").write_text("\n".join(TUNE_ARGUMENTS))


def arguments_in(folder: Path) -> list[str]:
    """As a shell would pass them: any bytes but NUL."""
    path = folder / "arguments"
    content = path.read_bytes() if path.is_file() else b""
    return [line.decode(errors="surrogateescape") for line in content.replace(b"\0", b"").split(b"\n")]


def read_arguments(folder: Path) -> None:
    try:
        config = parse(
            settings_class(), arguments_in(folder), prog="x", description="", defaults_for=RECIPE.defaults
        )
        config.model_dump_json()
    except SystemExit:
        pass  # --help
    except UserError as error:
        raise UserError(f"arguments: {error}") from error  # there is no file to be named


def read_tune_arguments(folder: Path) -> None:
    try:
        settings = parse(TuneSettings, arguments_in(folder), prog="x", description="")
        planned(Trials(SPACE, settings, recipe_named).all(), folder, "d" * 64, "version")
    except SystemExit:
        pass
    except UserError as error:
        raise UserError(f"arguments: {error}") from error


# -- spaces


def make_space(folder: Path) -> None:
    for space in (SPACE, OTHER):
        (folder / f"{space.name}.json").write_text(json.dumps(space.as_data()))


def make_space_file(folder: Path) -> None:
    (folder / "space.py").write_text(
        "from raysq.sweep.space import Arm, Axis, Range, Space\n\n"
        'TAU = Axis("tau", (0.0, 0.045), keys=("critic.tau", "erac.tau"))\n'
        'RATE = Axis("rate", Range(1e-5, 1e-3, log=True), ("erac.learning_rate",))\n'
        "SPACE = Space(\n"
        '    "small",\n'
        '    "Small",\n'
        "    arms=(\n"
        '        Arm("ERAC", "erac", {"erac.entropy_gradient": "exact"}, (TAU, RATE)),\n'
        '        Arm("MLE", "mle", seeds=(3,)),\n'
        "    ),\n"
        "    seeds=(1, 2),\n"
        '    baseline="MLE",\n'
        ")\n"
    )


def read_space(folder: Path) -> None:
    """A space kept as data, as workflows/report.py has it."""
    for path in sorted(folder.glob("*.json")):
        if not path.is_file():
            continue
        try:
            data = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            continue  # its reader is another target
        swept(space_of(data, str(path)), path)


def read_space_file(folder: Path) -> None:
    path = folder / "space.py"
    swept(space_named(str(path)), path)


def swept(space: Space, path: Path) -> None:
    """Plan the trials of a space as workflows/tune.py does."""
    settings = TuneSettings(space=str(path), num_samples=2 if space.searches else 1)
    try:
        planned(Trials(space, settings, recipe_named).all(), path.parent / "stages", "d" * 64, "version")
    except UserError as error:
        raise UserError(f"{path}: {error}") from error  # messages name the space, not its file


COMMAND_LINE = ("raysq.commandline", "raysq.options")
TARGETS = (
    Target("settings-json", COMMAND_LINE, make_json, read_settings, WORDS),
    Target("settings-toml", COMMAND_LINE, make_toml, read_settings, WORDS),
    Target("command-line", COMMAND_LINE, make_arguments, read_arguments, WORDS),
    Target("tune-command-line", ("raysq.sweep.plans",), make_tune_arguments, read_tune_arguments, WORDS),
    Target("space-data", ("raysq.sweep.space", "raysq.sweep.plans"), make_space, read_space, WORDS),
    Target("space-file", ("raysq.sweep.space", "workflows.tune"), make_space_file, read_space_file, WORDS),
)
