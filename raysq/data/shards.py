"""Prepared data: memory-mapped Arrow shards, two vocabularies and the manifest that lists them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raysq.config import UserError
from raysq.data.corpus import SPLITS, SplitName, sha256_of
from raysq.data.manifest import (
    FEATURES,
    MANIFEST,
    SOURCE_VOCABULARY,
    TARGET_VOCABULARY,
    Manifest,
    prepare_again,
    raw_file,
    read_manifest,
)
from raysq.data.split import GROUPED, SCHEMA, Split
from raysq.data.vocabulary import Vocabulary
from raysq.files import write_lines
from raysq.images.store import FeatureStore
from raysq.storage import pull

ROWS_PER_BATCH = 4096
"""Rows of a record batch; preparing holds that many lines in memory."""
Encode = Callable[[str], "np.ndarray | list[int]"]
"""A line of words with single spaces to ids."""


@dataclass(frozen=True)
class Preparation:
    """How text became ids: what a model needs besides its parameters, and what every stage folder keeps."""

    manifest: Manifest
    source_vocabulary: Vocabulary | None
    """None where the sources are images."""
    target_vocabulary: Vocabulary

    @classmethod
    def load(cls, folder: Path) -> Preparation:
        """Read manifest and vocabularies of a prepared folder, or of a folder that `save` wrote.

        Raises:
            UserError: one is missing, damaged or of another format.
        """
        manifest = read_manifest(folder)
        source = None if manifest.features else Vocabulary.load(folder / SOURCE_VOCABULARY)
        return cls(manifest, source, Vocabulary.load(folder / TARGET_VOCABULARY))

    def save(self, folder: Path) -> None:
        """Write the vocabularies and then the manifest."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.source_vocabulary is not None:
            self.source_vocabulary.save(folder / SOURCE_VOCABULARY)
        self.target_vocabulary.save(folder / TARGET_VOCABULARY)
        write_lines(folder / MANIFEST, [self.manifest.model_dump_json(indent=2)])

    @property
    def vocabulary_digests(self) -> dict[str, str]:
        """sha256 of both vocabularies, of images that of their encoder: equal digests, equal meaning."""
        features, words = self.manifest.features, self.source_vocabulary
        source = features.encoder if features is not None else words.digest if words is not None else ""
        return {"source": source, "target": self.target_vocabulary.digest}


