"""Readers of what raysq made of data: features, prepared folders, weights of image encoders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import ResNetConfig, ResNetModel

from raysq.config import UserError
from raysq.data.corpus import SPLITS, GeneratedText
from raysq.data.prepare import prepare
from raysq.data.settings import PrepareSettings, settings_of
from raysq.data.shards import Corpus
from raysq.images.classifier import Epoch, LabelledImages, processor, train_classifier
from raysq.images.encoder import ImageEncoder
from raysq.images.settings import ClassifierSettings
from raysq.images.store import FeatureStore
from raysq.images.store_writer import StoreWriter
from tests.fuzz.data_targets import SIDES
from tests.fuzz.harness import Target
from tests.fuzz.image_targets import StubEncoder


def make_features(folder: Path) -> None:
    names = [f"{split}.jpg" for split in SPLITS]
    written_store(folder, folder.with_name("records"), names)


def written_store(folder: Path, records: Path, names: list[str]) -> FeatureStore:
    for place in (folder, records):
        place.mkdir(exist_ok=True)
    writer = StoreWriter(records=records, folder=folder, plan="plan", encoder=StubEncoder.record)
    for k in range(0, len(names), 2):
        part = names[k : k + 2]
        rows = np.arange(3 * len(part), dtype=np.float32).reshape(-1, 3) + k
        writer.write(k // 2, part, rows, {f"bad{k}.jpg": "damaged"})
    writer.finish({"gone.jpg": "missing"}, ["other.jpg"])
    return FeatureStore.load(folder)


def read_features(folder: Path) -> None:
    """As preparing and training do."""
    store = FeatureStore.load(folder)
    rows = np.array([store.row(name) for name in store.names], np.int64)
    assert np.isfinite(store.read(rows)).all() or len(rows)
    pairs = {split: [(f"{split}.jpg", "a b"), (f"{split}.jpg", "c")] for split in SPLITS}
    settings = PrepareSettings(
        task="demo-captioning", output_dir=folder.with_name("data"), min_count=1, max_ratio=0
    )
    prepare(settings, GeneratedText("captions", pairs, grouped=True), features=store)
    store.verify()


def mend_features(folder: Path) -> None:
    """Sizes and checksums of the shards in a store's manifest."""
    manifest = readable_json(folder / "manifest.json")
    shards = manifest.get("shards") if isinstance(manifest, dict) else None
    for shard in shards if isinstance(shards, list) else ():
        if isinstance(shard, dict):
            shard |= size_and_sum(folder, shard.get("file"))
    if manifest is not None:
        (folder / "manifest.json").write_text(json.dumps(manifest))


def readable_json(path: Path) -> Any:
    """What is in a file, if it can be read and written again."""
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_bytes())
        json.dumps(content).encode()
    except (ValueError, RecursionError):
        return None
    return content


def size_and_sum(folder: Path, name: object) -> dict[str, object]:
    path = folder / name if isinstance(name, str) and "\0" not in name and len(name) < 200 else folder
    if not path.is_file() or folder not in path.resolve().parents:
        return {}
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def make_records(folder: Path) -> None:
    """What is left of an extraction that was interrupted."""
    store = folder.with_name("store")
    written_store(store, folder, ["a.jpg", "b.jpg", "c.jpg"])


def read_records(folder: Path) -> None:
    writer = StoreWriter(folder.with_name("store"), folder, "plan", StubEncoder.record)
    assert writer.written <= {0, 1}
    assert all(isinstance(why, str) for why in writer.skipped.values())


def make_prepared(folder: Path) -> None:
    pairs = list(zip(*SIDES, strict=True))
    grouped = [(source, f"{target} {k}") for source, target in pairs for k in range(2)]
    settings = PrepareSettings(
        task="files",
        train="train",
        dev="dev",
        test="test",
        output_dir=folder.with_name("made"),
        min_count=1,
        max_ratio=0,
        tokeniser="moses",
        rows_per_shard=5,
    )
    prepare(settings, GeneratedText("made", dict.fromkeys(SPLITS, grouped), grouped=True))
    for path in folder.with_name("made").iterdir():
        path.rename(folder / path.name)


