"""Prepare the text of a task: words, vocabularies and memory-mapped shards in one folder.

    python workflows/prepare.py --task demo
    python workflows/prepare.py --task multi30k --input ../shared/data/multi30k --output-dir data/multi30k
    python workflows/prepare.py --task iwslt14 --input de-en.tgz
    python workflows/prepare.py --task europarl --input https://HOST/europarl.tar.gz --input-sha256 HEX
    python workflows/prepare.py --task tsv --train pairs.tsv.gz --tokeniser moses
    python workflows/prepare.py --task files --train PREFIX --dev PREFIX --test PREFIX --tokeniser moses

Run it from the root of the repository, or with raysq installed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.status import Status
from rich.table import Table

from raysq.commandline import run_command
from raysq.data.corpus import DropReason, SplitName
from raysq.data.manifest import MANIFEST, Manifest
from raysq.data.prepare import Prepared, prepare
from raysq.data.settings import PrepareSettings, task_defaults
from raysq.images.annotations import first_named
from raysq.places import default_place, lasting
from raysq.storage import pull, push, writing
from raysq.tasks.text import given
from raysq.terminal import as_started, terminal

PLAIN_SECONDS = 10.0
"""Time between two lines of progress where there is no terminal."""


def main(settings: PrepareSettings) -> None:
    """Prepare, then say what came of it and what comes next."""
    output = settings.output_dir or default_place(settings.folder)
    lasting("--output-dir", output)
    settings = settings.model_copy(update={"output_dir": output})
    console = terminal(stderr=True, quiet=settings.quiet)
    pull(settings.folder, whole_with=MANIFEST)
    with no_empty_parents(settings.folder), LineCount(console) as line_count:
        found = given(settings)
        with writing(settings.folder):
            prepared = prepare(settings, found.text, line_count.show, features=found.features)
            push(settings.folder)
    report(settings, prepared, found.left_out, terminal())


@contextmanager
def no_empty_parents(folder: Path) -> Iterator[None]:
    """Removes at its end what is empty of the folders above ``folder`` that were made in the meantime."""
    missing = [parent for parent in folder.absolute().parents if not parent.exists()]
    try:
        yield
    finally:
        for parent in missing:
            with suppress(OSError):  # it holds something, or was not made
                parent.rmdir()


class LineCount:
    """How many lines have been read: on a terminal a line that changes, otherwise one now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = Status("reading", console=console)
        self._began = self._shown = time.monotonic()

    def __enter__(self) -> LineCount:
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def show(self, split: SplitName, lines: int) -> None:
        """So many lines of a split have been read."""
        now = time.monotonic()
        text = f"{split}: {lines:,} lines, {now - self._began:.0f} s"
        if self._console.is_terminal:
            self._status.update(text)
        elif now - self._shown >= PLAIN_SECONDS:
            self._shown = now
            self._console.print(text)


def report(
    settings: PrepareSettings, prepared: Prepared, left_out: Mapping[str, Sequence[str]], console: Console
) -> None:
    """Print what was left out by name, the table of counts and the next command."""
    folder, manifest = prepared.folder, prepared.manifest
    for line in first_named(left_out):
        console.print(line)
    state = "reused: same text, same settings" if prepared.reused else "written"
    console.print(f"{folder} {state} (data {manifest.digest[:12]})")
    console.print(counts(manifest), soft_wrap=False)
    sizes = ", ".join(f"{size:,} {side}" for side, size in manifest.vocabulary_sizes.items())
    console.print(f"vocabulary: {sizes}, with 4 specials each")
    console.print(f"next: {as_started('erac')} --task {settings.task} --data-dir {folder}")


def counts(manifest: Manifest) -> Table:
    """Lines, drops by reason, words and unknown words of every split."""
    splits = manifest.splits
    table = Table("")
    for split in splits:
        table.add_column(split, justify="right")
    rows = {"lines read": [record.lines for record in splits.values()]}
    for reason in get_args(DropReason):
        if any(reason in r.dropped for r in splits.values()):
            rows[f"dropped: {reason.replace('_', ' ')}"] = [r.dropped.get(reason, 0) for r in splits.values()]
    if any(record.held_out for record in splits.values()):
        rows["given to dev"] = [record.held_out for record in splits.values()]
    rows["pairs kept"] = [record.pairs for record in splits.values()]
    if manifest.grouped:
        rows["images" if manifest.features else "sources"] = [r.sources or 0 for r in splits.values()]
    for side in manifest.vocabulary_sizes:  # images have no words
        rows[f"blank {side} lines"] = [record.blank[side] for record in splits.values()]
        rows[f"{side} words"] = [record.words[side] for record in splits.values()]
        rows[f"{side} words unknown"] = [record.unknown[side] for record in splits.values()]
    for name, numbers in rows.items():
        table.add_row(name, *(f"{number:,}" for number in numbers))
    return table


if __name__ == "__main__":
    sys.exit(run_command(PrepareSettings, main, description=__doc__, defaults_for=task_defaults))
