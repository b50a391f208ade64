"""Writing features of images: shards one by one beside what will be the store, the manifest at last.

A record of its names makes a shard count, so that what was written before an interruption need not be again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from raysq.config import Config, UserError, first_defect
from raysq.data.corpus import sha256_of
from raysq.files import regular, replace_json
from raysq.images.store import FORMAT, MANIFEST, EncoderRecord, ShardRecord, StoreManifest

PLAN = "plan.json"


class _Written(Config):
    """A shard that is on the disk, and what was left out of it."""

    shard: ShardRecord
    skipped: dict[str, str]
    """Why other images of the shard have no features, by name."""


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
            UserError: what is there was written to another plan, or is damaged.
        """
        self._folder, self._records, self._plan, self._encoder = folder, records, plan, encoder
        if not (records / PLAN).exists():
            replace_json(records / PLAN, plan)
        elif _content(records / PLAN) != f'"{plan}"'.encode():
            raise UserError(
                f"{records} holds the begun extraction of other images or of images that were written anew "
                "since, or with other weights or settings: give another --output-dir, or remove it"
            )
        self._written = {
            int(path.stem.removeprefix("features-")): _read_record(path)
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


def _read_record(path: Path) -> _Written:
    """What `StoreWriter` wrote of a shard. Raises UserError where it is damaged."""
    try:
        return _Written.model_validate_json(_content(path))
    except ValidationError as error:
        what = first_defect(error)
        raise UserError(f"{path} is damaged ({what}): remove {path.parent} and extract again") from error


def _content(path: Path) -> bytes:
    try:
        return regular(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}: remove {path.parent} and extract again") from error
