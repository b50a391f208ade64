"""Memory of this process over an epoch in random order on generated features of the size of COCO's.

python -m tests.benchmarks.feature_memory [FOLDER]

123,287 images with 2,048 features each, as a store that `StoreWriter` wrote to a temporary folder (in FOLDER)
are read in batches of 64. The second column of the table is the same epoch on the same files mapped into
memory, which is why `FeatureStore` does not map them.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raysq.config import UserError
from raysq.images.store import EncoderRecord, FeatureStore
from raysq.images.store_writer import StoreWriter

IMAGES, FEATURES, PER_SHARD, BATCH = 123_287, 2_048, 512, 64
LIMIT = 2**30
"""What a process may take [bytes]."""
Read = Callable[[NDArray[np.int64]], NDArray[np.float32]]


def resident() -> int:
    """Memory of this process that is in RAM, pages of mapped files too. [bytes]"""
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024


def generated(place: Path) -> FeatureStore:
    """A store of random features."""
    encoder = EncoderRecord(
        weights="generated", weights_sha256="", architecture={}, preprocessing={}, feature_size=FEATURES
    )
    (place / "data").mkdir()
    writer = StoreWriter(place / "data", place, "generated", encoder)
    names = [f"COCO_train2014_{k:012d}.jpg" for k in range(IMAGES)]
    for number, start in enumerate(range(0, IMAGES, PER_SHARD)):
        some = names[start : start + PER_SHARD]
        features = np.random.default_rng(number).random((len(some), FEATURES), np.float32)
        writer.write(number, some, features, {})
    writer.finish({}, ())
    return FeatureStore.load(place / "data")


def mapped(store: FeatureStore) -> Read:
    """The way not taken: every shard mapped."""
    files = [np.load(store.folder / shard.file, mmap_mode="r") for shard in store.manifest.shards]

    def read(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.stack([files[row // PER_SHARD][row % PER_SHARD] for row in rows])

    return read


def epoch(read: Read) -> list[tuple[int, float]]:
    """Memory and milliseconds per batch so far, after each tenth of an epoch."""
    order = np.random.default_rng(1).permutation(IMAGES)
    batches = [order[start : start + BATCH] for start in range(0, IMAGES, BATCH)]
    rows: list[tuple[int, float]] = []
    spent = 0.0
    for number, batch in enumerate(batches, start=1):
        began = time.perf_counter()
        read(batch)
        spent += time.perf_counter() - began
        if number * 10 // len(batches) > len(rows):
            rows.append((resident(), 1e3 * spent / number))
    return rows


def main(parent: Path | None) -> None:
    """Write, measure, print; ends with an error where the limit is passed."""
    needed = IMAGES * FEATURES * 4 * 1.1
    if shutil.disk_usage(parent or tempfile.gettempdir()).free < needed:
        raise UserError(f"{needed / 2**30:.1f} GiB are needed: name a folder on a disk that has them")
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        store = generated(Path(folder))
        store.row("COCO_train2014_000000000000.jpg")  # names and their rows are in memory from here on
        before = resident()
        ours, theirs = epoch(store.read), epoch(mapped(store))
    size = IMAGES * FEATURES * 4 / 2**20
    print(f"{IMAGES:,} x {FEATURES:,}, {size:.0f} MiB; memory before: {before / 2**20:.0f} MiB")
    print("epoch   FeatureStore        mapped shards")
    for tenth, rows in enumerate(zip(ours, theirs, strict=True), start=1):
        columns = "   ".join(f"{size / 2**20:6.0f} MiB {spent:5.2f} ms" for size, spent in rows)
        print(f"{tenth:4}0%   {columns}")
    assert max(size for size, _ in ours) < LIMIT


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
