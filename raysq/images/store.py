"""Features of images on the disk: shards of float32 rows, the images' names, and the manifest of both.

A shard is a ``.npy`` file [n, F]. The manifest is written last and the folder then takes its name, so a
folder with a manifest is whole.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, field_validator

from raysq.config import Config, UserError, digest, first_defect
from raysq.data.corpus import sha256_of
from raysq.files import regular
from raysq.terminal import as_started

FORMAT = 1
"""Raised when a folder written before can no longer be read."""
MANIFEST = "manifest.json"


class EncoderRecord(Config):
    """What computed features: equal identities, equal features up to rounding."""

    weights: str
    """Where the weights came from: a hub id, or a folder's name."""
    weights_sha256: str
    """Of the network's tensors by name."""
    architecture: dict[str, Any]
    """Settings of the network."""
    preprocessing: dict[str, Any]
    """What is done to an image before."""
    feature_size: int
    """Length of a feature vector."""

    @property
    def identity(self) -> str:
        """sha256 (hex) of all but where it came from."""
        return digest(self.model_dump(exclude={"weights"}))


class ShardRecord(Config):
    """A shard."""

    file: str = Field(pattern=r"^features-\d{5,9}\.npy$")
    """Its name."""
    bytes: int
    """Its size."""
    sha256: str
    """Of its content."""
    names: tuple[str, ...]
    """Images of its rows."""


class StoreManifest(Config):
    """What a store holds and how it came about."""

    format: int
    """Version of the folder's layout."""
    digest: str
    """Identity of the features: of the encoder, and of names and rows in order; not how they are stored."""
    plan: str
    """Identity of what was to be extracted: encoder, batches, and names, sizes and times of the images."""
    encoder: EncoderRecord
    """What computed the features."""
    shards: tuple[ShardRecord, ...]
    """In order."""
    skipped: dict[str, str]
    """Why images have no features, by name."""
    without_caption: tuple[str, ...]
    """Images that the annotations do not name, or with no caption; they were not looked at."""

    @field_validator("shards")
    @classmethod
    def _each_once(cls, shards: tuple[ShardRecord, ...]) -> tuple[ShardRecord, ...]:
        for listed in ([shard.file for shard in shards], [name for shard in shards for name in shard.names]):
            if len(set(listed)) < len(listed):
                raise ValueError("must name every file and every image once")
        return shards


class FeatureStore:
    """Features by row, read on demand; nothing of them stays in memory.

    Shards could be mapped into memory, but pages of a mapping count as memory of the process once they are
    read, and an epoch in random order reads them all. So rows are read by ``pread``: what the system keeps of
    the files is its cache, which it gives up for anything else.
    """

    def __init__(self, folder: Path, manifest: StoreManifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._starts = np.cumsum([0, *(len(shard.names) for shard in manifest.shards)], dtype=np.int64)
        self._paths = [os.fspath(folder / shard.file) for shard in manifest.shards]
        self._data = [_first_byte(folder / s.file, len(s.names), self.feature_size) for s in manifest.shards]

    @classmethod
    def load(cls, folder: Path) -> FeatureStore:
        """Open a store. Sizes and headers of its files are checked; `verify` reads them through.

        Raises:
            UserError: the folder is missing, foreign, half-written, of another format, or a file is damaged.
        """
        manifest = _read_manifest(folder)
        for shard in manifest.shards:
            path = folder / shard.file
            there = path.stat().st_size if path.is_file() else None
            if there != shard.bytes:
                found = "missing" if there is None else f"{there} bytes instead of {shard.bytes}"
                raise UserError(f"{path} is {found}: {_extract_again(folder)}")
        return cls(folder, manifest)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def feature_size(self) -> int:
        """F, the length of a feature vector."""
        return self.manifest.encoder.feature_size

    @property
    def digest(self) -> str:
        """Identity of the features (`StoreManifest.digest`)."""
        return self.manifest.digest

    @property
    def encoder_digest(self) -> str:
        """Identity of what computed the features: equal where a model may read both stores."""
        return self.manifest.encoder.identity

    @property
    def skipped(self) -> dict[str, str]:
        """Why images have no features, by name."""
        return self.manifest.skipped

    @property
    def names(self) -> list[str]:
        """Images of the rows."""
        return [name for shard in self.manifest.shards for name in shard.names]

    def row(self, name: str) -> int:
        """The row of an image. Raises UserError where it has none."""
        try:
            return self._rows[name]
        except KeyError:
            why = self.skipped.get(name, "it was not among the images that were read")
            raise UserError(
                f"{self.folder} has no features of image {name} ({why}): add the image and extract again, or "
                "remove its captions"
            ) from None

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Features [n, F] of rows [n], a copy.

        Raises:
            IndexError: a row outside [0, len).
            UserError: a file was changed since the store was opened.
        """
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {len(self)}")
        features = np.empty((len(rows), self.feature_size), np.float32)
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        for k in np.unique(shards):
            file = os.open(self._paths[k], os.O_RDONLY)  # not kept open: they may be many
            try:
                for i in np.flatnonzero(shards == k):
                    row = features[i]
                    place = self._data[k] + int(rows[i] - self._starts[k]) * row.nbytes
                    if os.preadv(file, [row.data], place) != row.nbytes:
                        raise UserError(f"{self._paths[k]} was cut short: {_extract_again(self.folder)}")
            finally:
                os.close(file)
        return features

    def verify(self) -> None:
        """Compare the sha256 of every file with the manifest.

        Raises:
            UserError: a file is not what was written.
        """
        for shard in self.manifest.shards:
            if sha256_of(self.folder / shard.file) != shard.sha256:
                raise UserError(f"{self.folder / shard.file} was changed: {_extract_again(self.folder)}")

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.names)}


def _read_manifest(folder: Path) -> StoreManifest:
    path = folder / MANIFEST
    try:
        manifest = StoreManifest.model_validate_json(regular(path).read_bytes())
    except OSError as error:
        raise UserError(
            f"{folder} holds no image features ({error.strerror}): extract them, "
            f"{as_started('extract_features')} --images IMAGES --weights WEIGHTS --output-dir {folder}"
        ) from error
    except ValidationError as error:
        what = f"no manifest of this version ({first_defect(error)})"
        raise UserError(f"{path} is {what}: {_extract_again(folder)}") from error
    if manifest.format != FORMAT:
        raise UserError(f"{path} has format {manifest.format}, not {FORMAT}: {_extract_again(folder)}")
    return manifest


def _first_byte(path: Path, rows: int, feature_size: int) -> int:
    """Where the rows of a shard begin in its file. Raises UserError where its header is another."""
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, by_column, kind = np.lib.format.read_array_header_1_0(file)
            start = file.tell()
    except Exception as error:  # numpy's parsers of the header, which have exceptions of their own
        raise UserError(f"{path} is damaged, its header at least: {_extract_again(path.parent)}") from error
    if (shape, by_column, kind) != ((rows, feature_size), False, np.dtype("<f4")):
        raise UserError(f"{path} holds {kind} {shape}, not its features: {_extract_again(path.parent)}")
    return start


def _extract_again(folder: Path) -> str:
    return f"remove {folder} and repeat {as_started('extract_features')} with --output-dir {folder}"