def read_prepared(folder: Path) -> None:
    """As training and evaluating do, every example."""
    corpus = Corpus.load(folder)
    settings_of(corpus.manifest)
    for name, split in corpus.splits.items():
        corpus.raw_references(name)
        read_split(split)
        if corpus.source_vocabulary is not None:
            for i in range(len(split)):
                corpus.source_vocabulary.decode(split.source(i))
        for i in range(len(split)):
            corpus.target_vocabulary.decode(split.target(i))
    assert len(corpus.preparation.vocabulary_digests) == 2
    corpus.verify()


def read_split(split: Any) -> None:
    lengths = split.source_lengths, split.target_lengths
    assert split.target_word_counts.sum() >= 0
    for i in range(len(split)):
        assert (len(split.source(i)), len(split.target(i))) == (lengths[0][i], lengths[1][i])
        assert isinstance(split.source_text(i) + split.target_text(i), str)
        assert len(split.references(i)) == len(split.reference_texts(i))
        if split.features is not None:
            split.features.read(split.source(i).astype(np.int64))


def mend_prepared(folder: Path) -> None:
    """Sizes and checksums of the files in a prepared folder's manifest."""
    if (folder / "features").is_dir():
        mend_features(folder / "features")
    manifest = readable_json(folder / "manifest.json")
    files = manifest.get("files") if isinstance(manifest, dict) else None
    for name, record in files.items() if isinstance(files, dict) else ():
        if isinstance(record, dict):
            record |= size_and_sum(folder, name)
    if manifest is not None:
        (folder / "manifest.json").write_text(json.dumps(manifest))


def make_prepared_captions(folder: Path) -> None:
    names = [f"{split}.jpg" for split in SPLITS]
    store = written_store(folder.with_name("store"), folder.with_name("records"), names)
    pairs = {split: [(f"{split}.jpg", "a b"), (f"{split}.jpg", "c")] for split in SPLITS}
    settings = PrepareSettings(
        task="demo-captioning", output_dir=folder.with_name("made"), min_count=1, max_ratio=0
    )
    prepare(settings, GeneratedText("captions", pairs, grouped=True), features=store)
    for path in folder.with_name("made").iterdir():
        path.rename(folder / path.name)


def make_weights(folder: Path) -> None:
    torch.manual_seed(1)
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic")
    ResNetModel(config).save_pretrained(folder)
    processor(8).save_pretrained(folder)


def read_weights(folder: Path) -> None:
    encoder = ImageEncoder.load(str(folder))
    image = Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3))
    features = encoder.features([encoder.pixels(image)])
    assert features.shape == (1, encoder.record.feature_size)
    assert len(encoder.record.identity) == 64


CLASSIFIER = ClassifierSettings(image_size=16, channels=(2,), blocks=(1,), epochs=2, batch_size=2, seed=1)
PIXELS = np.arange(4 * 3 * 16 * 16, dtype=np.uint64).astype(np.uint8).reshape(4, 3, 16, 16)
LABELLED = LabelledImages(PIXELS, np.eye(2, dtype=np.float32)[[0, 1, 0, 1]])


def train(folder: Path, on_epoch: Callable[[Epoch], None] = lambda epoch: None) -> None:
    best = folder.with_name("best")
    train_classifier(CLASSIFIER, LABELLED, LABELLED, ["a", "b"], folder / "state.safetensors", best, on_epoch)


def make_classifier(folder: Path) -> None:
    """What is left of a training that broke off after the first of its two epochs."""

    def stop(epoch: Epoch) -> None:
        raise KeyboardInterrupt

    torch.manual_seed(1)
    with suppress(KeyboardInterrupt):
        train(folder, stop)


def read_classifier(folder: Path) -> None:
    try:
        train(folder)
    except UserError as error:
        if "diverged" not in str(error):  # as it may from other parameters, for which no file is to blame
            raise


STORE = ("raysq.images.store", "raysq.images.store_writer")
PREPARED = (
    "raysq.data.manifest",
    "raysq.data.settings",
    "raysq.data.shards",
    "raysq.data.split",
    "raysq.data.vocabulary",
    *STORE,
)
TARGETS = (
    Target("features", STORE, make_features, read_features, mend=mend_features),
    Target("features-begun", STORE, make_records, read_records),
    Target("prepared", PREPARED, make_prepared, read_prepared, mend=mend_prepared),
    Target("prepared-captions", PREPARED, make_prepared_captions, read_prepared, mend=mend_prepared),
    Target("weights", ("raysq.images.encoder", "raysq.images.convnet"), make_weights, read_weights),
    Target("classifier", ("raysq.images.classifier",), make_classifier, read_classifier),
)
