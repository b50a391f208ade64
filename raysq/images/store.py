"""Features of images on the disk: shards of float32 rows, the images' names, and the manifest of both.

A shard is a ``.npy`` file [n, F]. Shards are written one by one beside what will be the store, each with a
record of its names that makes it count (`StoreWriter`); the manifest comes last and the folder then takes its
name, so a folder with a manifest is whole.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from raysq.config import Config, UserError, digest
from raysq.data.corpus import sha256_of
from raysq.files import replace_json

FORMAT = 1
"""Raised when a folder written before can no longer be read."""
MANIFEST = "manifest.json"
PLAN = "plan.json"


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

    file: str
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


class _Written(Config):
    """A shard that is on the disk, and what was left out of it."""

    shard: ShardRecord
    skipped: dict[str, str]
    """Why other images of the shard have no features, by name."""


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


class StoreWriter:
    """Writes a store shard by shard, in any order; what was written before it was interrupted counts."""

    def __init__(self, folder: Path, records: Path, plan: str, encoder: EncoderRecord) -> None:
        """Open what is there.

        Args:
            folder: of the shards.
            records: folder for what says which shards are whole, which are no part of the store.
            plan: identity of what is extracted (`StoreManifest.plan`).
            encoder: what computes the features.

        Raises:
            UserError: what is there was written to another plan.
        """
        self._folder, self._records, self._plan, self._encoder = folder, records, plan, encoder
        if not (records / PLAN).exists():
            replace_json(records / PLAN, plan)
        elif (records / PLAN).read_text(encoding="utf-8") != f'"{plan}"':
            raise UserError(
                f"{records} holds the begun extraction of other images or of images that were written anew "
                "since, or with other weights or settings: give another --output-dir, or remove it"
            )
        self._written = {
            int(path.stem.removeprefix("features-")): _Written.model_validate_json(path.read_bytes())
            for path in records.glob("features-*.json")
        }

    @property
    def written(self) -> set[int]:
        """Numbers of the shards that are there."""
        return set(self._written)

    @property
    def skipped(self) -> dict[str, str]:
        """Why images of these shards were left out, by name."""
        return {name: why for one in self._written.values() for name, why in one.skipped.items()}

    def write(
        self, number: int, names: Sequence[str], features: NDArray[np.float32], skipped: Mapping[str, str]
    ) -> None:
        """Write a shard and then what makes it count.

        Args:
            number: its place among the shards.
            names: images of the rows.
            features: [n, F]
            skipped: why other images of the shard were left out, by name.
        """
        stem = f"features-{number:05d}"
        path = self._folder / f"{stem}.npy"
        aside = path.with_suffix(".part")
        with aside.open("wb") as file:
            np.save(file, np.ascontiguousarray(features, np.dtype("<f4")))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        size = path.stat().st_size
        shard = ShardRecord(file=path.name, bytes=size, sha256=sha256_of(path), names=tuple(names))
        self._written[number] = _Written(shard=shard, skipped=dict(skipped))
        replace_json(self._records / f"{stem}.json", self._written[number].model_dump())

    def discard(self) -> None:
        """Remove what was written, so that another extraction can begin."""
        shards = [*self._records.glob("features-*.json"), *self._folder.glob("features-*")]
        for path in (*shards, self._records / PLAN):  # a record without its plan would count for any
            path.unlink()
        self._written.clear()

    def finish(self, skipped: Mapping[str, str], without_caption: Sequence[str]) -> None:
        """Write the manifest.

        Args:
            skipped: why images that no shard was to hold have no features, by name.
            without_caption: images that were not looked at.
        """
        in_order = [self._written[number] for number in sorted(self._written)]
        shards = tuple(one.shard for one in in_order)
        manifest = StoreManifest(
            format=FORMAT,
            digest=_content_digest(self._encoder, self._rows(shards)),
            plan=self._plan,
            encoder=self._encoder,
            shards=shards,
            skipped=dict(sorted((self.skipped | dict(skipped)).items())),
            without_caption=tuple(sorted(without_caption)),
        )
        replace_json(self._folder / MANIFEST, manifest.model_dump(mode="json"))

    def _rows(self, shards: Sequence[ShardRecord]) -> Iterator[tuple[str, bytes]]:
        for shard in shards:
            features = np.load(self._folder / shard.file)
            yield from zip(shard.names, map(bytes, features), strict=True)


def _content_digest(encoder: EncoderRecord, rows: Iterator[tuple[str, bytes]]) -> str:
    found = hashlib.sha256(encoder.identity.encode())
    for name, features in rows:
        found.update(f"{name}\n".encode())
        found.update(features)
    return found.hexdigest()


def _read_manifest(folder: Path) -> StoreManifest:
    path = folder / MANIFEST
    try:
        manifest = StoreManifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(
            f"{folder} holds no image features ({error.strerror}): extract them, python "
            f"workflows/extract_features.py --images IMAGES --weights WEIGHTS --output-dir {folder}"
        ) from error
    except ValidationError as error:
        raise UserError(f"{path} is no manifest of this version: {_extract_again(folder)}") from error
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
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): {_extract_again(path.parent)}") from error
    if (shape, by_column, kind) != ((rows, feature_size), False, np.dtype("<f4")):
        raise UserError(f"{path} holds {kind} {shape}, not its features: {_extract_again(path.parent)}")
    return start


def _extract_again(folder: Path) -> str:
    return f"remove {folder} and repeat workflows/extract_features.py with --output-dir {folder}"
