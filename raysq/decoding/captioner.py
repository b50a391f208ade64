"""Features of images in, words out: a policy that reads images, with its vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raysq.config import DecodingConfig
from raysq.data.vocabulary import Vocabulary
from raysq.decoding.beam import Hypothesis, beam_search
from raysq.models import EncoderDecoder
from raysq.types import UNK


class Caption(NamedTuple):
    """A decoded caption."""

    words: list[str]
    log_prob: float
    """Of the sequence as it was decoded, with unknown words and eos."""


@dataclass(frozen=True, slots=True)
class ImageCaptioner:
    """Captions images with a policy, as their features describe them."""

    policy: EncoderDecoder
    vocabulary: Vocabulary
    decoding: DecodingConfig
    drop_unknown: bool = False
    """Leave unknown words out, which otherwise stay as ``<unk>``."""

    def caption(self, features: NDArray[np.float32]) -> list[Caption]:
        """The best caption of each image; features [n, F]."""
        source = torch.from_numpy(features).unsqueeze(1).to(self.policy.output.weight.device)
        batches = source.split(self.decoding.batch_size)
        return [caption for batch in batches for caption in self._caption_batch(batch)]

    @torch.no_grad()
    def _caption_batch(self, source: Tensor) -> list[Caption]:
        found = beam_search(
            self.policy,
            self.policy.encode(source, source.new_ones(source.shape[:2], dtype=torch.bool)),
            beam_size=self.decoding.beam_size,
            max_length=self.decoding.max_length,
            length_exponent=self.decoding.length_normalisation,
        )
        return [self._told(best) for best, *_ in found]

    def _told(self, hypothesis: Hypothesis) -> Caption:
        tokens, score = hypothesis
        log_prob = score * (len(tokens) + 1) ** self.decoding.length_normalisation
        kept = [token for token in tokens if token != UNK] if self.drop_unknown else tokens
        return Caption(self.vocabulary.decode(kept), log_prob)
