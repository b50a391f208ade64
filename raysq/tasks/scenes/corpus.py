"""The demo's pictures with their captions: drawing, writing as COCO does, what people would score."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from raysq.config import UserError
from raysq.data.corpus import SplitName
from raysq.files import replace_json
from raysq.images.annotations import COCO_SPLITS, clean
from raysq.metrics import corpus_bleu
from raysq.tasks.scenes.captions import caption
from raysq.tasks.scenes.labels import scene_labels
from raysq.tasks.scenes.paint import PIXELS, paint
from raysq.tasks.scenes.scene import Scene, draw_scene
from raysq.workplace import publish, workplace

DEFAULT_SIZES: Mapping[SplitName, int] = {"train": 3000, "dev": 300, "test": 300}
CAPTIONS_PER_SCENE = 5
IMAGES, LABELS_FILE = "images", "labels.json"
"""The folder of the pictures and the file of their labels."""
_ATTEMPTS_PER_SCENE = 50


@dataclass(frozen=True, slots=True)
class Captioned:
    """A scene with what five speakers said of it, each on their own: two may say the same."""

    name: str
    """File name of its picture."""
    scene: Scene
    captions: tuple[str, ...]


def captioned_scenes(
    seed: int = 0, sizes: Mapping[SplitName, int] = DEFAULT_SIZES
) -> dict[SplitName, list[Captioned]]:
    """The scenes by split, in the order of ``sizes``; no two say the same to someone who describes them.

    Args:
        seed: the data seed; the pictures never change with the seed of training.
        sizes: scenes per split.

    Raises:
        UserError: if more scenes are asked for than 50 attempts each yield.
    """
    draws = random.Random(seed)
    total = sum(sizes.values())
    drawn: dict[tuple[object, ...], Scene] = {}
    for _ in range(_ATTEMPTS_PER_SCENE * total):
        if len(drawn) == total:
            break
        scene = draw_scene(draws)
        drawn.setdefault(scene.content, scene)
    if len(drawn) < total:
        raise UserError(f"sizes: {len(drawn)} of {total} distinct scenes were found; ask for fewer")
    rest = iter(drawn.values())
    return {
        split: [_captioned(f"{split}_{number:05}.png", next(rest), seed) for number in range(1, size + 1)]
        for split, size in sizes.items()
    }


def _captioned(name: str, scene: Scene, seed: int) -> Captioned:
    draws = random.Random(f"{seed} {scene.noise}")
    return Captioned(name, scene, tuple(caption(scene, draws) for _ in range(CAPTIONS_PER_SCENE)))


def write_scenes(folder: Path, sizes: Mapping[SplitName, int] = DEFAULT_SIZES, seed: int = 0) -> None:
    """Write the scenes as COCO keeps its photographs.

    ``images/*.png`` are the pictures, ``captions_{train,val,test}.json`` their captions, and ``labels.json``
    has their labels, under ``labels`` in Karpathy's format. The folder is whole as soon as it is there.

    Args:
        folder: where to write; nothing may be there yet.
        sizes: scenes per split, of train, dev and test.
        seed: the data seed.

    Raises:
        UserError: the folder is there, another command writes it, the disk is full, or as
            `captioned_scenes`.
    """
    from PIL import Image

    with workplace(folder, "the drawing of scenes", resumable=False) as hidden:
        if folder.exists():
            raise UserError(f"{folder} is there already: remove it, or name another folder for the scenes")
        splits = captioned_scenes(seed, sizes)
        aside = hidden / "data"
        (aside / IMAGES).mkdir()
        for item in (item for items in splits.values() for item in items):
            Image.fromarray(paint(item.scene)).save(aside / IMAGES / item.name)
        replace_json(aside / LABELS_FILE, {"images": _labelled(splits)})
        first = 1
        for split, items in splits.items():
            replace_json(aside / f"captions_{COCO_SPLITS[split]}.json", _coco(items, split, first))
            first += len(items)
        publish(hidden, folder)


def _labelled(splits: Mapping[SplitName, list[Captioned]]) -> list[dict[str, object]]:
    return [
        {"filename": item.name, "split": COCO_SPLITS[split], "labels": scene_labels(item.scene)}
        for split, items in splits.items()
        for item in items
    ]


def _coco(items: list[Captioned], split: str, first: int) -> dict[str, object]:
    """A split in COCO's caption format, its images numbered from ``first`` on."""
    numbered = list(enumerate(items, start=first))
    return {
        "info": {"description": f"generated scenes, {split}"},
        "licenses": [],
        "images": [
            {"id": number, "file_name": item.name, "width": PIXELS, "height": PIXELS}
            for number, item in numbered
        ],
        "annotations": [
            {"id": (number - 1) * CAPTIONS_PER_SCENE + k, "image_id": number, "caption": text}
            for number, item in numbered
            for k, text in enumerate(item.captions, start=1)
        ],
    }


def paraphrase_ceiling(items: list[Captioned]) -> float:
    """Corpus BLEU-4 of each scene's first caption against its other four, in percent.

    As `raysq.metrics.corpus_bleu` counts it, of captions as `raysq.images.annotations` cleans them. A
    person's score, so to say: a captioner that says what most would say, not what one said, can exceed it.
    """
    cleaned = [[clean(text) for text in item.captions] for item in items]
    return corpus_bleu([first for first, *_ in cleaned], [others for _, *others in cleaned]).bleu
