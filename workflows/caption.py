"""Caption images with a finished run's model, and show them on a page.

    python workflows/caption.py --run runs/erac-captioning-seed1 --images photos --weights data/encoder
    python workflows/caption.py --run runs/erac-captioning-seed1 --images photos.tar \\
        --features data/features --annotations dataset_coco.json --split test --output-dir results

Images lie in a folder or an archive; their features are computed by the network that the run was trained
with, or read where workflows/extract_features.py wrote them. It writes captions.tsv (image, caption, log
probability and, with --annotations, the references, separated by tabs), contact_sheet.html and, with
--annotations, scores.json. An image that cannot be used is named and passed over.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator
from rich.console import Console
from rich.progress import Progress

from raysq.addresses import Place, written
from raysq.commandline import run_command
from raysq.config import UserError
from raysq.data.corpus import SplitName
from raysq.data.settings import settings_of
from raysq.decoding.captioner import ImageCaptioner
from raysq.files import replace_json, write_lines
from raysq.finished import DecodeSettings, FinishedStage
from raysq.images.annotations import read_annotations
from raysq.images.contact_sheet import Entry, contact_sheet, embedded
from raysq.images.extraction import EncodedShard, Extraction, encode_shard
from raysq.images.pictures import BadImage, Pictures
from raysq.images.store import FeatureStore
from raysq.metrics import NAMES, text_scores
from raysq.places import lasting
from raysq.storage import push
from raysq.terminal import shown, terminal
from raysq.training.job import local_device

ENCODED_TOGETHER = 64
"""As workflows/extract_features.py does, unless told otherwise [images]."""
SHOWN = 20
"""Captions that are printed; captions.tsv has them all."""
SHEET = "contact_sheet.html"
FeaturesOf = Callable[[Extraction], Iterator[EncodedShard]]
"""Features of the images of an extraction, in order."""
References = Mapping[str, tuple[str, ...]]
"""Of images by name."""


class CaptionSettings(DecodeSettings):
    """Which finished run captions, and which images."""

    images: Path
    """Folder, .tar or .tar.gz of images; an image goes by its file's name without folders."""
    weights: str | None = None
    """The network that made the features that the run was trained with: a folder that save_pretrained wrote,
    or a hub's OWNER/NAME."""
    image_size: int | None = Field(None, ge=16)
    """As workflows/extract_features.py was told; none: as preprocessor_config.json of the weights says
    [pixels]."""
    features: Path | None = None
    """Instead of weights, features of the images: the folder that workflows/extract_features.py wrote."""
    annotations: Path | None = None
    """References: a file in Karpathy's format or a folder in COCO's; they are cleaned as the training data
    was."""
    split: SplitName | None = None
    """Split of the annotations whose images are captioned; none: all images."""
    names: tuple[str, ...] | None = None
    """Images that are captioned; none: all."""
    num: int | None = Field(None, ge=1)
    """How many of these at most, the first by name; none: all [images]."""
    sheet_size: int = Field(200, ge=1)
    """Images on the contact sheet, the first by name [images]."""
    output_dir: Place | None = None
    """Folder for captions.tsv, contact_sheet.html and scores.json; none: captions/ in the folder of the
    run."""

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if (self.weights is None) == (self.features is None):
            raise ValueError("`weights` or else `features` must be given")
        if self.image_size is not None and self.weights is None:
            raise ValueError("`image_size` must be left out without `weights`")
        if self.split is not None and self.annotations is None:
            raise ValueError("`annotations` must be given with `split`")
        if self.split is not None and self.names is not None:
            raise ValueError("`names` must be left out with `split`")
        return self


@dataclass(frozen=True, slots=True)
class Captioned:
    """An image with its caption."""

    name: str
    caption: str
    log_prob: float
    references: tuple[str, ...]


