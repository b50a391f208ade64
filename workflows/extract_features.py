"""Extract features of images with a pretrained network, once, for training on them.

    python workflows/extract_features.py --images train2014.tar --weights microsoft/resnet-101 \\
        --names-from dataset_coco.json --output-dir data/features
    python workflows/extract_features.py --images photos --weights data/encoder --num-workers 2 \\
        --output-dir data/features

Images lie in a folder or an archive; weights are a folder that transformers' save_pretrained wrote, or a
hub's id. An interrupted extraction continues when the command is repeated, and a finished one is found, as
long as names, sizes and times of the images are the same. Images that cannot be used are named and left out;
more than one in a hundred are an error.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator
from rich.console import Console

from raysq.addresses import Place
from raysq.commandline import run_command
from raysq.config import Config, UserError
from raysq.images.annotations import Annotations, first_named, read_annotations
from raysq.images.extraction import EncodeShards, Extraction, encoding_here, extract
from raysq.images.pictures import Pictures
from raysq.images.store import MANIFEST, FeatureStore
from raysq.places import lasting
from raysq.storage import pull, push, writing
from raysq.terminal import terminal
from raysq.workplace import occupied, workplace

if TYPE_CHECKING:  # its imports take seconds
    from raysq.images.encoder import ImageEncoder

PLAIN_SECONDS = 10.0
"""Time between two lines of progress."""


class ExtractSettings(Config):
    """Which images, by which network, and where to."""

    images: Path
    """Folder, .tar or .tar.gz of images; an image goes by its file's name without folders."""
    weights: str
    """Folder that save_pretrained wrote, or a hub's OWNER/NAME, of a ResNet."""
    output_dir: Place
    """Folder for the features, a path or an address, as s3://bucket/features."""
    names_from: Path | None = None
    """Annotations (a file in Karpathy's format or a folder in COCO's) that name the images wanted; none: all
    images."""
    image_size: int | None = Field(None, ge=16)
    """Side of the square that the network sees; none: as preprocessor_config.json of the weights says
    [pixels]."""
    batch_size: int = Field(64, ge=1)
    """Images that the network sees at once; features depend on it by rounding [images]."""
    num_workers: int = Field(1, ge=0)
    """Processes that decode and encode, with a CPU each, sharing the GPUs where there are any; features do
    not depend on it. 0 works in this process on the CPU, without Ray."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network computes; auto takes GPUs where there are any."""
    quiet: bool = False
    """Print no progress."""
    verbose: bool = False
    """Print Ray's own log lines too."""

    @model_validator(mode="after")
    def _gpus_need_ray(self) -> Self:
        if self.num_workers == 0 and self.device == "cuda":
            raise ValueError("`num_workers` must be above 0 with `device` cuda")
        return self


def main(settings: ExtractSettings) -> None:
    """Extract, or find that it was done; say what came of it."""
    console = terminal()
    folder = lasting("--output-dir", settings.output_dir)
    pull(folder, whole_with=MANIFEST)
    if occupied(folder) and not (folder / MANIFEST).is_file():
        raise UserError(f"{folder} exists and holds no features: give another --output-dir, or remove it")
    from raysq.images.encoder import ImageEncoder

    annotations = read_annotations(settings.names_from) if settings.names_from else None
    encoder = ImageEncoder.load(settings.weights, settings.image_size)
    began = time.monotonic()
    with writing(folder), workplace(folder, "the extraction of features") as hidden:
        pictures = Pictures.find(settings.images, hidden)
        wanted = annotations.image_names if annotations else None
        extraction = Extraction.of(pictures, wanted, settings.batch_size)
        if occupied(folder):
            store, state = (
                reused(folder, extraction.plan(encoder.record)),
                "reused: same images, same network",
            )
        else:
            progress = Progress(terminal(stderr=True, quiet=settings.quiet))
            with encoding(settings, extraction, encoder) as encode_shards:
                store = extract(extraction, encoder.record, hidden, folder, encode_shards, progress.show)
            push(folder)
            state = f"written in {time.monotonic() - began:.0f} s"
    report(store, annotations, console)
    console.print(f"{folder} {state} (features {store.digest[:12]})")


@contextmanager
def encoding(
    settings: ExtractSettings, extraction: Extraction, encoder: ImageEncoder
) -> Iterator[EncodeShards]:
    """How shards are encoded: here, or by workers."""
    if settings.num_workers == 0:
        import torch

        torch.set_num_threads(1)  # as workers have
        yield encoding_here(extraction, encoder)
        return
    from raysq.cluster.extraction import encoding_on_ray  # seconds

    on_ray: AbstractContextManager[EncodeShards] = encoding_on_ray(
        extraction,
        settings.weights,
        settings.image_size,
        encoder.record,
        settings.num_workers,
        settings.device,
        verbose=settings.verbose,
    )
    with on_ray as encode_shards:
        yield encode_shards


def reused(folder: Path, plan: str) -> FeatureStore:
    """The store that is there.

    Raises:
        UserError: it is damaged, or was made of something else.
    """
    store = FeatureStore.load(folder)
    if store.manifest.plan != plan:
        raise UserError(
            f"{folder} holds features of other images or of images that were written anew since, or by "
            "another network, other settings or an earlier version: give another --output-dir, or remove it"
        )
    store.verify()
    return store


class Progress:
    """A line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = self._shown = time.monotonic()

    def show(self, done: int, of: int) -> None:
        """So many shards are there."""
        now = time.monotonic()
        if now - self._shown >= PLAIN_SECONDS:
            self._shown = now
            self._console.print(f"{done} of {of} shards, {now - self._began:.0f} s")


def report(store: FeatureStore, annotations: Annotations | None, console: Console) -> None:
    """Print what was left out, by name, and how much there is."""
    manifest = store.manifest
    of_images = {
        "image left out": [f"{name} ({why})" for name, why in manifest.skipped.items()],
        "image without caption": manifest.without_caption,
    }
    for line in first_named(of_images | (annotations.left_out if annotations else {})):
        console.print(line)
    size = sum(shard.bytes for shard in manifest.shards)
    console.print(
        f"{len(store):,} images, {store.feature_size} features each, {len(manifest.shards)} shards, "
        f"{size / 2**20:.1f} MiB; {len(manifest.skipped)} left out"
    )


if __name__ == "__main__":
    sys.exit(run_command(ExtractSettings, main, description=__doc__))
