"""Suite ``sizes``: the suite ``updates`` over vocabularies and widths, and how cost grows with V and T."""

from __future__ import annotations

from tests.benchmarks import updates
from tests.benchmarks.rows import Row
from tests.benchmarks.settings import BenchmarkSettings

VOCABULARIES = (1_000, 8_000, 22_822, 50_000)
WIDTHS = (256, 512)


def run(settings: BenchmarkSettings) -> list[Row]:
    """A row for each update, vocabulary, width and precision."""
    sizes = {"vocabulary": settings.vocabulary or VOCABULARIES, "hidden": settings.hidden or WIDTHS}
    return updates.run(settings.model_copy(update=sizes), "sizes")