def main(settings: CaptionSettings) -> None:
    """Caption, score and write; say what was left out."""
    console = terminal()
    output = lasting("--output-dir", settings.output_dir or settings.run / "captions")
    stage = FinishedStage.open(settings.run, settings.stage)
    captioner = stage.captioner(settings)
    features_of = features_source(settings, stage)
    references = read_references(settings, stage)
    with refusal_told(output):
        output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:  # for a compressed archive
        work = wanted(settings, Pictures.find(settings.images, Path(scratch)), references)
        console.print(
            f"stage {stage.name} in {stage.folder} on {len(work.names)} images of {settings.images}"
        )
        found, left_out = caption(captioner, features_of, work, references)
        report(found, left_out, console)
        entries = sheet_entries(found[: settings.sheet_size], work.pictures, console)
    scores = score(found)
    facts = (
        f"stage {stage.name}, update {stage.best_update:,}",
        f"beam of {captioner.decoding.beam_size}",
        f"{len(entries):,} of {len(found):,} images",
    )
    table = {label: scores[key] for key, label in NAMES.items() if key in scores}
    page = contact_sheet(f"Captions by {settings.run.resolve().name}", facts, table, entries)
    record = {
        "stage": stage.name,
        "folder": written(stage.folder),
        "best_update": stage.best_update,
        "images": str(settings.images),
        "annotations": str(settings.annotations),
        "split": settings.split,
        "captioned": len(found),
        "left_out": left_out,
        "decoding": captioner.decoding.model_dump(),
        "unknown": settings.unknown,
        **scores,
    }
    write(output, found, page, record if scores else None)
    push(output)
    if scores:
        console.print(", ".join(f"{label} {value:.2f}" for label, value in table.items()))
        console.print(f"of {scores['scored']} images with references: {scores['signature']}")
        console.print(scores["caption_signature"])
    console.print(f"results: {output / 'captions.tsv'}, {output / SHEET}")


def features_source(settings: CaptionSettings, stage: FinishedStage) -> FeaturesOf:
    """What gives the features of images, the same as the stage was trained with.

    Raises:
        UserError: they cannot be read, or another network makes or made them.
    """
    trained = stage.preparation.manifest.features
    assert trained is not None  # or there were no captioner
    if settings.features is not None:
        store = FeatureStore.load(settings.features)
        given, record = f"--features {settings.features}", store.manifest.encoder
    else:
        from raysq.images.encoder import ImageEncoder  # seconds

        assert settings.weights is not None
        encoder = ImageEncoder.load(settings.weights, settings.image_size, local_device(settings.device))
        given, record = f"--weights {settings.weights}", encoder.record
    if record.identity != trained.encoder:
        raise UserError(
            f"{given}: stage {stage.name} was trained with features of encoder {trained.weights} "
            f"({trained.encoder[:12]}), which is not this one ({record.identity[:12]}): give --weights and "
            "--image-size as its features were extracted with (by an earlier version: extract, prepare and "
            "train again)"
        )
    if settings.features is not None:
        return lambda work: from_store(store, work)
    return lambda work: (encode_shard(work, encoder, number) for number in range(work.num_shards))


def from_store(store: FeatureStore, work: Extraction) -> Iterator[EncodedShard]:
    """Features that were computed before."""
    there = set(store.names)
    for number in range(work.num_shards):
        wanted_here = work.shard_names(number)
        names = tuple(name for name in wanted_here if name in there)
        rows = np.array([store.row(name) for name in names], np.int64)
        skipped = {
            name: store.skipped.get(name, f"{store.folder} has no features of it")
            for name in wanted_here
            if name not in there
        }
        yield EncodedShard(number, names, store.read(rows), skipped)


def read_references(settings: CaptionSettings, stage: FinishedStage) -> References:
    """Captions of the annotations' split, or of all, cleaned as the training data was; empty without any."""
    if settings.annotations is None:
        return {}
    prepared = settings_of(stage.preparation.manifest)
    annotations = read_annotations(
        settings.annotations, lower_case=prepared.lower_case, only_alphanumeric=prepared.only_alphanumeric
    )
    splits = annotations.splits.values() if settings.split is None else [annotations.splits[settings.split]]
    return {image.name: image.captions for images in splits for image in images}


