"""Captions of images: Karpathy's split format and COCO's, read into one type; and as text to be prepared.

Karpathy (``dataset_coco.json``): one file with the captions of all splits, where restval is part of train.
COCO: a folder with ``captions_train*.json``, ``captions_val*.json`` and ``captions_test*.json``, or some of
them. All may end in ``.gz``. Captions are cleaned as in Karpathy and Fei-Fei 2015, whose preprocessing Dai et
al. 2018 adapt (section 6.1): lower-cased, characters other than letters and digits removed, split at white
space. A letter's marks belong to it; what Unicode writes in two ways is written in one (NFC).
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import lzma
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NotRequired, TypeVar

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from raysq.config import UserError, first_defect
from raysq.data.archive import decompressed
from raysq.data.corpus import SPLITS, Fingerprint, SplitName
from raysq.files import regular
from raysq.options import alternatives
from raysq.terminal import shown

T = TypeVar("T")
NAMED = 20
"""How many of each kind of things left out are named."""
KARPATHY_SPLITS: dict[str, SplitName] = {
    "train": "train",
    "restval": "train",
    "val": "dev",
    "test": "test",
}
COCO_SPLITS: dict[SplitName, str] = {"train": "train", "dev": "val", "test": "test"}


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """An image and what people said about it."""

    name: str
    """Of its file, without folders."""
    captions: tuple[str, ...]
    """Words with single spaces; one at least."""


@dataclass(frozen=True)
class Annotations:
    """Captions by split, and what was left out of them."""

    name: str
    """File or folder they came from, without the folders above."""
    splits: Mapping[SplitName, tuple[CaptionedImage, ...]]
    empty_captions: tuple[str, ...]
    """Names of images, once for each caption without a word."""
    without_caption: tuple[str, ...]
    """Names of images that have no caption with a word."""
    without_image: tuple[str, ...]
    """Captions of images that are not listed, as ``caption 7 of image 3``."""

    @property
    def left_out(self) -> dict[str, tuple[str, ...]]:
        """The names of what was left out, by what it is."""
        return {
            "annotated image without caption": self.without_caption,
            "annotation without image": self.without_image,
            "empty caption of image": self.empty_captions,
        }

    @property
    def image_names(self) -> list[str]:
        """Of all images with captions, sorted."""
        return sorted(image.name for images in self.splits.values() for image in images)


@dataclass(frozen=True)
class CaptionText:
    """Pairs of an image's name and a caption (`ParallelText`); captions of an image follow each other."""

    annotations: Annotations
    grouped: bool = True
    """Pairs of one source are its references."""

    def pairs(self, split: SplitName) -> Iterator[tuple[str, str]]:
        """Name and caption, for every caption of a split in order."""
        for image in self.annotations.splits[split]:
            for caption in image.captions:
                yield image.name, caption

    def fingerprints(self) -> dict[str, Fingerprint]:
        """sha256 of the lines of each side as `pairs` gives them."""
        return {
            f"{split}.{side}": Fingerprint(
                name=self.annotations.name, sha256=_sha256(pair[k] for pair in self.pairs(split))
            )
            for split in SPLITS
            for k, side in enumerate(("source", "target"))
        }


def read_annotations(place: Path, *, lower_case: bool = True, only_alphanumeric: bool = True) -> Annotations:
    """Read captions, of every split that has any.

    Args:
        place: a file in Karpathy's format, or a folder with files in COCO's.
        lower_case: whether captions are lower-cased.
        only_alphanumeric: whether characters other than letters, digits and white space are removed.

    Raises:
        UserError: a file is missing, no JSON or of another form, a split is unknown, an image is listed
            twice, or there is no caption.
    """
    if not place.exists():
        raise UserError(f"{place} does not exist: give a Karpathy file or a folder of COCO's files")
    collected = _Collected(place, lower_case, only_alphanumeric)
    if place.is_dir():
        for split, path in _coco_files(place).items():
            _read_coco(path, split, collected)
    else:
        _read_karpathy(place, collected)
    return collected.annotations()


def clean(caption: str, *, lower_case: bool = True, only_alphanumeric: bool = True) -> str:
    """Words of a caption with single spaces: ``"A man's T-shirt."`` becomes ``"a mans tshirt"``."""
    text = unicodedata.normalize("NFC", caption.lower() if lower_case else caption)
    return " ".join((_alphanumeric(text) if only_alphanumeric else text).split())


def _alphanumeric(text: str) -> str:
    """Letters and digits with their marks, which vowels of many scripts are, and white space."""
    kept, of_word = [], False
    for c in text:
        of_word = c.isalnum() or (of_word and unicodedata.category(c).startswith("M"))
        if of_word or c.isspace():
            kept.append(c)
    return "".join(kept)


