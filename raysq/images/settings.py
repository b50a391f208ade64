"""Settings of what this part trains; imports no torch, so that ``--help`` is quick."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from raysq.config import Config

Size = Annotated[int, Field(ge=1)]


class ClassifierSettings(Config):
    """The network and its schedule."""

    image_size: int = Field(64, ge=16)
    """Side of the square that the network sees; images are scaled and cropped to it [pixels]."""
    channels: tuple[Size, ...] = (32, 64, 128, 256)
    """Channels of the network's stages, each of which halves the image's sides but the first; a feature
    vector has twice the last number: the mean and the largest value of each channel."""
    blocks: tuple[Size, ...] = (1, 1, 1, 1)
    """3 x 3 convolutions of each stage."""
    epochs: int = Field(30, ge=1)
    """Passes over the training images [epochs]."""
    batch_size: int = Field(64, ge=2)
    """Images of an update [images]."""
    learning_rate: float = Field(0.002, gt=0)
    """Its highest value."""
    weight_decay: float = Field(0.05, ge=0)
    """Of AdamW."""
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    """Share of a label's probability that is spread over all of them; only where each image has one."""
    shift: int = Field(4, ge=0)
    """How far training images are moved at most, in both directions [pixels]."""
    symmetries: Literal["none", "mirror", "all"] = "none"
    """How training images are changed: mirror swaps left and right, all turns them by quarters too, which is
    right for views from above. Wrong where captions speak of sides."""
    seed: int = Field(1, ge=0)
    """Source of all randomness."""

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        if len(self.channels) != len(self.blocks):
            raise ValueError("`blocks` must have as many numbers as `channels`")
        least = smallest_side(len(self.channels))
        if self.image_size < least:
            raise ValueError(f"`image_size` must be {least} or more with so many `channels`")
        return self


def smallest_side(stages: int) -> int:
    """Of an image, for a `ConvNet`'s last stage to see something: all but the first halve it [pixels]."""
    return 2 ** (stages - 1)