def wanted(settings: CaptionSettings, pictures: Pictures, references: References) -> Extraction:
    """The images that the settings ask for.

    Raises:
        UserError: one that is named is not there, or none has a reference.
    """
    lacking = sorted(set(settings.names or ()) - pictures.places.keys())
    if lacking:
        raise UserError(f"--names {lacking[0]}: {settings.images} has no such image: check it")
    asked = references.keys() if settings.split is not None else settings.names
    work = Extraction.of(pictures, asked, ENCODED_TOGETHER, batches_per_shard=1)
    work = replace(work, names=work.names[: settings.num])
    if settings.annotations is not None and not references.keys() & set(work.names):
        raise UserError(
            f"--annotations {settings.annotations} names none of the images of {settings.images}: images go "
            "by their file's name, check both"
        )
    return work


def caption(
    captioner: ImageCaptioner, features_of: FeaturesOf, work: Extraction, references: References
) -> tuple[list[Captioned], dict[str, str]]:
    """The images with their captions, by name, and why others were left out; with a bar on a terminal."""
    found: list[Captioned] = []
    left_out = dict(work.skipped)
    errors = terminal(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        bar = progress.add_task("captioning", total=work.num_shards)
        for shard in features_of(work):
            captions = captioner.caption(shard.features) if shard.names else []
            for name, (words, log_prob) in zip(shard.names, captions, strict=True):
                found.append(Captioned(name, " ".join(words), log_prob, references.get(name, ())))
            left_out |= shard.skipped
            progress.advance(bar)
    return found, left_out


def report(found: Sequence[Captioned], left_out: Mapping[str, str], console: Console) -> None:
    """Print what was left out, by name, and some captions.

    Raises:
        UserError: there is no caption at all.
    """
    for name, why in sorted(left_out.items()):
        console.print(f"image left out: {shown(name)} ({why})")
    if not found:
        raise UserError("none of the images can be captioned: mend or fetch again those that were left out")
    for one in found[:SHOWN]:
        console.print(f"{shown(one.name)}: {one.caption}")
    if len(found) > SHOWN:
        console.print(f"and {len(found) - SHOWN:,} more")


def sheet_entries(found: Sequence[Captioned], pictures: Pictures, console: Console) -> list[Entry]:
    """Captioned images for the contact sheet; says which one cannot be shown."""
    entries = []
    for one in found:
        try:
            picture = embedded(pictures.image(one.name))
        except BadImage as error:  # its features were computed before it was damaged
            console.print(f"image not on the sheet: {shown(one.name)} ({error})")
            continue
        entries.append(Entry(shown(one.name), picture, one.caption, one.log_prob, one.references))
    return entries


def score(found: Sequence[Captioned]) -> dict[str, Any]:
    """BLEU, ROUGE-L and CIDEr of the captions that have references; empty where none has."""
    scored = [one for one in found if one.references]
    if not scored:
        return {}
    hypotheses, references = [one.caption for one in scored], [one.references for one in scored]
    return {"scored": len(scored), **text_scores("captions", hypotheses, references)}


def write(folder: Path, found: Sequence[Captioned], page: str, scores: Mapping[str, Any] | None) -> None:
    """Write captions, page and scores.

    Raises:
        UserError: the disk is full or refuses.
    """
    rows = ((shown(one.name), one.caption, f"{one.log_prob:.4f}", *one.references) for one in found)
    with refusal_told(folder):
        write_lines(folder / "captions.tsv", map("\t".join, rows))
        write_lines(folder / SHEET, [page])
        if scores is not None:
            replace_json(folder / "scores.json", scores)
        else:  # of other captions
            (folder / "scores.json").unlink(missing_ok=True)


@contextmanager
def refusal_told(folder: Path) -> Iterator[None]:
    """Raises UserError instead of OSError when the output folder cannot be made or written."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"--output-dir {folder}: {error.strerror}: make room there, or give another folder"
        ) from error


if __name__ == "__main__":
    sys.exit(run_command(CaptionSettings, main, description=__doc__))
