"""Trains a small convolutional network on labels of images, for images that no pretrained network knows.

Schedule: AdamW, the rate rising linearly over the first twentieth of the updates and falling to zero by a
cosine; label smoothing; each training image moved a little, and turned or mirrored where that is asked for.
The network of the epoch with the best dev accuracy is kept, in the form in which `ImageEncoder` reads any.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name
from transformers import ConvNextImageProcessorPil

from raysq.config import UserError, digest
from raysq.disk import full_disk_told
from raysq.files import regular, sync
from raysq.images.convnet import ConvNet, ConvNetConfig
from raysq.images.settings import ClassifierSettings

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of photographs' channels, as ImageNet's networks have them."""
WARM_UP = 0.05
"""Share of the updates in which the learning rate rises."""


@dataclass(frozen=True)
class LabelledImages:
    """Images of one size and what is in them."""

    pixels: NDArray[np.uint8]
    """[N 3 S S]"""
    labels: NDArray[np.float32]
    """[N L], 1 where the label holds."""

    @property
    def exclusive(self) -> bool:
        """Whether each image has one label: what is in it is then told apart by a softmax."""
        return bool((self.labels.sum(1) == 1).all())


@dataclass(frozen=True, slots=True)
class Epoch:
    """What is known after an epoch."""

    epoch: int
    """From 1 on."""
    loss: float
    """Mean of the updates."""
    dev_accuracy: float
    """Share of the dev images whose label is found; where they have several, F1 of the labels."""
    seconds: float
    """What it took [s]."""


@dataclass
class Progress:
    """Epochs done."""

    epochs: list[Epoch] = field(default_factory=list)

    @property
    def best(self) -> Epoch | None:
        """The first of the best."""
        return max(self.epochs, key=lambda e: (e.dev_accuracy, -e.epoch), default=None)


def train_classifier(
    settings: ClassifierSettings,
    train: LabelledImages,
    dev: LabelledImages,
    label_names: Sequence[str],
    state: Path,
    best_folder: Path,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Progress:
    """Train, or go on where a run with the same settings and images broke off, as if it had not stopped.

    Args:
        settings: network and schedule.
        train: what is learnt.
        dev: what is judged by.
        label_names: what the columns of labels mean.
        state: file for what is needed to go on, written after each epoch.
        best_folder: is given the network of the best epoch so far.
        on_epoch: is told of each epoch.

    Raises:
        UserError: the state is another run's or damaged, training diverged, or the disk is full.
    """
    if len(train.pixels) < 2:
        raise UserError("one image is not enough to train on: label more images of train")
    identity = _identity(settings, train, dev, label_names)
    torch.manual_seed(settings.seed)
    network = _network(settings, label_names)
    optimizer = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    progress = _restored(state, identity, network, optimizer)
    for epoch in range(len(progress.epochs) + 1, settings.epochs + 1):
        began = time.monotonic()
        loss = _train_epoch(settings, epoch, network, optimizer, train)
        if not math.isfinite(loss):
            state.unlink(missing_ok=True)  # to go on from there would end as this did
            raise UserError(f"the training diverged in epoch {epoch} (loss {loss}): lower --learning-rate")
        accuracy = dev_accuracy(network, dev, train.exclusive)
        best = progress.best
        done = Epoch(epoch, loss, accuracy, time.monotonic() - began)
        with full_disk_told(state):
            if best is None or accuracy > best.dev_accuracy:
                _save_network(best_folder, network, settings)
            progress.epochs.append(done)
            _save_state(state, identity, network, optimizer, progress)
        on_epoch(done)
    return progress


def processor(image_size: int) -> Any:
    """What is done to images of any size and shape: the shorter side scaled, the middle taken."""
    return ConvNextImageProcessorPil(
        size={"shortest_edge": image_size}, crop_pct=1.0, image_mean=MEAN, image_std=DEVIATION
    )


def _network(settings: ClassifierSettings, label_names: Sequence[str]) -> ConvNet:
    config = ConvNetConfig(
        settings.channels,
        settings.blocks,
        id2label=dict(enumerate(label_names)),
        label2id={name: k for k, name in enumerate(label_names)},
    )
    return ConvNet(config)


def _train_epoch(
    settings: ClassifierSettings,
    epoch: int,
    network: ConvNet,
    optimizer: torch.optim.Optimizer,
    train: LabelledImages,
) -> float:
    """Mean loss of the updates of an epoch, whose randomness depends on the seed and its number alone.

    A loss that is not finite ends it before the update, and is returned.
    """
    generator = np.random.default_rng((settings.seed, epoch))
    order = generator.permutation(len(train.pixels))
    # a last batch of one image would have no variance for the batch's normalisation
    starts = range(0, len(order) - 1, settings.batch_size)
    network.train()
    total = 0.0
    for number, start in enumerate(starts):
        rows = order[start : start + settings.batch_size]
        pixels = changed(train.pixels[rows], settings.shift, settings.symmetries, generator)
        logits = network(pixel_values=normalised(pixels)).logits
        loss = _loss(logits, torch.from_numpy(train.labels[rows]), train.exclusive, settings.label_smoothing)
        total += loss.item()
        if not math.isfinite(total):
            break
        done = ((epoch - 1) * len(starts) + number) / (settings.epochs * len(starts))
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * rate_factor(done)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return total / len(starts)


def rate_factor(done: float) -> float:
    """Learning rate over its highest, after a share of the updates: up linearly, down to 0 by a cosine."""
    if done < WARM_UP:
        return (done + 1e-3) / (WARM_UP + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))


