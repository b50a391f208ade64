"""Prepare the text of a task: words, vocabularies and memory-mapped shards in one folder.

    python workflows/prepare.py --task demo
    python workflows/prepare.py --task multi30k --input-dir ../shared/data/multi30k --output-dir data/multi30k
    python workflows/prepare.py --task files --train PREFIX --dev PREFIX --test PREFIX --tokeniser moses

Run it from the root of the repository, or with raysq installed.
"""

from __future__ import annotations

import sys
from typing import get_args

from rich.console import Console
from rich.table import Table

from raysq.commandline import run_command
from raysq.data.corpus import DropReason
from raysq.data.prepare import Prepared, PrepareSettings, prepare, task_defaults
from raysq.data.shards import Manifest
from raysq.tasks.translation import translation_text


def main(settings: PrepareSettings) -> None:
    """Prepare, then say what came of it and what comes next."""
    report(settings, prepare(settings, translation_text(settings)), Console())


def report(settings: PrepareSettings, prepared: Prepared, console: Console) -> None:
    """Print the table of counts and the next command."""
    folder, manifest = prepared.folder, prepared.manifest
    state = "reused: same text, same settings" if prepared.reused else "written"
    console.print(f"{folder} {state} (data {manifest.digest[:12]})", soft_wrap=True, highlight=False)
    console.print(counts(manifest))
    sizes = manifest.vocabulary_sizes
    console.print(f"vocabulary: {sizes['source']:,} source, {sizes['target']:,} target, with 4 specials each")
    console.print(
        f"next: python workflows/erac.py --task {settings.task} --data-dir {folder}",
        soft_wrap=True,
        highlight=False,
    )


def counts(manifest: Manifest) -> Table:
    """Lines, drops by reason, words and unknown words of every split."""
    splits = manifest.splits
    table = Table("")
    for split in splits:
        table.add_column(split, justify="right")
    rows = {"lines read": [record.lines for record in splits.values()]}
    for reason in get_args(DropReason):
        rows[f"dropped: {reason.replace('_', ' ')}"] = [r.dropped[reason] for r in splits.values()]
    rows["pairs kept"] = [record.pairs for record in splits.values()]
    for side in ("source", "target"):
        rows[f"blank {side} lines"] = [record.blank[side] for record in splits.values()]
        rows[f"{side} words"] = [record.words[side] for record in splits.values()]
        rows[f"{side} words unknown"] = [record.unknown[side] for record in splits.values()]
    for name, numbers in rows.items():
        table.add_row(name, *(f"{number:,}" for number in numbers))
    return table


if __name__ == "__main__":
    sys.exit(run_command(PrepareSettings, main, description=__doc__, defaults_for=task_defaults))
