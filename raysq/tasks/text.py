"""Where the text of every task comes from, and the features of its images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from raysq.config import UserError
from raysq.data.corpus import SPLITS, FileText, ParallelText, SplitName, TabbedText
from raysq.data.settings import PrepareSettings
from raysq.images.annotations import COCO_SPLITS, Annotations, CaptionText, read_annotations
from raysq.images.store import MANIFEST, FeatureStore
from raysq.storage import pull
from raysq.tasks.generated import SOURCES, Given, generated
from raysq.tasks.translation import input_folder, translation_text

GIGAWORD: dict[SplitName, str] = {"train": "train", "dev": "valid", "test": "test"}
"""File names of Gigaword's layout."""


def given(settings: PrepareSettings) -> Given:
    """The text that the settings ask for.

    Raises:
        UserError: a file is missing, damaged, cannot be fetched or is another than its sha256 says.
    """
    if settings.task == "captioning":
        return _captions(settings)
    if settings.task == "headline":
        return Given(_headlines(settings))
    if settings.task in SOURCES:
        return generated(settings.task, settings.folder.parent)
    return Given(translation_text(settings))


def _captions(settings: PrepareSettings) -> Given:
    """Captions, of every split, with the features of their images."""
    assert settings.features is not None
    place = input_folder(settings)
    inside = list(place.iterdir()) if place.is_dir() else []
    if len(inside) == 1 and not inside[0].name.startswith("captions_"):
        place = inside[0]  # an archive of a Karpathy file
    annotations = read_annotations(
        place, lower_case=settings.lower_case, only_alphanumeric=settings.only_alphanumeric
    )
    for split, name in COCO_SPLITS.items():
        if not annotations.splits[split]:
            raise UserError(
                f"{place} has no caption for {split}: add captions_{name}*.json to COCO's files, or images "
                f"of split {name} to a file in Karpathy's format"
            )
    pull(settings.features, whole_with=MANIFEST)
    features = FeatureStore.load(settings.features.expanduser())
    return Given(CaptionText(annotations), features, _left_out(annotations, features))


def _left_out(annotations: Annotations, features: FeatureStore) -> dict[str, Sequence[str]]:
    """Names of what the annotations and the features leave out."""
    named = set(annotations.image_names)
    no_features = [f"{name} ({why})" for name, why in features.skipped.items() if name in named]
    return {"image without features": no_features, **annotations.left_out}


def _headlines(settings: PrepareSettings) -> ParallelText:
    """Lines ``article TAB headline``, or a folder or an archive in Gigaword's layout."""
    place = input_folder(settings) if settings.input is not None else None
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
    found = [*folder.glob(f"{name}.title[0-9]*.txt"), *folder.glob(f"{name}.title[0-9]*.txt.gz")]
    several = sorted({path.name.removesuffix(".gz") for path in found})
    return [_one(folder, title) for title in several or [f"{name}.title.txt"]]
