"""Texts with choices in them, and the tables that their words come from.

A template is plain text with ``{name}``, the word of that name; ``(a|b)``, one of several, all as likely;
and ``[a|b]``, one of several or, half the time, nothing. What stands for a name may be a template, and
choices may stand in one another.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

Row = Mapping[str, str]
Table = tuple[Row, ...]

_NAME = re.compile(r"\{([a-z_.]+)\}")
_CHOICE = re.compile(r"([(\[])([^()\[\]]*)[)\]]")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of event: what it needs to know, and how to say it."""

    names: Mapping[str, Table]
    """Tables by the name that a row drawn from them has in the templates; two names never share a row."""
    articles: tuple[str, ...]
    headlines: tuple[str, ...]


def table(columns: str, text: str) -> Table:
    """Rows of a table: ``columns`` are parted by spaces, each line's cells by semicolons.

    The first column is what the bare name stands for, another one is written with a dot: {country.adjective}.
    """
    names = columns.split()
    rows = [[cell.strip() for cell in line.split(";")] for line in text.strip().splitlines()]
    return tuple(dict(zip(names, cells, strict=True)) for cells in rows)


def draw_words(kind: Kind, draws: random.Random) -> dict[str, str]:
    """The words of one event: a row for every name of its kind."""
    words: dict[str, str] = {}
    taken: list[Row] = []
    for name, rows in kind.names.items():
        row = draws.choice([row for row in rows if row not in taken])
        taken.append(row)
        words |= {f"{name}.{column}": cell for column, cell in row.items()}
        words[name] = next(iter(row.values()))
    return words


def expand(template: str, words: Mapping[str, str], draws: random.Random) -> str:
    """The template with its names filled in and its choices made, words parted by single spaces."""
    while _NAME.search(template):
        template = _NAME.sub(lambda match: words[match[1]], template)
    while _CHOICE.search(template):
        template = _CHOICE.sub(lambda match: _choose(match, draws), template)
    return " ".join(template.split())


def _choose(match: re.Match[str], draws: random.Random) -> str:
    if match[1] == "[" and draws.random() < 0.5:
        return ""
    return draws.choice(match[2].split("|"))
