"""Small images and a small network, for tests."""

import numpy as np
import torch
from PIL import Image
from transformers import ResNetConfig, ResNetForImageClassification

from raysq.images.classifier import processor


def write_images(folder, names, size=20):
    """Images of noise, which differ."""
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 256, (size, size + 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)


def save_weights(folder, seed=1, image_size=16):
    """A ResNet of a few thousand parameters with a head, which features do without."""
    torch.manual_seed(seed)
    config = ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", num_labels=3
    )
    ResNetForImageClassification(config).save_pretrained(folder)
    processor(image_size).save_pretrained(folder)
    return str(folder)
