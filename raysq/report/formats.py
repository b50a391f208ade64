"""Tables as Markdown, CSV, LaTeX and HTML: the same cells, written down four times."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from raysq.files import write_lines
from raysq.webpage import markdown_text

NONE = "–"
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "$": r"\$",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "†": r"$\dagger$",
    "–": "--",
    "<": r"$<$",
    ">": r"$>$",
    "Δ": r"$\Delta$",
    "²": r"$^2$",
}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBERS = re.compile(r"[-+]\d[\d.e]*( \.\. [-+]\d[\d.e]*)?")
"""How a formula begins in a spreadsheet."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One entry of a table."""

    text: str
    """For people."""
    value: float | str | None = None
    """For programs, in full; None: the text."""

    @classmethod
    def number(cls, value: float | None, digits: int = 2) -> Cell:
        """A number with so many decimals; None where there is none."""
        if value is None:
            return cls(NONE, "")
        return cls(f"{round(value, digits) + 0.0:,.{digits}f}", value)  # + 0.0: never -0.00


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    title: str
    theirs: bool = False
    """Whether its numbers are a paper's, of other data: marked as such in every format."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table with all that is needed to read it."""

    key: str
    """Its files' name."""
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()


def write_table(folder: Path, table: Table) -> None:
    """Write KEY.md, KEY.csv and KEY.tex. Raises UserError where the disk is full."""
    for suffix, written in (("md", markdown), ("csv", csv_text), ("tex", latex)):
        write_lines(folder / f"{table.key}.{suffix}", written(table).splitlines())


def markdown(table: Table) -> str:
    """As GitHub reads it; theirs in italics."""

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def shown(cell: Cell, column: Column) -> str:
        text = markdown_text(cell.text)
        return f"*{text}*" if column.theirs and cell.text != NONE else text

    lines = [
        f"**{markdown_text(table.caption)}**",
        "",
        line(markdown_text(column.title) for column in table.columns),
        line(["---"] + ["---:"] * (len(table.columns) - 1)),
        *(line(map(shown, row, table.columns)) for row in table.rows),
    ]
    for note in table.notes:
        lines += ["", markdown_text(note)]
    return "\n".join(lines) + "\n"


def csv_text(table: Table) -> str:
    """Numbers in full, empty where there is none."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([_csv_value(column.title) for column in table.columns])
    writer.writerows(
        [[_csv_value(c.text if c.value is None else c.value) for c in row] for row in table.rows]
    )
    return file.getvalue()


def latex(table: Table) -> str:
    """A table environment that needs booktabs; theirs in italics."""

    def shown(cell: Cell, column: Column) -> str:
        text = _latex_text(cell.text)
        return rf"\textit{{{text}}}" if column.theirs and cell.text != NONE else text

    rows = [" & ".join(map(shown, row, table.columns)) + r" \\" for row in table.rows]
    titles = " & ".join(_latex_text(column.title) for column in table.columns) + r" \\"
    notes = [rf"\par\footnotesize {_latex_text(note)}" for note in table.notes]
    lines = [
        r"\begin{table}\centering",
        rf"\caption{{{_latex_text(table.caption)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        r"\toprule",
        titles,
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        *notes,
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def html_table(table: Table) -> str:
    """A table element in a box of its own that scrolls."""
    e = html.escape

    def classes(column: Column) -> str:
        return ' class="theirs"' if column.theirs else ""

    titles = "".join(f"<th{classes(column)}>{e(column.title)}</th>" for column in table.columns)

    def shown(cell: Cell, column: Column) -> str:
        return f"<td{classes(column)}>{e(cell.text)}</td>"

    rows = [f"<tr>{''.join(map(shown, row, table.columns))}</tr>" for row in table.rows]
    notes = "".join(f'<p class="note">{e(note)}</p>' for note in table.notes)
    return (
        f'<div class="table"><table><caption>{e(table.caption)}</caption>'
        f"<thead><tr>{titles}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>{notes}\n"
    )


def _csv_value(value: float | str) -> float | str:
    """A value that no spreadsheet takes for a formula: text that begins like one gets an apostrophe.

    Numbers and intervals (``+1.2 .. +3.4``) have no letters and compute nothing.
    """
    if isinstance(value, str) and value.startswith(_FORMULA) and not _NUMBERS.fullmatch(value):
        return f"'{value}"
    return value


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
