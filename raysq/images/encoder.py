"""A network that makes a feature vector of each image: pooled output, eval mode.

A residual network (He et al. 2016), or a `ConvNet` trained here. Weights are read by transformers, which
works where torchvision's operators do not load.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoImageProcessor, PretrainedConfig, ResNetModel
from transformers.utils import logging as transformers_logging

from raysq.config import UserError, digest
from raysq.images.convnet import ConvNet
from raysq.images.settings import smallest_side
from raysq.images.store import EncoderRecord
from raysq.options import alternatives

CONFIG, PROCESSOR, TENSORS = "config.json", "preprocessor_config.json", "model.safetensors"
FILES = (CONFIG, PROCESSOR, TENSORS)
"""What a folder of weights holds; nothing in them is code."""
MAX_SIDE = 2048
"""No network sees larger images: a number in a file may ask for any size [pixels]."""
NETWORKS = {"resnet": ResNetModel, "raysq-convnet": ConvNet}
"""By the model type in config.json."""
ARCHITECTURE = {
    "resnet": (
        "num_channels",
        "embedding_size",
        "hidden_sizes",
        "depths",
        "layer_type",
        "hidden_act",
        "downsample_in_first_stage",
        "downsample_in_bottleneck",
    ),
    "raysq-convnet": ("channels", "blocks"),
}
"""Settings of a network that say what its weights compute."""
PREPROCESSING = (
    "image_processor_type",
    "do_resize",
    "size",
    "resample",
    "crop_pct",
    "do_center_crop",
    "crop_size",
    "do_rescale",
    "rescale_factor",
    "rescale_offset",
    "do_normalize",
    "include_top",
    "image_mean",
    "image_std",
    "do_pad",
    "pad_size",
)
"""Settings of an image processor that say what it does to an image; which kind it is says in what order."""
_SIZES = ("size", "crop_size", "pad_size")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class ImageEncoder:
    """A network with frozen weights and what it asks of images."""

    record: EncoderRecord
    network: nn.Module
    processor: Any
    device: torch.device

    @classmethod
    def load(cls, weights: str, image_size: int | None = None, device: str = "cpu") -> ImageEncoder:
        """Read the network.

        Args:
            weights: a folder that ``save_pretrained`` wrote, a file in it, or a hub's ``OWNER/NAME``.
            image_size: side of the square that the network sees [pixels]; None: as its folder says.
            device: where it computes.

        Raises:
            UserError: the weights cannot be reached, are damaged or incomplete, are no ResNet's, or need
                larger images.
        """
        network, processor = _read(_local_folder(weights), weights)
        if image_size is not None:
            _resize(network.config, processor, image_size)
        network.eval().requires_grad_(False).to(device)
        with _readable(weights, PROCESSOR):
            encoder = cls(_record(weights, network, processor), network, processor, torch.device(device))
            pixels = encoder.pixels_of_black()
        with _readable(weights, TENSORS):
            if not np.isfinite(encoder.features([pixels])).all():
                raise ValueError("a black image has infinite features")
        return encoder

    def pixels(self, image: Image.Image) -> NDArray[np.float32]:
        """What the network sees of an RGB image. [3 S S]"""
        return np.asarray(self.processor(images=image, return_tensors="np")["pixel_values"][0], np.float32)

    def features(self, pixels: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Features of a batch [n, F]; on one device they depend on nothing but the batch.

        Raises UserError where ``pixels`` differ in shape.
        """
        if len({one.shape for one in pixels}) != 1:
            raise UserError(
                "preprocessor_config.json of the weights leaves images of several sizes: let it crop them"
            )
        batch = torch.from_numpy(np.stack(pixels)).to(self.device)
        exact = torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            pooled: Tensor = self.network(pixel_values=batch).pooler_output
        return pooled.flatten(1).cpu().numpy()

    def pixels_of_black(self) -> NDArray[np.float32]:
        """What the network sees of a black image, to try the settings of the processor.

        Raises ValueError, or what transformers does, where they let no image through.
        """
        sides = [side for name in _SIZES for side in dict(getattr(self.processor, name, None) or {}).values()]
        if not all(side is None or 1 <= side <= MAX_SIDE for side in sides):
            raise ValueError(f"image sides of {sides} pixels, not of 1 to {MAX_SIDE}")
        pixels = self.pixels(Image.new("RGB", (64, 64)))
        if not np.isfinite(pixels).all():
            raise ValueError("a black image has infinite pixels")
        digest(self.record.preprocessing)  # numbers that JSON has not
        return pixels