def changed(
    pixels: NDArray[np.uint8],
    shift: int,
    symmetries: Literal["none", "mirror", "all"],
    generator: np.random.Generator,
) -> NDArray[np.uint8]:
    """A batch [B 3 S S] moved by up to ``shift`` pixels, borders repeated, and turned or mirrored."""
    B, _, S, _ = pixels.shape
    wide = np.pad(pixels, ((0, 0), (0, 0), (shift, shift), (shift, shift)), mode="edge")
    moved = generator.integers(0, 2 * shift + 1, (B, 2))
    mirrored = generator.integers(0, 1 if symmetries == "none" else 2, (B,))
    quarters = generator.integers(0, 4 if symmetries == "all" else 1, (B,))
    made = np.empty_like(pixels)
    for i, (down, right) in enumerate(moved.tolist()):
        one = wide[i, :, down : down + S, right : right + S]
        one = one[:, :, ::-1] if mirrored[i] else one
        made[i] = np.rot90(one, quarters[i], axes=(1, 2))
    return made


def normalised(pixels: NDArray[np.uint8]) -> Tensor:
    """Pixels [B 3 S S] as the network takes them, as the saved processor makes them."""
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, DEVIATION))
    return (torch.from_numpy(pixels).float() / 255 - mean) / deviation


def _loss(logits: Tensor, labels: Tensor, exclusive: bool, smoothing: float) -> Tensor:
    if exclusive:
        return F.cross_entropy(logits, labels, label_smoothing=smoothing)
    return F.binary_cross_entropy_with_logits(logits, labels)


def dev_accuracy(network: ConvNet, dev: LabelledImages, exclusive: bool) -> float:
    """Share of images whose label is found; where they have several, F1 over all labels of all images."""
    network.eval()
    right = said = true = 0.0
    with torch.inference_mode():
        for start in range(0, len(dev.pixels), 256):
            logits = network(pixel_values=normalised(dev.pixels[start : start + 256])).logits
            labels = torch.from_numpy(dev.labels[start : start + 256])
            top = torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1])
            found = top.to(labels) if exclusive else (logits > 0).to(labels)
            right += float((found * labels).sum())
            said += float(found.sum())
            true += float(labels.sum())
    return 2 * right / max(said + true, 1.0)


def _identity(
    settings: ClassifierSettings, train: LabelledImages, dev: LabelledImages, label_names: Sequence[str]
) -> str:
    content = hashlib.sha256()
    for part in (train, dev):
        content.update(part.pixels.tobytes())
        content.update(part.labels.tobytes())
    return digest(
        {
            "settings": settings.model_dump(mode="json", include=set(ClassifierSettings.model_fields)),
            "labels": list(label_names),
            "images": content.hexdigest(),
        }
    )


def _save_network(folder: Path, network: ConvNet, settings: ClassifierSettings) -> None:
    # a kill between two of its files is mended by the epoch, which is then done again
    network.save_pretrained(folder)
    processor(settings.image_size).save_pretrained(folder)
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _save_state(
    path: Path,
    identity: str,
    network: ConvNet,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
) -> None:
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in state.items()}
    epochs = json.dumps([[e.epoch, e.loss, e.dev_accuracy, e.seconds] for e in progress.epochs])
    aside = path.with_suffix(".part")
    save_file(tensors, aside, {"identity": identity, "epochs": epochs})
    with aside.open("rb") as file:
        os.fsync(file.fileno())
    aside.replace(path)
    sync(path.parent)


def _restored(
    path: Path,
    identity: str,
    network: ConvNet,
    optimizer: torch.optim.Optimizer,
) -> Progress:
    """Load the state of a run that broke off into network and optimizer; nothing where there is none."""
    if not path.exists():
        return Progress()
    remedy = f"remove {path.parent} to train afresh"
    try:
        with safe_open(regular(path), framework="pt") as file:
            metadata: Mapping[str, str] = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        if metadata["identity"] != identity:
            raise UserError(
                f"{path} is of a run with other settings or images: give another --output-dir, or {remedy}"
            )
        network.load_state_dict(_below("network.", tensors))
        _restore_optimizer(optimizer, _below("optimizer.", tensors))
        rows = TypeAdapter(list[tuple[int, float, float, float]]).validate_json(metadata["epochs"])
        return Progress([Epoch(*row) for row in rows])
    except UserError:
        raise
    except Exception as error:  # of a Rust library and of torch
        raise UserError(f"{path} is damaged ({error}): {remedy}") from error


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Raises ValueError where a tensor is not of its parameter's shape."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    for parameter in (p for group in optimizer.param_groups for p in group["params"]):
        of_parameter = optimizer.state[parameter]
        shapes = {key: tensor.shape for key, tensor in of_parameter.items()}
        whole = dict.fromkeys(("exp_avg", "exp_avg_sq"), parameter.shape)
        if shapes != {"step": torch.Size(), **whole}:
            raise ValueError(f"the optimiser's tensors are {shapes}")


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
