"""Which of a paper's numbers may be drawn beside ours."""

from __future__ import annotations

from collections.abc import Iterator

from raysq.report.groups import Group, settings_of
from raysq.report.papers import PaperColumn, PaperTable, Published
from raysq.report.rows import SpaceResults
from raysq.report.tables import paper_rows

Quoted = tuple[Published, PaperColumn]
"""A number, and the column that it stands in."""


def quoted(
    results: SpaceResults, paper: PaperTable | None, group: Group, score: tuple[str, str]
) -> Iterator[Quoted]:
    """The paper's numbers of a group's algorithm and settings, in the column of the task and (split, score).

    None where the paper has no such column.
    """
    if paper is None:
        return
    place = paper.column(results.task, settings_of(results.space, group), *score)
    for row in paper_rows(results.space, paper, group):
        number = None if place is None else row.numbers[place]
        if place is not None and number is not None:
            yield number, paper.columns[place]


def named(column: PaperColumn) -> str:
    """A column in a caption: ``captioning (MSCOCO, test BLEU-4)``."""
    return f"{column.title} ({column.data})"
