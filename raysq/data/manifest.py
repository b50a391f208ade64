"""The manifest of prepared data: what a folder holds, and what it was made from and how."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError, model_validator

from raysq.config import Config, UserError, first_defect
from raysq.data.corpus import DropReason, Fingerprint, SplitName
from raysq.files import regular
from raysq.terminal import as_started

FORMAT = 1
"""Raised when a folder written before can no longer be read."""
MANIFEST = "manifest.json"
SOURCE_VOCABULARY, TARGET_VOCABULARY = "vocabulary.source.txt", "vocabulary.target.txt"
FEATURES = "features"
"""Folder with the feature store of the images."""


class FileRecord(Config):
    """A file of the prepared folder."""

    bytes: int
    """Its size."""
    sha256: str
    """Of its content."""


class FeatureRecord(Config):
    """The features of images: which ones a policy reads."""

    size: int
    """F"""
    encoder: str
    """Digest of what made them: the encoder's weights and how it is given an image."""
    digest: str
    """Of the whole store."""
    weights: str
    """Where the encoder's weights came from: a hub id, or a folder's name."""
    mean: tuple[float, ...]
    """[F] over the training images."""
    deviation: tuple[float, ...]
    """[F] standard deviation over the training images; 1 where they do not differ."""

    @model_validator(mode="after")
    def _as_many(self) -> FeatureRecord:
        if not len(self.mean) == len(self.deviation) == self.size:
            raise ValueError("mean and deviation must have as many numbers as size says")
        return self


class SplitRecord(Config):
    """What became of one split."""

    lines: int
    """Pairs of lines read."""
    pairs: int
    """Pairs kept."""
    held_out: int = 0
    """Pairs given to dev instead."""
    sources: int | None = None
    """Sources of the pairs, where several references of one follow each other."""
    dropped: dict[DropReason, int]
    """Pairs left out, by reason; dev and test keep every one."""
    blank: dict[str, int]
    """Blank lines read, by side."""
    words: dict[str, int]
    """Words of the kept pairs, by side."""
    unknown: dict[str, int]
    """Words of the kept pairs that are unk, by side."""
    shards: tuple[str, ...]
    """File names in order."""


class Manifest(Config):
    """What a prepared folder holds and what it was made from."""

    format: int
    """Version of the folder's layout."""
    digest: str
    """Identity of the data: kept text of every split in order and both vocabularies; not how it is stored."""
    settings: dict[str, Any]
    """The settings that shaped the data."""
    inputs: dict[str, Fingerprint]
    """The text read, by ``<split>.source`` and ``<split>.target``."""
    versions: dict[str, str]
    """Packages that did the work."""
    splits: dict[SplitName, SplitRecord]
    """What became of each split."""
    vocabulary_sizes: dict[str, int]
    """V by side, specials counted."""
    files: dict[str, FileRecord]
    """Every file of the folder but the manifest, and the manifest of the images' features."""
    grouped: bool = False
    """Whether sources have several references: dev and test decode each once."""
    features: FeatureRecord | None = None
    """What the sources are, where they are images."""


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a prepared folder.

    Raises:
        UserError: there is none, it is damaged, or its format is another.
    """
    path = folder / MANIFEST
    try:
        content = regular(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{folder} holds no prepared data: {as_started('prepare')} --task TASK --output-dir {folder}"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}: {prepare_again(folder)}") from error
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        what = first_defect(error)
        raise UserError(f"{path} is no manifest of this version ({what}): {prepare_again(folder)}") from error
    if manifest.format != FORMAT:
        raise UserError(f"{path} has format {manifest.format}, not {FORMAT}: {prepare_again(folder)}")
    return manifest


def raw_file(split: SplitName) -> str:
    """Name of the file with the target lines of a split as they were before they were tokenised."""
    return f"raw.{split}.target.txt"


def prepare_again(folder: Path) -> str:
    """What to do about a folder that is damaged or of another version."""
    return f"remove {folder}, then {as_started('prepare')} --task TASK --output-dir {folder}"
