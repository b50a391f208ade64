"""The tasks that make their own data: text, pictures with captions, articles with headlines."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from raysq.config import UserError
from raysq.data.corpus import SPLITS, GeneratedText, ParallelText
from raysq.data.manifest import FEATURES, MANIFEST, read_manifest
from raysq.data.settings import PrepareSettings, task_defaults
from raysq.images.store import FeatureStore
from raysq.workplace import occupied, publish, workplace

if TYPE_CHECKING:  # their imports take seconds
    from raysq.images.pictures import Pictures

SOURCES: dict[str, tuple[str, ...]] = {
    "demo": ("grammar.py", "demo_grammar"),
    "demo-headline": ("headlines",),
    "demo-captioning": ("generated.py", "scenes", "../images"),
}
"""What makes the data of each task, by path from here: other sources, other data."""
ENCODER_EPOCHS = 12
"""Passes in which the encoder learns what is in a picture. [epochs]"""
PATIENCE = 900.0
"""How long to wait for another command that makes the same pictures, which takes minutes. [seconds]"""
SCENES = "scenes"
"""Folder of the pictures and their captions."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a task's data is prepared from."""

    text: ParallelText
    features: FeatureStore | None = None
    """Of the images that the text's sources name."""
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Names of what the text leaves out, by what it is."""


def generated(task: str, beside: Path) -> Given:
    """The data that a task makes; pictures and their features are kept in the folder ``beside``."""
    if task == "demo-captioning":
        return _captioned_scenes(beside)
    if task == "demo-headline":
        return Given(_headlines())
    from raysq.tasks.grammar import generate

    splits = generate()
    return Given(GeneratedText(generator(task), {split: splits[split] for split in SPLITS}))


def demo_settings(task: str, output_dir: Path) -> PrepareSettings:
    """How the data that a task makes is prepared when nothing else is said."""
    return PrepareSettings.model_validate(
        {"task": task, "output_dir": output_dir, **task_defaults({"task": task})}
    )


def holds_generated(task: str, folder: Path) -> bool:
    """Whether a folder was prepared from what the sources of now would make.

    Told from the manifest alone: to make the data, and compare it, takes a second, or minutes.
    """
    if not (folder / MANIFEST).is_file():
        return False
    manifest = read_manifest(folder)
    names = {text.name for text in manifest.inputs.values()}
    return names == {generator(task)} and manifest.settings == demo_settings(task, folder).content


def generator(task: str) -> str:
    """What makes a task's data, with a digest of its sources."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for name in SOURCES[task]:
        place = root / name
        for path in sorted(place.glob("*.py")) if place.is_dir() else [place]:
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return f"raysq {task} {digest.hexdigest()[:16]}"


def _headlines() -> GeneratedText:
    from raysq.tasks.headlines.corpus import generate_headlines

    splits = generate_headlines()
    pairs = {
        split: [(article, headline) for article, headlines in splits[split] for headline in headlines]
        for split in SPLITS
    }
    return GeneratedText(generator("demo-headline"), pairs, grouped=True)


def _captioned_scenes(beside: Path) -> Given:
    """Scenes, an encoder that has learnt what is in them, its features, and the captions."""
    from raysq.images.annotations import CaptionText, read_annotations

    name = generator("demo-captioning")
    place = beside / name.replace(" ", "-")
    if not occupied(place):
        with workplace(place, "the drawing of the demo's pictures", patience=PATIENCE) as hidden:
            if not occupied(place):  # another command has made them in the meantime
                _make_scenes(hidden)
                publish(hidden, place)
    try:
        annotations = replace(read_annotations(place / SCENES), name=name)
        features = FeatureStore.load(place / FEATURES)
        features.verify()
    except UserError as error:
        raise UserError(f"{place} was changed: remove it, it is generated again") from error
    return Given(CaptionText(annotations), features)


def _make_scenes(hidden: Path) -> None:
    """In ``data`` of a workplace the scenes, their encoder and its features, as far as they are not there."""
    import torch

    from raysq.images.encoder import ImageEncoder, quiet_transformers
    from raysq.images.extraction import Extraction, encoding_here, extract
    from raysq.images.pictures import Pictures
    from raysq.tasks.scenes.corpus import IMAGES, write_scenes

    quiet_transformers()
    torch.set_num_threads(1)  # the data depends on no machine's cores; whoever trains sets his own
    scenes, features = hidden / "data" / SCENES, hidden / "data" / FEATURES
    if not scenes.exists():
        write_scenes(scenes)
    pictures = Pictures.find(scenes / IMAGES, hidden)
    weights = hidden / "data" / "encoder"
    _train_encoder(scenes, pictures, hidden / "encoder.safetensors", weights)
    if not features.exists():
        encoder = ImageEncoder.load(str(weights))
        work = Extraction.of(pictures, None, batch_size=64)
        (hidden / "shards" / "data").mkdir(parents=True, exist_ok=True)
        extract(work, encoder.record, hidden / "shards", features, encoding_here(work, encoder))


def _train_encoder(scenes: Path, pictures: Pictures, state: Path, weights: Path) -> None:
    """Train a small network, unless it has been, to tell what is in the training scenes."""
    from raysq.images.classifier import train_classifier
    from raysq.images.labels import labelled_images, read_labels
    from raysq.images.settings import ClassifierSettings
    from raysq.tasks.scenes.corpus import LABELS_FILE
    from raysq.tasks.scenes.paint import PIXELS

    settings = ClassifierSettings(
        image_size=PIXELS, channels=(32, 48, 96, 192), epochs=ENCODER_EPOCHS, learning_rate=4e-3, shift=1
    )
    labels = read_labels(scenes / LABELS_FILE, "labels")
    train, dev = (
        labelled_images(pictures, labels.splits[split], labels.names, PIXELS, _refuse)
        for split in ("train", "dev")
    )
    train_classifier(settings, train, dev, labels.names, state, weights, lambda epoch: None)


def _refuse(name: str, why: str) -> None:
    raise AssertionError(f"{name}, which was drawn just now: {why}")
