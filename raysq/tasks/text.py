"""Where the text of every task comes from, and the features of its images."""

from __future__ import annotations

from pathlib import Path

from raysq.config import UserError
from raysq.data.corpus import SPLITS, FileText, ParallelText, SplitName, TabbedText
from raysq.data.settings import PrepareSettings
from raysq.images.annotations import CaptionText, read_annotations
from raysq.images.store import FeatureStore
from raysq.tasks.generated import SOURCES, Given, generated
from raysq.tasks.translation import input_place, translation_text

GIGAWORD: dict[SplitName, str] = {"train": "train", "dev": "valid", "test": "test"}
"""File names of Gigaword's layout."""


def given(settings: PrepareSettings) -> Given:
    """The text that the settings ask for.

    Raises:
        UserError: a file is missing, damaged, cannot be fetched or is another than its sha256 says.
    """
    if settings.task == "captioning":
        assert settings.features is not None
        annotations = read_annotations(
            input_place(settings),
            lower_case=settings.lower_case,
            only_alphanumeric=settings.only_alphanumeric,
        )
        return Given(CaptionText(annotations), FeatureStore.load(settings.features.expanduser()))
    if settings.task == "headline":
        return Given(_headlines(settings))
    if settings.task in SOURCES:
        return generated(settings.task, settings.folder.parent)
    return Given(translation_text(settings))


def _headlines(settings: PrepareSettings) -> ParallelText:
    """Lines ``article TAB headline``, or a folder in Gigaword's layout."""
    place = input_place(settings) if settings.input is not None else None
    if place is not None and place.is_dir():
        files = {
            split: (_one(place, f"{name}.article.txt"), *_titles(place, name))
            for split, name in GIGAWORD.items()
        }
        return FileText(files, settings.max_line_bytes)
    tables = {split: getattr(settings, split) for split in SPLITS if getattr(settings, split) is not None}
    if place is not None:
        tables["train"] = place
    return TabbedText(tables, settings.held_out, settings.max_line_bytes, grouped=True)


def _one(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise UserError(f"neither {name} nor {name}.gz is in {folder}: check --input, or give --train FILE.tsv")


def _titles(folder: Path, name: str) -> list[Path]:
    """``test.title.txt``, or several references: ``test.title1.txt``, ``test.title2.txt`` .."""
    several = sorted({*folder.glob(f"{name}.title[0-9]*.txt"), *folder.glob(f"{name}.title[0-9]*.txt.gz")})
    return several or [_one(folder, f"{name}.title.txt")]
