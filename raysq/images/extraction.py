"""Features of many images: what is to be done, in parts that any process computes alike, and doing it.

Images are sorted by name and cut into batches, batches into shards: which process encodes a shard, and
whether others were encoded before, changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from raysq.config import UserError, digest
from raysq.images.pictures import BadImage, Pictures
from raysq.images.store import EncoderRecord, FeatureStore
from raysq.images.store_writer import StoreWriter
from raysq.terminal import shown
from raysq.workplace import publish

if TYPE_CHECKING:  # its imports take seconds
    from raysq.images.encoder import ImageEncoder

MISSING = "missing"
"""Why an image that annotations name has no features when there is no such file."""
MAX_SKIPPED = 0.01
"""Largest share of the images that may be without features."""
NAMED = 5
"""How many of too many are named in the error."""


@dataclass(frozen=True)
class Extraction:
    """What is to be done. Picklable."""

    pictures: Pictures
    names: tuple[str, ...]
    """Images that get features, sorted; each is among the pictures."""
    skipped: Mapping[str, str]
    """Why other images that were wanted get none, by name; where all are wanted, by path."""
    without_caption: tuple[str, ...]
    """Pictures that annotations do not name, or without a caption."""
    batch_size: int = 64
    """Images that the network sees at once; features depend on it by rounding [images]."""
    batches_per_shard: int = 8
    """Batches of a shard [batches]."""

    @classmethod
    def of(
        cls, pictures: Pictures, wanted: Iterable[str] | None, batch_size: int, batches_per_shard: int = 8
    ) -> Extraction:
        """Of the images that annotations name, or of all (None)."""
        there = set(pictures.places)
        if wanted is None:
            named, skipped = there, pictures.refused
        else:
            named = set(wanted)
            refused = {PurePosixPath(path).name: why for path, why in pictures.refused.items()}
            skipped = {name: refused.get(name, MISSING) for name in sorted(named - there)}
        names, others = tuple(sorted(named & there)), tuple(sorted(there - named))
        return cls(pictures, names, skipped, others, batch_size, batches_per_shard)

    @property
    def num_shards(self) -> int:
        """Shards, of equal size but the last."""
        return ceil(len(self.names) / (self.batch_size * self.batches_per_shard))

    def shard_names(self, shard: int) -> tuple[str, ...]:
        """Images of a shard."""
        size = self.batch_size * self.batches_per_shard
        return self.names[shard * size : (shard + 1) * size]

    def plan(self, encoder: EncoderRecord) -> str:
        """Identity of the work: its outcome is equal where this is.

        Files count as equal by size and time, as for `make`: reading them all only to compare would take as
        long as reading them to encode.
        """
        places = [self.pictures.places[name] for name in self.names]
        return digest(
            {
                "encoder": encoder.identity,
                "names": self.names,
                "files": [(place.size, place.changed) for place in places],
                "skipped": dict(self.skipped),
                "without_caption": self.without_caption,
                "batch_size": self.batch_size,
                "batches_per_shard": self.batches_per_shard,
            }
        )


@dataclass(frozen=True, slots=True)
class EncodedShard:
    """Features of a shard."""

    number: int
    names: tuple[str, ...]
    features: NDArray[np.float32]
    """[n, F]"""
    skipped: dict[str, str]
    """Why the other images of the shard have none, by name."""


EncodeShards = Callable[[Sequence[int]], Iterator[EncodedShard]]
"""Encodes the shards of these numbers, in any order."""


def encode_shard(extraction: Extraction, encoder: ImageEncoder, number: int) -> EncodedShard:
    """Features of one shard's images."""
    wanted = extraction.shard_names(number)
    names: list[str] = []
    rows = [np.zeros((0, encoder.record.feature_size), np.float32)]
    skipped: dict[str, str] = {}
    for start in range(0, len(wanted), extraction.batch_size):
        pixels = []
        for name in wanted[start : start + extraction.batch_size]:
            try:
                pixels.append(encoder.pixels(extraction.pictures.image(name)))
                names.append(name)
            except BadImage as error:
                skipped[name] = str(error)
        if pixels:
            rows.append(encoder.features(pixels))
    return EncodedShard(number, tuple(names), np.concatenate(rows), skipped)


def encoding_here(extraction: Extraction, encoder: ImageEncoder) -> EncodeShards:
    """Encoding in this process; to the last bit as by workers where torch has one thread."""

    def encode(numbers: Sequence[int]) -> Iterator[EncodedShard]:
        return (encode_shard(extraction, encoder, number) for number in numbers)

    return encode


def extract(
    extraction: Extraction,
    encoder: EncoderRecord,
    hidden: Path,
    folder: Path,
    encode_shards: EncodeShards,
    on_shard: Callable[[int, int], None] = lambda done, of: None,
) -> FeatureStore:
    """Compute what is not there yet, and write the store.

    Args:
        extraction: what is to be done.
        encoder: what computes the features.
        hidden: the `workplace` of ``folder``, with what an interrupted extraction wrote.
        folder: what the store becomes.
        encode_shards: computes shards, here or elsewhere.
        on_shard: is told how many shards are done, of how many.

    Raises:
        UserError: ``hidden`` holds another extraction, too many images cannot be used, or the disk is full.
    """
    _bound(extraction, {})  # before anything is written: mended images make another plan
    writer = StoreWriter(hidden / "data", hidden, extraction.plan(encoder), encoder)
    left = [number for number in range(extraction.num_shards) if number not in writer.written]
    for shard in encode_shards(left):
        try:
            _bound(extraction, writer.skipped | shard.skipped)
        except UserError:
            writer.discard()
            raise
        writer.write(shard.number, shard.names, shard.features, shard.skipped)
        on_shard(len(writer.written), extraction.num_shards)
    writer.finish(extraction.skipped, extraction.without_caption)
    publish(hidden, folder)
    return FeatureStore.load(folder)


def _bound(extraction: Extraction, damaged: dict[str, str]) -> None:
    """Raises UserError where more images are without features than may be."""
    skipped = dict(extraction.skipped) | damaged
    total = len(extraction.names) + len(extraction.skipped)
    if len(skipped) <= MAX_SKIPPED * total:
        return
    named = "; ".join(f"{shown(name)}: {why}" for name, why in sorted(skipped.items())[:NAMED])
    raise UserError(
        f"{len(skipped)} of {total} images cannot be used, more than {MAX_SKIPPED:.0%}, as {named}: fetch "
        "them again, or remove them and their captions"
    )
