"""How a command is told its settings: options, a file, the task's defaults; and how it says what is wrong.

    if __name__ == "__main__":
        sys.exit(run_command(ERACWorkflow, main, description=__doc__, defaults_for=task_defaults))

Layers, the later wins: class defaults (the published setting, or what the recipe makes of it), the task's
defaults, ``--config FILE`` (JSON or TOML), the command line. Whatever a user can get wrong ends as one line
on stderr and status 2, before anything else has begun.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
import signal
import sys
import time
import tomllib
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from raysq.addresses import placed
from raysq.completion import completion
from raysq.config import Config, Unfinished, UserError, as_typed
from raysq.files import regular
from raysq.logs import structured
from raysq.options import COMMANDS, Option, alternatives, help_text, options_of, spelling
from raysq.storage import pull
from raysq.terminal import as_started, without_credentials

C = TypeVar("C", bound=Config)
Options = Mapping[str, Option]
DefaultsFor = Callable[[Mapping[str, object]], Mapping[str, object]]
"""From the top-level values given so far (as typed, not yet validated) to defaults by dotted key."""
OUT_OF_RANGE = {"greater_than_equal", "greater_than", "less_than_equal", "less_than", "multiple_of"}
WRONG_KIND = re.compile("missing|too_long|literal_error|finite_number|.*_(parsing|type|from_float)")


SAME_STOP = 1.0
"""A signal so soon after the first belongs to it: timeout and others send theirs twice [s]."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: an interruption like Ctrl-C's, with a status of its own."""


@dataclass(frozen=True)
class Given:
    """A value from outside."""

    value: object
    place: str
    """As a message names it: ``--erac.tau -1``, ``erac.tau = -1 in FILE``."""


def run_command(
    config_class: type[C],
    main: Callable[[C], int | None],
    *,
    description: str | None,
    prog: str | None = None,
    defaults_for: DefaultsFor | None = None,
    argv: Sequence[str] | None = None,
) -> int:
    """Parse the command line, call ``main`` with the settings and return the exit status.

    It is what ``main`` returns (None: 0); 2 for a UserError, from here or from ``main``, with one line on
    stderr; 1 for ``Unfinished``, likewise; 130 for an interruption (Ctrl-C, SIGINT) and 143 for SIGTERM, with
    one line made of the notes that ``main`` has put on the exception. A second signal ends the process at
    once, with the same status. Other exceptions are faults of the program and keep their traceback.
    """
    argv = sys.argv[1:] if argv is None else argv
    prog = prog or as_started()
    with ExitStack() as streams:
        try:
            config = parse(
                config_class, argv, prog=prog, description=description or "", defaults_for=defaults_for
            )
            streams.enter_context(structured(getattr(config, "log_format", "text")))
            with _interrupted():
                return main(config) or 0
        except (UserError, Unfinished) as error:
            if "--debug" in argv:
                print(without_credentials(traceback.format_exc()), file=sys.stderr)
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            return 2 if isinstance(error, UserError) else 1
        except KeyboardInterrupt as stop:
            print(": ".join(["interrupted", *getattr(stop, "__notes__", [])]), file=sys.stderr)
            return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


@contextmanager
def _interrupted() -> Iterator[None]:
    """SIGTERM interrupts as Ctrl-C does; a second signal does not wait for the orderly end so begun."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    first: float | None = None

    def interrupt(number: int, frame: object) -> None:
        nonlocal first
        now = time.monotonic()
        if first is None:
            first = now
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        if now - first >= SAME_STOP:
            os.write(sys.stderr.fileno(), b"interrupted again: ended at once\n")
            os._exit(128 + number)

    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def parse(
    config_class: type[C],
    argv: Sequence[str],
    *,
    prog: str,
    description: str,
    defaults_for: DefaultsFor | None = None,
) -> C:
    """The settings that a command line means.

    ``--help``, ``--print-config`` and ``--print-completion`` print and raise ``SystemExit(0)``.
    ``defaults_for`` gives the task's defaults; those of stages that this workflow does not have are passed
    over.

    Raises:
        UserError: names the first thing that is wrong, and the remedy.
    """
    options = {option.key: option for option in options_of(config_class)}
    arguments = list(_split(argv))
    commands = {name for name, _, _ in arguments} & COMMANDS.keys()
    if "help" in commands:
        _show(help_text(config_class, prog, description))
        raise SystemExit(0)
    if "print_completion" in commands:
        _show(completion(config_class, sys.argv[0]))
        raise SystemExit(0)
    from_files: dict[str, Given] = {}
    typed: dict[str, Given] = {}
    for key, option, text in arguments:
        if key == "config":
            from_files |= _read_file(text, options)
        elif key not in COMMANDS:
            typed[key] = _read_argument(key, option, text, options)
        elif text is not None:
            raise UserError(f"{option} takes no value, got {shlex.quote(text)}")
    given = from_files | typed
    config = settled(config_class, given, defaults_for)
    if "print_config" in commands:
        _show(without_credentials(config.model_dump_json(indent=2)))
        raise SystemExit(0)
    return config


def _show(text: str) -> None:
    """Print a long text, of which a reader may want the beginning alone (``--help | head``)."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is flushed at exit


