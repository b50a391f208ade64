"""The step ``page``: the tables of deploy/CAPACITY.md, written between their markers from capacity.json."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from raysq.config import UserError
from raysq.files import write_lines
from tests.benchmarks.capacity import tables
from tests.benchmarks.capacity.constants import Record
from tests.benchmarks.capacity.saturation import Size, verdicts
from tests.benchmarks.capacity.settings import CapacitySettings

BLOCK = re.compile(r"(<!-- capacity:(?P<name>[a-z]+) -->\n).*?(<!-- capacity:end -->)", re.DOTALL)


def fill(page: Path, blocks: Mapping[str, Sequence[str]]) -> None:
    """Write lines between the page's markers.

    Raises:
        UserError: the page is not there, or its markers are not those of the blocks.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"--page {page}: {error.strerror}: give the page with the markers") from error
    found = [match["name"] for match in BLOCK.finditer(text)]
    if sorted(found) != sorted(blocks):
        raise UserError(
            f"--page {page} has markers for {', '.join(found) or 'nothing'}, not once each for "
            f"{', '.join(blocks)}: restore them"
        )
    filled = BLOCK.sub(lambda m: m[1] + "\n".join(blocks[m["name"]]) + "\n" + m[3], text)
    write_lines(page, filled.splitlines())


def blocks(settings: CapacitySettings, record: Record, found: list[Size]) -> dict[str, list[str]]:
    """The lines of every block."""
    return {
        "machine": tables.machine(record),
        "constants": tables.constants(record),
        "updates": tables.updates(record),
        "bytes": tables.sizes_in_bytes(record),
        "example": tables.example(settings, record),
        "shared": tables.shared(settings, record),
        "store": tables.store(record),
        "sweep": tables.sweep(record),
        "checks": tables.checks(record.checks),
        "saturation": tables.saturation(found),
        "verdict": [f"- {line}" for line in verdicts(found)],
    }
