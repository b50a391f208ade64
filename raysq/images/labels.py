"""Labels of images from a file in Karpathy's format, and the images they belong to as arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import TypedDict

from raysq.config import UserError
from raysq.data.corpus import SPLITS, SplitName
from raysq.images.annotations import base_name, karpathy_split, read_json
from raysq.images.classifier import LabelledImages, processor
from raysq.images.pictures import BadImage, Pictures


@dataclass(frozen=True)
class Labels:
    """What is in the images."""

    splits: Mapping[SplitName, Mapping[str, tuple[str, ...]]]
    """Labels of each labelled image, by split and the image's name."""
    unlabelled: int
    """Images without a label."""

    @property
    def names(self) -> list[str]:
        """The labels of training images, sorted."""
        return sorted({label for labels in self.splits["train"].values() for label in labels})


class _File(TypedDict):
    images: list[dict[str, Any]]


def read_labels(path: Path, key: str) -> Labels:
    """Read the labels of a file in Karpathy's format.

    Args:
        path: the file, plain or ``.gz``.
        key: under which an image has its label, a text, or its labels, a list of texts; null is none.

    Raises:
        UserError: the file has a defect or lists an image twice, no image of train or dev has a label, or one
            of dev has a label that none of train has.
    """
    splits: dict[SplitName, dict[str, tuple[str, ...]]] = {split: {} for split in SPLITS}
    seen: set[str] = set()
    unlabelled = 0
    for number, image in enumerate(read_json(path, _File, "Karpathy's format")["images"]):
        name, split, value = (image.get(wanted) for wanted in ("filename", "split", key))
        if not isinstance(name, str) or not isinstance(split, str):
            raise UserError(f"{path}: images[{number}] lacks filename or split: add them")
        if base_name(name) in seen:
            raise UserError(
                f"{path} lists image {base_name(name)} twice: images go by names, remove or rename one"
            )
        seen.add(base_name(name))
        labels = (value,) if isinstance(value, str) else value or ()
        if not isinstance(labels, (tuple, list)) or not all(isinstance(one, str) for one in labels):
            raise UserError(f"{path}: images[{number}].{key} must be a text, a list of texts or null")
        unlabelled += not labels
        if labels:
            splits[karpathy_split(path, number, split)][base_name(name)] = tuple(labels)
    found = Labels(splits, unlabelled)
    for wanted_split in ("train", "dev"):
        if not splits[wanted_split]:
            raise UserError(f"{path}: no image of {wanted_split} has a {key}: name the right --label-key")
    unknown = {label for labels in splits["dev"].values() for label in labels} - set(found.names)
    if unknown:
        raise UserError(f"{path}: no training image has {key} {min(unknown)!r}, an image of dev has: add one")
    return found


def labelled_images(
    pictures: Pictures,
    labels: Mapping[str, tuple[str, ...]],
    names: Sequence[str],
    image_size: int,
    on_bad: Callable[[str, str], None],
) -> LabelledImages:
    """The images that have labels, scaled and cropped.

    Args:
        pictures: the images.
        labels: of each image by its name.
        names: all labels, in the order of the columns.
        image_size: side of the square [pixels].
        on_bad: is told the name of an image that is missing or cannot be used, and why; it is left out.
    """
    column = {name: k for k, name in enumerate(names)}
    to_square = processor(image_size)
    pixels, rows = [], []
    for name, of_image in labels.items():
        try:
            image = pictures.image(name)
        except KeyError:
            on_bad(name, "missing")
            continue
        except BadImage as error:
            on_bad(name, str(error))
            continue
        square = to_square(images=image, do_rescale=False, do_normalize=False, return_tensors="np")
        pixels.append(square["pixel_values"][0])
        row = np.zeros(len(names), np.float32)
        row[[column[label] for label in of_image]] = 1
        rows.append(row)
    if not pixels:
        raise UserError("none of the labelled images can be used: check --images")
    return LabelledImages(np.stack(pixels), np.stack(rows))