def first_named(left_out: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Lines that name what was left out, by what it is: the first `NAMED` of each, and how many more."""
    for what, names in left_out.items():
        yield from (f"{what}: {shown(name)}" for name in names[:NAMED])
        if len(names) > NAMED:
            yield f"{what}: {len(names) - NAMED} more, {len(names)} together"


class _Collected:
    """Images as they are read."""

    def __init__(self, place: Path, lower_case: bool, only_alphanumeric: bool) -> None:
        self._place = place
        self._cleaning = {"lower_case": lower_case, "only_alphanumeric": only_alphanumeric}
        self._splits: dict[SplitName, list[CaptionedImage]] = {split: [] for split in SPLITS}
        self._seen: set[str] = set()
        self._empty: list[str] = []
        self._without_caption: list[str] = []
        self.without_image: list[str] = []

    def add(self, split: SplitName, file_name: str, captions: Iterable[str]) -> None:
        name = base_name(file_name)
        if name in self._seen:
            raise UserError(
                f"{self._place} lists image {name} twice: images go by names, remove or rename one"
            )
        self._seen.add(name)
        cleaned = [clean(caption, **self._cleaning) for caption in captions]
        kept = tuple(filter(None, cleaned))
        self._empty += [name] * (len(cleaned) - len(kept))
        if kept:
            self._splits[split].append(CaptionedImage(name, kept))
        else:
            self._without_caption.append(name)

    def annotations(self) -> Annotations:
        if not any(self._splits.values()):
            raise UserError(f"{self._place} has no caption with a word: give annotations that have")
        return Annotations(
            self._place.name,
            {split: tuple(images) for split, images in self._splits.items()},
            tuple(self._empty),
            tuple(self._without_caption),
            tuple(self.without_image),
        )


def base_name(file_name: str) -> str:
    """An image's name: its file's without folders."""
    return PurePosixPath(file_name).name


class _Sentence(TypedDict):
    raw: NotRequired[str]
    tokens: NotRequired[list[str]]


class _KarpathyImage(TypedDict):
    filename: str
    split: str
    sentences: list[_Sentence]


class _Karpathy(TypedDict):
    images: list[_KarpathyImage]


def _read_karpathy(path: Path, collected: _Collected) -> None:
    for number, image in enumerate(read_json(path, _Karpathy, "Karpathy's format")["images"]):
        split = karpathy_split(path, number, image["split"])
        captions = []
        for k, sentence in enumerate(image["sentences"]):
            if "tokens" not in sentence and "raw" not in sentence:
                raise UserError(
                    f"{path}: images[{number}].sentences[{k}] has neither tokens nor raw: add one of them"
                )
            captions.append(" ".join(sentence["tokens"]) if "tokens" in sentence else sentence["raw"])
        collected.add(split, image["filename"], captions)


def karpathy_split(path: Path, number: int, name: str) -> SplitName:
    """The split of the ``number``-th image. Raises UserError where Karpathy's format has no such split."""
    if name not in KARPATHY_SPLITS:
        raise UserError(
            f"{path}: images[{number}].split is {name!r}: must be {alternatives(KARPATHY_SPLITS)}"
        )
    return KARPATHY_SPLITS[name]


class _CocoImage(TypedDict):
    id: int
    file_name: str


class _CocoCaption(TypedDict):
    id: int
    image_id: int
    caption: str


class _Coco(TypedDict):
    images: list[_CocoImage]
    annotations: list[_CocoCaption]


def _coco_files(folder: Path) -> dict[SplitName, Path]:
    """The file of every split that has one. Raises UserError where none has, or one has several."""
    files: dict[SplitName, Path] = {}
    for split, name in COCO_SPLITS.items():
        pattern = re.compile(rf"captions_{name}(?![a-z]).*\.json(\.gz)?")
        found = sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name))
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise UserError(f"{folder} must hold one file captions_{name}*.json, not {names}: keep one")
        if found:
            files[split] = found[0]
    if not files:
        names = ", ".join(f"captions_{name}*.json" for name in COCO_SPLITS.values())
        raise UserError(
            f"{folder} holds none of {names} or these with .gz: give a folder of COCO's files, or a file in "
            "Karpathy's format"
        )
    return files


def _read_coco(path: Path, split: SplitName, collected: _Collected) -> None:
    from pycocotools.coco import COCO

    content = read_json(path, _Coco, "COCO's caption format")
    twice = [key for key, count in Counter(image["id"] for image in content["images"]).items() if count > 1]
    if twice:
        raise UserError(f"{path} has two images with id {twice[0]}: each needs an id of its own")
    coco = COCO()
    coco.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        coco.createIndex()
    for image in content["images"]:
        captions = [one["caption"] for one in coco.imgToAnns.get(image["id"], ())]
        collected.add(split, image["file_name"], captions)
    collected.without_image += [
        f"caption {one['id']} of image {one['image_id']} in {path.name}"
        for one in content["annotations"]
        if one["image_id"] not in coco.imgs
    ]


def read_json(path: Path, form: type[T], format_name: str) -> T:
    """A JSON file, plain or ``.gz``, of the form of a TypedDict; other keys are passed over.

    Raises:
        UserError: it cannot be read or is of another form; names the first place that is.
    """
    try:
        with decompressed(regular(path)) as file:
            data = b"".join(iter(file.read, b""))
    except (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{path} is a damaged .gz ({error}): fetch or compress it again") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}: check the path") from error
    try:
        return TypeAdapter(form).validate_json(data)
    except ValidationError as error:
        what = first_defect(error)
        raise UserError(f"{path} is not in {format_name}: {what}: mend or fetch it again") from error


def _sha256(lines: Iterable[str]) -> str:
    found = hashlib.sha256()
    for line in lines:
        found.update(f"{line}\n".encode())
    return found.hexdigest()
