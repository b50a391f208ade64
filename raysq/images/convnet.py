"""A small convolutional network for small images, which no pretrained network has seen the like of.

A residual network's stem shrinks an image by four before anything is looked at, and its features are means
over positions: of a picture of 48 pixels too little is left. Here the first stage sees every pixel, stages
are parted by max-pooling, and features are the mean and the largest value of each channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel


class ConvNetConfig(PretrainedConfig):
    """Sizes of a `ConvNet`, as its ``config.json`` has them."""

    model_type = "raysq-convnet"

    def __init__(
        self, channels: Sequence[int] = (32, 64, 128, 256), blocks: Sequence[int] = (1, 1, 1, 1), **other: Any
    ) -> None:
        self.channels, self.blocks = list(channels), list(blocks)
        super().__init__(**other)


class ConvNetOutput(NamedTuple):
    """What it says of n images."""

    logits: Tensor
    """[n, labels]"""
    pooler_output: Tensor
    """[n, F] the features, F = 2 x channels of the last stage."""


class ConvNet(PreTrainedModel):
    """Stages of 3 x 3 convolutions, normalised by batch, with ReLU; 2 x 2 max-pooling between them."""

    config_class = ConvNetConfig
    main_input_name = "pixel_values"

    def __init__(self, config: ConvNetConfig) -> None:
        super().__init__(config)
        stages = []
        for (before, channels), blocks in zip(pairwise([3, *config.channels]), config.blocks, strict=True):
            sizes = pairwise([before, *[channels] * blocks])
            stages.append(nn.Sequential(*(_convolution(a, b) for a, b in sizes)))
        self.stages = nn.ModuleList(stages)
        self.classifier = nn.Linear(2 * config.channels[-1], config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """As torch draws them."""

    def forward(self, pixel_values: Tensor) -> ConvNetOutput:
        """Of images [n, 3, S, S]."""
        hidden = pixel_values
        for number, stage in enumerate(self.stages):
            hidden = stage(nn.functional.max_pool2d(hidden, 2) if number else hidden)
        pooled = torch.cat((hidden.mean((2, 3)), hidden.amax((2, 3))), dim=1)
        return ConvNetOutput(self.classifier(pooled), pooled)


def _convolution(before: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
    )
