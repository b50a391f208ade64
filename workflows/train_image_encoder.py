"""Train a small image encoder on labels, for images that no pretrained network knows.

    python workflows/train_image_encoder.py --images images.tar.gz --labels dataset.json.gz \\
        --label-key scene --output-dir data/encoder
    python workflows/extract_features.py --images images.tar.gz --weights data/encoder \\
        --output-dir data/features

Labels are read from a file in Karpathy's format; images of train are learnt, those of dev say which epoch was
best. An interrupted training continues after its last epoch when the command is repeated.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field
from rich.console import Console

from raysq.commandline import run_command
from raysq.config import UserError
from raysq.data.corpus import SplitName
from raysq.files import replace_json
from raysq.images.pictures import Pictures
from raysq.images.settings import ClassifierSettings
from raysq.places import lasting
from raysq.terminal import as_started, shown, terminal
from raysq.workplace import occupied, publish, workplace

if TYPE_CHECKING:  # their imports take seconds
    from raysq.images.classifier import Epoch, LabelledImages, Progress
    from raysq.images.labels import Labels


class TrainEncoderSettings(ClassifierSettings):
    """What is learnt from, where the outcome goes, and how it is learnt."""

    images: Path
    """Folder, .tar or .tar.gz of images."""
    labels: Path
    """File in Karpathy's format, plain or .gz, that says which split an image belongs to and its label."""
    label_key: str = "scene"
    """Under which an image in it has its label, or a list of labels."""
    output_dir: Path
    """Folder for the encoder, which extract_features.py takes as --weights."""
    threads: int = Field(1, ge=1)
    """Threads of the arithmetic; results change by rounding."""


def main(settings: TrainEncoderSettings) -> None:
    """Train, and write the best network."""
    import torch

    from raysq.images.classifier import train_classifier
    from raysq.images.encoder import quiet_transformers
    from raysq.images.labels import read_labels

    torch.set_num_threads(settings.threads)
    quiet_transformers()
    console = terminal()
    folder = lasting("--output-dir", settings.output_dir)
    if occupied(folder):
        raise UserError(f"{folder} exists already: give another --output-dir, or remove it")
    labels = read_labels(settings.labels, settings.label_key)
    with workplace(folder, "the training of an image encoder") as hidden:
        pictures = Pictures.find(settings.images, hidden)
        train, dev = (read_images(settings, labels, pictures, split, console) for split in ("train", "dev"))
        console.print(
            f"{len(train.pixels):,} train, {len(dev.pixels):,} dev, {labels.unlabelled:,} unlabelled"
        )

        def show(epoch: Epoch) -> None:
            console.print(
                f"epoch {epoch.epoch}: loss {epoch.loss:.3f}, dev accuracy {epoch.dev_accuracy:.4f}, "
                f"{epoch.seconds:.0f} s"
            )

        state, best = hidden / "state.safetensors", hidden / "data"
        progress = train_classifier(settings, train, dev, labels.names, state, best, show)
        replace_json(best / "training.json", record(settings, labels, progress))
        publish(hidden, folder)
    assert progress.best is not None
    console.print(
        f"{folder}: dev accuracy {progress.best.dev_accuracy:.4f} after epoch {progress.best.epoch} of "
        f"{len(progress.epochs)}, {sum(epoch.seconds for epoch in progress.epochs):.0f} s of training"
    )
    console.print(f"next: {as_started('extract_features')} --images {settings.images} --weights {folder}")


def read_images(
    settings: TrainEncoderSettings, labels: Labels, pictures: Pictures, split: SplitName, console: Console
) -> LabelledImages:
    """The labelled images of a split; says which ones cannot be used."""
    from raysq.images.labels import labelled_images

    return labelled_images(
        pictures,
        labels.splits[split],
        labels.names,
        settings.image_size,
        lambda name, why: console.print(f"left out: {shown(name)} ({why})"),
    )


def record(settings: TrainEncoderSettings, labels: Labels, progress: Progress) -> dict[str, Any]:
    """What is written beside the weights: schedule, labels and what became of each epoch."""
    schedule = settings.model_dump(mode="json", include=set(ClassifierSettings.model_fields))
    return {
        "labels": labels.names,
        "settings": schedule,
        "best": asdict(progress.best) if progress.best else None,
        "epochs": [asdict(epoch) for epoch in progress.epochs],
    }


if __name__ == "__main__":
    sys.exit(run_command(TrainEncoderSettings, main, description=__doc__))
