"""The leaves of a tree of settings as options of a command: how each is spelled, read and explained."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from raysq.config import Config, as_typed

COMMANDS = {
    "config": ("--config FILE", "Read settings from a JSON or TOML file, keys nested or dotted."),
    "print_config": ("--print-config", "Print the resolved settings as JSON, fit for --config, and end."),
    "print_completion": (
        "--print-completion",
        "Print what a shell needs to complete this command, and end.",
    ),
    "debug": ("--debug", "Show the traceback of an error."),
    "help": ("-h, --help", "Show this and end."),
}
"""Options of every command that are not settings: usage and meaning."""
KINDS: dict[object, tuple[str, str]] = {
    bool: ("true|false", "true or false"),
    int: ("INTEGER", "a whole number"),
    float: ("NUMBER", "a finite number"),
    str: ("TEXT", "text"),
    Path: ("PATH", "a path"),
}
"""Of each type: what stands for a value in the help, and what a value must be, in words."""
BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "multiple_of": "a multiple of"}
PRECEDENCE = (
    "The command line wins over --config FILE, the file over a preset, a preset over the task's "
    "defaults, and these over the defaults shown above. Underscores may stand for hyphens."
)
WIDTH = 80


@dataclass(frozen=True)
class Option:
    """A leaf of a tree of settings."""

    key: str
    """Dotted key, ``erac.learning_rate``."""
    field: FieldInfo
    default: object
    """PydanticUndefined where a value is required."""
    heading: str
    """Of its group in the help: the stage and what it does."""

    @property
    def annotation(self) -> Any:
        """What pydantic checks a value against; the field's own bounds are not in it."""
        return self.field.annotation

    @property
    def type(self) -> Any:
        """The annotation without None and without bounds."""
        annotation = self.annotation
        if get_origin(annotation) in (Union, UnionType):
            rest = [arm for arm in get_args(annotation) if arm is not NoneType]
            annotation = rest[0] if len(rest) == 1 else annotation
        return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation

    @property
    def takes_none(self) -> bool:
        """Whether ``none`` is a value."""
        return NoneType in get_args(self.annotation)

    @property
    def range(self) -> str:
        """Its bounds in words, ``at least 0 and below 1``; empty without bounds."""
        return " and ".join(
            f"{words} {getattr(constraint, name):g}"
            for constraint in (*self.field.metadata, *_inner_constraints(self.annotation))
            for name, words in BOUNDS.items()
            if getattr(constraint, name, None) is not None
        )

    @property
    def allowed(self) -> str:
        """What a value must be: ``a whole number or none, at least 1``."""
        kind = self._kind[1] + " or none" * self.takes_none
        return ", ".join(filter(None, (kind, self.range)))

    @property
    def usage(self) -> str:
        """As it is typed, with a place for the value: ``--erac.learning-rate NUMBER``."""
        return f"{spelling(self.key)} {self._kind[0]}"

    @property
    def description(self) -> str:
        """Its docstring, then choices, range, default and unit."""
        text = _plain(self.field.description or "")
        unit = re.search(r"\.?\s*\[([^][]+)\]\.?$", text)
        facts = (
            self._kind[1] if get_origin(self.type) is Literal else "",
            self.range,
            "required" if self.default is PydanticUndefined else f"default {as_typed(self.default)}",
            f"in {unit[1]}" if unit else "",
        )
        return f"{text[: unit.start()] + '.' if unit else text} ({'; '.join(filter(None, facts))})"

    @property
    def _kind(self) -> tuple[str, str]:
        """As in ``KINDS``, for every type."""
        elements = get_args(self.type)
        if self.type in KINDS:
            return KINDS[self.type]
        if get_origin(self.type) is Literal:
            return "CHOICE", alternatives(map(as_typed, elements))
        if get_origin(self.type) is tuple and Ellipsis not in elements:
            return ",".join(["VALUE"] * len(elements)), f"{len(elements)} values joined by commas"
        if get_origin(self.type) in (tuple, list):
            choices = get_args(elements[0]) if get_origin(elements[0]) is Literal else ()
            of = f" of {', '.join(map(as_typed, choices))}" if choices else ""
            return "VALUE,...", f"values{of} joined by commas"
        return "VALUE", f"a value of {self.type}"

    def read(self, text: str) -> object:
        """The value that a typed text means, as far as pydantic would not see it by itself."""
        if self.takes_none and text.lower() == "none":
            return None
        if get_origin(self.type) in (tuple, list):
            return text.split(",") if text else []
        if get_origin(self.type) is Literal:
            return {as_typed(choice): choice for choice in get_args(self.type)}.get(text, text)
        return text


def options_of(
    config_class: type[Config],
    instance: Config | None = None,
    prefix: str = "",
    heading: str = "Workflow",
) -> Iterator[Option]:
    """The leaves of a class in order; a stage's defaults are those of the instance that is its default.

    Raises TypeError where a field is not annotated with its default's class: its fields would be refused.
    """
    for name, field in config_class.model_fields.items():
        key = prefix + name
        if instance is not None:
            default = getattr(instance, name)
        else:
            default = field.get_default(call_default_factory=True, validated_data={})
        annotation = field.annotation
        stage_default = default if isinstance(default, Config) else None
        if stage_default is not None and type(stage_default) is not annotation:
            raise TypeError(f"{key}: annotate it {type(default).__name__}, the class of its default")
        if isinstance(annotation, type) and issubclass(annotation, Config):
            meaning = _first_paragraph(field.description or annotation.__doc__ or "")
            yield from options_of(annotation, stage_default, f"{key}.", f"{key}: {meaning}")
        else:
            yield Option(key, field, default, heading)


def spelling(key: str) -> str:
    """The option of a key: ``--erac.learning-rate``."""
    return "--" + key.replace("_", "-")


def alternatives(words: Iterable[str]) -> str:
    """``a, b or c``."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def help_text(config_class: type[Config], prog: str, description: str) -> str:
    """Every field, grouped by stage, with its choices, range, default and unit, 80 columns wide.

    The first paragraph of ``description`` opens it.
    """
    lines = [f"usage: {prog} [--OPTION VALUE]...", "", textwrap.fill(_first_paragraph(description), WIDTH)]
    heading = None
    for option in options_of(config_class):
        if option.heading != heading:
            heading = option.heading
            lines += ["", textwrap.fill(heading, WIDTH)]
        lines += _entry(option.usage, option.description)
    lines += ["", "This command"]
    for usage, text in COMMANDS.values():
        lines += _entry(usage, text)
    return "\n".join([*lines, "", textwrap.fill(PRECEDENCE, WIDTH)])


def _entry(usage: str, text: str) -> list[str]:
    indent = " " * 6
    return [f"  {usage}", textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent)]


def _first_paragraph(text: str) -> str:
    return _plain(inspect.cleandoc(text).split("\n\n")[0])


def _plain(text: str) -> str:
    """On one line and without the marks of code."""
    return " ".join(text.replace("``", "").split())


def _inner_constraints(annotation: object) -> Iterator[object]:
    """Constraints inside an annotation: those of the int in ``Annotated[int, Field(ge=1)] | None``."""
    for constraint in getattr(annotation, "__metadata__", ()):
        yield from constraint.metadata if isinstance(constraint, FieldInfo) else (constraint,)
    for argument in get_args(annotation):
        yield from _inner_constraints(argument)
