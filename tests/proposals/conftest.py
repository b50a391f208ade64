"""Every proposal with settings that make each of its branches common in a tiny vocabulary."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from raysq.proposals import (
    BoundedHamming,
    EditProposal,
    HammingReplacement,
    NgramReplacement,
    Proposal,
    UniformNoise,
    UnigramNoise,
)
from raysq.types import EOS, PAD, Batch

PROPOSALS: dict[str, Proposal] = {
    "ngram": NgramReplacement(),
    "ngram-adaptive": NgramReplacement(length="adaptive", max_len=7),
    "ngram-unprotected": NgramReplacement(protect_last=False),
    "ngram-adaptive-unprotected": NgramReplacement(length="adaptive", max_len=7, protect_last=False),
    "hamming": HammingReplacement(rate=0.3),
    "hamming-protected": HammingReplacement(protect_last=True),
    "uniform": UniformNoise(rate=0.4),
    "unigram": UnigramNoise(rate=0.5),
    "bounded": BoundedHamming(max_share=0.7),
    "edit": EditProposal(temperature=0.7),
}
WORD_COUNTS = np.array([7, 8, 9, 9, 5, 1, 2])
REFERENCES = [[4, 5, 6], [6], [4, 3, 5, 6, 4], [5, 3]]


@pytest.fixture(params=PROPOSALS.values(), ids=PROPOSALS.keys())
def proposal(request: pytest.FixtureRequest) -> Proposal:
    return request.param


def _padded(rows: list[list[int]]) -> torch.Tensor:
    width = max(map(len, rows)) + 1
    return torch.tensor([[*row, EOS, *[PAD] * (width - len(row) - 1)] for row in rows])


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """Examples of the four, by id, in an order."""

    def make(*example_ids: int) -> Batch:
        words = [REFERENCES[i] for i in example_ids]
        ids = _padded(words)
        return Batch(
            example_ids=torch.tensor(example_ids),
            source=ids,
            source_mask=ids != PAD,
            reference=ids,
            reference_mask=ids != PAD,
            references=[[np.array(row, np.int32)] for row in words],
            global_size=len(example_ids),
            offset=0,
            longest_reference=7,
            word_counts=WORD_COUNTS,
        )

    return make