def settled(config_class: type[C], given: Mapping[str, Given], defaults_for: DefaultsFor | None = None) -> C:
    """The settings that values by dotted key mean, over the defaults of task and preset.

    Raises:
        UserError: names the first value that is wrong by its place.
    """
    options = {option.key: option for option in options_of(config_class)}
    for key, item in given.items():
        if key not in options:
            raise UserError(f"{item.place}: unknown key{_suggestion(key, options, str)}")
    if defaults_for is not None:
        top = {key: option.default for key, option in options.items() if "." not in key}
        top |= {key: item.value for key, item in given.items() if "." not in key}
        given = {**_read_task_defaults(defaults_for(top), options), **given}
    return _build(config_class, options, given)


def _split(argv: Sequence[str]) -> Iterator[tuple[str, str, str | None]]:
    """Key, option as typed, and text of its value of each ``--key value``, ``--key=value`` or ``--key``."""
    arguments = ["--help" if argument == "-h" else argument for argument in argv]
    while arguments:
        argument = arguments.pop(0)
        if not argument.startswith("--") or argument == "--":
            raise UserError(f"unexpected argument {shlex.quote(argument)}: settings are written --NAME VALUE")
        option, equals, text = argument.partition("=")
        value: str | None = text if equals else None
        if not equals and arguments and not arguments[0].startswith("--"):
            value = arguments.pop(0)
        yield option[2:].replace("-", "_"), option, value


def _read_argument(key: str, typed: str, text: str | None, options: Options) -> Given:
    if key not in options:
        raise UserError(f"unknown option {typed}{_suggestion(key, [*options, *COMMANDS], spelling)}")
    option = options[key]
    if text is not None:
        return Given(option.read(text), f"{typed} {shlex.quote(text)}")
    if option.type is bool:
        return Given(True, typed)
    raise UserError(f"{typed} needs a value: {option.allowed}")


def _read_file(name: str | None, options: Options) -> dict[str, Given]:
    """The settings in a file, types checked strictly: a text is no number there, nor a number a text."""
    if name is None:
        raise UserError("--config needs a value: a JSON or TOML file")
    try:
        return _settings_of(_tree(name), name, options)
    except RecursionError as error:
        raise UserError(f"--config {name}: nested too deeply: settings are KEY = VALUE in groups") from error


