"""Which of a paper's numbers may be drawn beside ours."""

from __future__ import annotations

from collections.abc import Iterator

from raysq.config import as_typed
from raysq.report.groups import Group, axes_of
from raysq.report.papers import PaperColumn, PaperTable, Published
from raysq.report.rows import SpaceResults
from raysq.report.tables import paper_rows
from raysq.sweep.space import Space

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


def settings_of(space: Space, group: Group) -> dict[str, str]:
    """What a group sets, as typed, by the last part of the dotted key."""
    (arm,) = (arm for arm in space.arms if arm.label == group.arm)
    found = {key.rpartition(".")[2]: as_typed(value) for key, value in arm.settings.items()}
    for axis in axes_of(space, group.arm):
        for key in axis.keys or (axis.name,):
            found[key.rpartition(".")[2]] = group.values[axis.name]
    return found


def named(column: PaperColumn) -> str:
    """A column in a caption: ``captioning (MSCOCO, test BLEU-4)``."""
    return f"{column.title} ({column.data})"