@dataclass(frozen=True)
class Corpus:
    """A prepared folder, open for reading."""

    folder: Path
    preparation: Preparation
    splits: dict[SplitName, Split]

    @classmethod
    def load(cls, folder: Path) -> Corpus:
        """Open a prepared folder, or the working copy of one. Sizes are checked; `verify` reads the files.

        Raises:
            UserError: the folder is missing, foreign, of another format, or a file is damaged.
        """
        pull(folder, whole_with=MANIFEST)
        preparation = Preparation.load(folder)
        manifest = preparation.manifest
        if lacking := [split for split in SPLITS if split not in manifest.splits]:
            raise UserError(f"{folder / MANIFEST} has no {lacking[0]} in splits: {prepare_again(folder)}")
        for name, record in manifest.files.items():
            path = folder / name
            # unlike Path.is_file this takes any name that a manifest may have, however long
            bytes_there = path.stat().st_size if os.path.isfile(path) else None
            if bytes_there != record.bytes:
                found = "missing" if bytes_there is None else f"{bytes_there} bytes instead of {record.bytes}"
                raise UserError(f"{path} is {found}: {prepare_again(folder)}")
        size = len(preparation.target_vocabulary)
        features = FeatureStore.load(folder / FEATURES) if manifest.features else None
        splits = {
            split: Split(
                [folder / name for name in manifest.splits[split].shards],
                size,
                by_source=split != "train",
                features=features,
            )
            for split in SPLITS
        }
        if features is not None and manifest.features and features.digest != manifest.features.digest:
            raise UserError(f"{folder / FEATURES} holds other features: {prepare_again(folder)}")
        num_sources = len(features if features is not None else preparation.source_vocabulary or ())
        for name, split in splits.items():
            if defect := split.defect(manifest.splits[name].pairs, num_sources):
                raise UserError(f"{folder}: the shards of {name} hold {defect}: {prepare_again(folder)}")
        return cls(folder, preparation, splits)

    @property
    def manifest(self) -> Manifest:
        """What the folder holds and what it was made from."""
        return self.preparation.manifest

    @property
    def source_vocabulary(self) -> Vocabulary | None:
        """Words of the source; None where it is an image."""
        return self.preparation.source_vocabulary

    @property
    def target_vocabulary(self) -> Vocabulary:
        """Words of the target."""
        return self.preparation.target_vocabulary

    @property
    def digest(self) -> str:
        """Identity of the data (`Manifest.digest`)."""
        return self.manifest.digest

    def raw_references(self, split: SplitName) -> list[str] | None:
        """Target lines of dev or test before they were tokenised; None for train, and where they came so."""
        name = raw_file(split)
        if name not in self.manifest.files:
            return None
        path, pairs = self.folder / name, self.manifest.splits[split].pairs
        try:
            lines = path.read_bytes().decode().removesuffix("\n").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is damaged ({error}): {prepare_again(self.folder)}") from error
        if len(lines) != pairs:
            raise UserError(f"{path} has {len(lines)} lines, not {pairs}: {prepare_again(self.folder)}")
        return lines

    def verify(self) -> None:
        """Compare the sha256 of every file, the features' too, with the manifests.

        Raises:
            UserError: a file is not what was written.
        """
        for name, record in self.manifest.files.items():
            if sha256_of(self.folder / name) != record.sha256:
                raise UserError(f"{self.folder / name} was changed: {prepare_again(self.folder)}")
        if self.manifest.features is not None:
            try:
                FeatureStore.load(self.folder / FEATURES).verify()
            except UserError as error:  # its remedy is for a store that stands alone
                what = f"{self.folder / FEATURES} was changed"
                raise UserError(f"{what}: {prepare_again(self.folder)}") from error


def write_shards(
    folder: Path,
    split: SplitName,
    pairs: Iterator[tuple[str, str]],
    encoders: tuple[Encode, Encode],
    rows_per_shard: int,
    update_digest: Callable[[bytes], None],
    *,
    grouped: bool = False,
) -> tuple[str, ...]:
    """Write the shards of a split and return their names.

    Args:
        folder: where to.
        split: which names the files.
        pairs: source and target words of each pair, with single spaces.
        encoders: words to ids, of source and target.
        rows_per_shard: pairs in a file.
        update_digest: is given the text in order, however it is cut.
        grouped: consecutive pairs of one source are its references.
    """
    names: list[str] = []
    numbers = _Groups() if grouped else None
    while first := list(islice(pairs, 1)):
        names.append(f"{split}-{len(names):05d}.arrow")
        of_shard = islice(chain(first, pairs), rows_per_shard)
        schema = GROUPED if grouped else SCHEMA
        with pa.OSFile(str(folder / names[-1]), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            while rows := list(islice(of_shard, ROWS_PER_BATCH)):
                writer.write_batch(_record_batch(rows, encoders, numbers))
                update_digest("".join(f"{source}\n{target}\n" for source, target in rows).encode())
    return tuple(names)


class _Groups:
    """Numbers the sources of consecutive pairs."""

    def __init__(self) -> None:
        self._number = -1
        self._source: str | None = None

    def __call__(self, source: str) -> int:
        if source != self._source:
            self._number, self._source = self._number + 1, source
        return self._number


def _record_batch(
    rows: list[tuple[str, str]], encoders: tuple[Encode, Encode], numbers: _Groups | None
) -> Any:
    texts = list(zip(*rows, strict=True))
    columns = [
        pa.array([encode(line) for line in lines], pa.list_(pa.int32()))
        for encode, lines in zip(encoders, texts, strict=True)
    ]
    columns += [pa.array(lines, pa.string()) for lines in texts]
    if numbers is None:
        return pa.record_batch(columns, schema=SCHEMA)
    groups = pa.array([numbers(source) for source in texts[0]], pa.int64())
    return pa.record_batch([*columns, groups], schema=GROUPED)