@contextmanager
def _readable(weights: str, name: str) -> Iterator[None]:
    """Raises UserError, which names the file, in place of what others' readers of it raise."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the readers of three files have exceptions of their own
        raise UserError(
            f"--weights {weights}: {name} cannot be read ({error or type(error).__name__}): fetch or make "
            "them again"
        ) from error


def quiet_transformers() -> None:
    """Keep it from printing: its bars and its remarks about unused heads are for interactive use."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def _local_folder(weights: str) -> Path:
    """The folder of the weights, fetched from the hub where ``weights`` is no path."""
    path = Path(weights).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        return path.parent
    if not _HUB_ID.fullmatch(weights):
        raise UserError(f"--weights {weights} is no folder, and no hub's OWNER/NAME: check it")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(weights, allow_patterns=list(FILES)))
    except Exception as error:  # of the hub, of the transport, of the disk
        said = " ".join(str(error).split())[:200]
        raise UserError(
            f"--weights {weights} is no folder here, and the hub does not give it ({said}): check the name "
            "and the network, or give a folder with its files"
        ) from error


def _read(folder: Path, weights: str) -> tuple[Any, Any]:
    """Network and image processor in a folder; ``weights`` is how messages name it."""
    quiet_transformers()
    for name in FILES:
        if not (folder / name).is_file():
            raise UserError(f"--weights {weights} lacks {name}: give a folder that save_pretrained wrote")
    with _readable(weights, TENSORS), safe_open(folder / TENSORS, framework="pt"):
        pass  # its header is whole, so that what is wrong further on is wrong with the settings
    with _readable(weights, CONFIG):
        kind = PretrainedConfig.get_config_dict(folder)[0].get("model_type")
        if kind not in tuple(NETWORKS):
            raise UserError(
                f"--weights {weights} is a {kind}, not {alternatives(NETWORKS)}: give a ResNet's weights, or "
                "what train_image_encoder.py wrote"
            )
        network, loading = NETWORKS[kind].from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            dtype=torch.float32,  # as images come, whatever the weights are stored in
        )
    with _readable(weights, PROCESSOR):
        processor = AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, backend="pil"
        )
    # transformers would draw tensors that are not there at random
    lacking = [str(name) for name in (*loading["missing_keys"], *loading["mismatched_keys"])]
    if lacking:
        raise UserError(
            f"--weights {weights} do not fit their config.json: {len(lacking)} tensors are missing or of "
            f"another shape, as {min(lacking)}: fetch or make them again"
        )
    return network, processor


def _resize(network: Any, processor: Any, side: int) -> None:
    if network.model_type == "raysq-convnet" and side < smallest_side(len(network.channels)):
        least = smallest_side(len(network.channels))
        raise UserError(f"--image-size {side}: these weights need {least} pixels or more")
    processor.size = dict.fromkeys(dict(processor.size), side)
    if getattr(processor, "do_center_crop", False):
        processor.crop_size = {"height": side, "width": side}


def _record(weights: str, network: Any, processor: Any) -> EncoderRecord:
    settings = json.loads(json.dumps(processor.to_dict()))  # without its enumerations
    config = network.config
    hub = _HUB_ID.fullmatch(weights) and not Path(weights).expanduser().exists()
    return EncoderRecord(
        weights=weights if hub else Path(weights).expanduser().resolve().name,
        weights_sha256=tensors_sha256(network),
        architecture={name: getattr(config, name) for name in ARCHITECTURE[config.model_type]},
        preprocessing={name: settings[name] for name in PREPROCESSING if settings.get(name) is not None},
        feature_size=config.hidden_sizes[-1] if config.model_type == "resnet" else 2 * config.channels[-1],
    )


def tensors_sha256(network: nn.Module) -> str:
    """sha256 of a network's tensors with their names, however they were stored."""
    found = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