def _tree(name: str) -> dict[str, object]:
    """What a JSON or TOML file holds."""
    try:
        path = placed(name)
    except ValueError as error:
        raise UserError(f"--config {name}: {error}") from error
    loads = {".json": json.loads, ".toml": tomllib.loads}.get(path.suffix)
    if loads is None:
        raise UserError(f"--config {name}: must end in .json or .toml")
    try:
        pull(path.parent, only=(path.name,))
        tree = loads(regular(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--config {name}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # of either syntax, and of text that is not UTF-8
        raise UserError(f"--config {name}: not valid {path.suffix[1:].upper()}: {error}") from error
    if not isinstance(tree, dict):
        raise UserError(f"--config {name}: must hold a table of settings, not {json.dumps(tree)}")
    return tree


def _settings_of(tree: Mapping[str, object], name: str, options: Options) -> dict[str, Given]:
    given = {}
    for key, value in _leaves(tree, options):
        if key not in options:
            raise UserError(f"unknown key {key} in {name}{_suggestion(key, options, str)}")
        literal = json.dumps(value, default=str)
        given[key] = Given(value, f"{key} = {literal} in {name}")
        try:
            TypeAdapter(options[key].annotation).validate_json(literal, strict=True)
        except ValidationError as error:
            raise UserError(f"{given[key].place}: must be {options[key].allowed}") from error
    return given


def _leaves(tree: Mapping[str, object], options: Options, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Dotted keys and values of a tree whose keys may themselves be dotted."""
    for name, value in tree.items():
        key = prefix + name.replace("-", "_")
        if isinstance(value, dict) and key not in options:
            yield from _leaves(value, options, key + ".")
        else:
            yield key, value


def _read_task_defaults(defaults: Mapping[str, object], options: Options) -> dict[str, Given]:
    """What the task says about this workflow: a task has settings for the stages of all workflows."""
    sections = {key.rpartition(".")[0] for key in options}
    given = {}
    for key, value in defaults.items():
        if key in options:
            given[key] = Given(value, f"{key} = {as_typed(value)} in the defaults of task or preset")
        elif key.rpartition(".")[0] in sections:
            suggestion = _suggestion(key, options, str)
            raise UserError(f"unknown key {key} in the defaults of task or preset{suggestion}")
    return given


def _suggestion(key: str, known_keys: Iterable[str], write: Callable[[str], str]) -> str:
    """``; did you mean ...?`` from a wrong key: a stage, a field without its stage, or a misspelling."""
    known_keys = list(known_keys)
    if any(known.startswith(f"{key}.") for known in known_keys):
        return f": it is a group of settings, written {write(key)}.NAME; see --help"
    same_field = [known for known in known_keys if known.endswith(f".{key}")]
    close = difflib.get_close_matches(key, known_keys, n=1)
    meant = same_field or close
    return f"; did you mean {alternatives(map(write, meant))}?" if meant else "; --help lists all"


def _build(config_class: type[C], options: Options, given: Mapping[str, Given]) -> C:
    """The validated tree: what was given over the defaults."""
    tree: dict[str, Any] = {}
    for key, option in options.items():
        value = given[key].value if key in given else option.default
        if value is not PydanticUndefined:
            *path, name = key.split(".")
            node = tree
            for section in path:
                node = node.setdefault(section, {})
            node[name] = value
    try:
        return config_class.model_validate(tree)
    except ValidationError as error:
        places = {
            key: given[key].place if key in given else f"{spelling(key)} {as_typed(option.default)}"
            for key, option in options.items()
        }
        first, *others = error.errors(include_url=False)
        more = f" (and {len(others)} more)" if others else ""
        raise UserError(_explain(first, options, places) + more) from error


def _explain(error: ErrorDetails, options: Options, places: Mapping[str, str]) -> str:
    """One line: the field as the user would type it, its value, and what it must be."""
    path = [str(part) for part in error["loc"]]
    said = str(error["ctx"]["error"]) if error["type"] == "value_error" else error["msg"]
    for length in range(len(path), 0, -1):  # the error may lie inside a leaf, in an element of a tuple
        option = options.get(".".join(path[:length]))
        if option is None:
            continue
        if error["type"] == "missing" and length == len(path):
            return f"{option.usage} is required: {option.description}"
        if error["type"] in OUT_OF_RANGE:
            said = f"must be {option.range}"
        elif WRONG_KIND.fullmatch(error["type"]):
            said = f"must be {option.allowed}"
        return f"{places[option.key]}: {said}"
    return _explain_combination(said, ".".join(path), options, places)


def _explain_combination(said: str, section: str, options: Options, places: Mapping[str, str]) -> str:
    """Writes the fields that a model validator named in backticks as options, and adds their values."""
    prefix = f"{section}." if section else ""
    named = [prefix + name for name in re.findall(r"`([\w.]+)`", said) if prefix + name in options]
    for key in named:
        said = said.replace(f"`{key.removeprefix(prefix)}`", spelling(key))
    if named:
        return f"{said} (now {', '.join(places[key] for key in dict.fromkeys(named))})"
    return f"{section}: {said}" if section else said
