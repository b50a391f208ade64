"""Readers of captions, labels and images."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from raysq.data.corpus import SPLITS, GeneratedText
from raysq.data.prepare import prepare
from raysq.data.settings import PrepareSettings
from raysq.images.annotations import CaptionText, first_named, read_annotations
from raysq.images.extraction import Extraction, encoding_here, extract
from raysq.images.labels import labelled_images, read_labels
from raysq.images.pictures import Pictures
from raysq.images.store import EncoderRecord
from raysq.workplace import workplace
from tests.fuzz.data_targets import write_tar
from tests.fuzz.harness import Target

JSON_WORDS = (b'"images"', b'"id"', b'"split"', b'"restval"', b'"tokens"', b'"raw"', b'"caption"', b",,")


def karpathy() -> dict[str, Any]:
    splits = ("train", "restval", "val", "test")
    return {
        "images": [
            {
                "filename": f"COCO_{k}.jpg",
                "split": split,
                "scene": "pond",
                "sentences": [{"raw": "A man's T-shirt."}, {"tokens": ["é", "dog", str(k)], "imgid": k}],
            }
            for k, split in enumerate(splits)
        ],
        "dataset": "coco",
    }


def write_json(path: Path, content: object) -> None:
    text = json.dumps(content).encode()
    path.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)


def read_captions(place: Path, beside: Path) -> None:
    """As extracting features and preparing do."""
    for cleaned in (True, False):
        annotations = read_annotations(place, lower_case=cleaned, only_alphanumeric=cleaned)
        text = CaptionText(annotations)
        pairs = {split: list(text.pairs(split)) for split in SPLITS}
        text.fingerprints()
        assert len(annotations.image_names) == len({name for split in pairs.values() for name, _ in split})
        list(first_named(annotations.left_out))
    if all(pairs.values()):
        settings = PrepareSettings(
            task="demo-captioning", output_dir=beside / "data", min_count=1, max_ratio=0
        )
        prepare(settings, GeneratedText("captions", pairs, grouped=True))


def make_karpathy(folder: Path) -> None:
    write_json(folder / "dataset.json", karpathy())


def read_karpathy(folder: Path) -> None:
    read_captions(folder / "dataset.json", folder.parent)


def make_karpathy_gz(folder: Path) -> None:
    write_json(folder / "dataset.json.gz", karpathy())


def read_karpathy_gz(folder: Path) -> None:
    read_captions(folder / "dataset.json.gz", folder.parent)


def make_coco(folder: Path) -> None:
    for n, split in enumerate(("train", "val", "test")):
        images = [{"id": 10 * n + k, "file_name": f"{split}_{k}.jpg", "width": 4} for k in range(2)]
        captions = [
            {"id": k, "image_id": 10 * n + k % 2, "caption": f"A dög no. {k}, on grass."} for k in range(3)
        ]
        name = f"captions_{split}2014.json{'.gz' if split == 'val' else ''}"
        write_json(folder / name, {"images": images, "annotations": captions, "info": {"year": 2014}})


def read_coco(folder: Path) -> None:
    read_captions(folder, folder.parent)


def read_its_labels(folder: Path) -> None:
    labels = read_labels(folder / "dataset.json", "scene")
    assert labels.names
    labels.unlabelled.bit_length()


def image_bytes(form: str, seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    written = io.BytesIO()
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6
    if form in ("JPEG", "PNG", "WEBP", "TIFF"):
        image.save(written, form, exif=exif)
    else:
        image.save(written, form)
    return written.getvalue()


def images() -> dict[str, bytes]:
    """An image of each format, and two whose modes need thought."""
    suffixes = {"JPEG": "jpg", "PNG": "png", "BMP": "bmp", "GIF": "gif", "TIFF": "tif", "WEBP": "webp"}
    made = {f"{k}.{suffix}": image_bytes(form, k) for k, (form, suffix) in enumerate(suffixes.items())}
    for name, mode in (("deep.png", "I;16"), ("clear.png", "LA"), ("palette.png", "P")):
        written = io.BytesIO()
        Image.new(mode, (5, 4)).save(written, "PNG")
        made[name] = written.getvalue()
    return made


class StubEncoder:
    """Sees of an image what `Extraction` asks of it, without a network."""

    record = EncoderRecord(
        weights="made", weights_sha256="0" * 64, architecture={}, preprocessing={}, feature_size=3
    )

    def pixels(self, image: Image.Image) -> np.ndarray:
        assert image.mode == "RGB"
        return np.asarray(image.resize((2, 2)), np.float32)

    def features(self, pixels: list[np.ndarray]) -> np.ndarray:
        return np.stack([one.mean((0, 1)) for one in pixels]).astype(np.float32)


def extracted(place: Path, beside: Path) -> None:
    """Features of images as workflows/extract_features.py makes them: too many bad images are refused."""
    pictures = Pictures.find(place, beside)
    extraction = Extraction.of(pictures, None, batch_size=4, batches_per_shard=2)
    with workplace(beside / "features", "the features", resumable=True) as hidden:
        encode = encoding_here(extraction, StubEncoder())  # type: ignore[arg-type]
        store = extract(extraction, StubEncoder.record, hidden, beside / "features", encode)
    store.verify()
    labels = dict.fromkeys(pictures.places, ("a",))
    labelled_images(pictures, labels, ["a"], 16, lambda name, why: None)


def make_images(folder: Path) -> None:
    (folder / "more").mkdir()
    for name, content in images().items():
        (folder / ("more" if name[0] in "0cd" else "") / name).write_bytes(content)


def read_images(folder: Path) -> None:
    extracted(folder, folder.parent)


def make_image_tar(folder: Path) -> None:
    write_tar(folder / "images.tar", {f"images/{name}": content for name, content in images().items()})


def read_image_tar(folder: Path) -> None:
    extracted(folder / "images.tar", folder.parent)


def make_image_tgz(folder: Path) -> None:
    names = ("0.jpg", "1.png", "2.bmp")
    write_tar(folder / "images.tar.gz", {name: images()[name] for name in names})


def read_image_tgz(folder: Path) -> None:
    extracted(folder / "images.tar.gz", folder.parent)


CAPTIONS = ("raysq.images.annotations",)
IMAGES = ("raysq.images.pictures", "raysq.images.extraction", "raysq.data.archive")
TARGETS = (
    Target("karpathy", CAPTIONS, make_karpathy, read_karpathy, JSON_WORDS),
    Target("karpathy-gz", CAPTIONS, make_karpathy_gz, read_karpathy_gz, JSON_WORDS),
    Target("coco", CAPTIONS, make_coco, read_coco, JSON_WORDS),
    Target("labels", ("raysq.images.labels",), make_karpathy, read_its_labels, JSON_WORDS),
    Target("images", IMAGES, make_images, read_images),
    Target("images-tar", IMAGES, make_image_tar, read_image_tar, inside=tuple(images())),
    Target("images-tgz", IMAGES, make_image_tgz, read_image_tgz, inside=tuple(images())),
)
