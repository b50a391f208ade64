"""Densities of proposals: they sum to 1 over all sequences, and a million draws fall as they say."""

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from raysq.proposals import (
    BoundedHamming,
    EditProposal,
    HammingReplacement,
    NgramReplacement,
    Proposal,
    UniformNoise,
    UnigramNoise,
)
from raysq.proposals.base import Replacement

WORD_COUNTS = np.array([7, 8, 9, 9, 5, 1, 2])
V = len(WORD_COUNTS)
DRAWS = 1_000_000
PROPOSALS: dict[str, Replacement] = {
    "ngram": NgramReplacement(),
    "ngram-adaptive": NgramReplacement(length="adaptive", max_len=7),
    "ngram-unprotected": NgramReplacement(protect_last=False),
    "ngram-adaptive-unprotected": NgramReplacement(
        max_ngram=3, length="adaptive", max_len=7, protect_last=False
    ),
    "hamming": HammingReplacement(),
    "hamming-rate": HammingReplacement(rate=0.3, protect_last=True),
    "hamming-unscaled": HammingReplacement(temperature=0.5, rescaled=False),
    "uniform": UniformNoise(),
    "unigram": UnigramNoise(rate=0.5),
    "bounded": BoundedHamming(max_share=0.7),
}
WITHOUT_UNKNOWN, WITH_UNKNOWN, LAST_UNKNOWN = [4, 5, 4, 6, 5], [4, 3, 4, 6, 3], [6, 3]


@pytest.fixture(params=PROPOSALS.values(), ids=PROPOSALS.keys())
def proposal(request: pytest.FixtureRequest) -> Replacement:
    return request.param


def sequences(T: int, vocabulary: range = range(V)) -> list[NDArray[np.int32]]:
    """All of T words, in the order of their numbers in base V; pad, bos, eos and unk among them."""
    return list(np.array(list(product(vocabulary, repeat=T)), np.int32).reshape(len(vocabulary) ** T, T))


def assert_frequencies(counts: NDArray[np.int64], law: NDArray[np.float64]) -> None:
    """Every cell within 5 standard deviations, and nothing where the law has nothing."""
    deviation = np.sqrt(DRAWS * law * (1 - law))
    assert (counts[law == 0] == 0).all()
    # a cell met less than once in ten thousand runs of this test tells nothing by being met
    assert (abs(counts - DRAWS * law) <= 5 * deviation + (DRAWS * law < 1)).all()


@pytest.mark.parametrize("words", [WITHOUT_UNKNOWN, WITH_UNKNOWN, LAST_UNKNOWN, [4], [3], []], ids=str)
def test_densities_sum_to_one(proposal: Replacement, words: list[int]) -> None:
    reference = np.array(words, np.int32)
    log_law = proposal.log_density(sequences(len(words)), reference, WORD_COUNTS)
    assert np.exp(log_law).sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("words", [WITHOUT_UNKNOWN, WITH_UNKNOWN], ids=str)
def test_a_million_draws(proposal: Replacement, words: list[int]) -> None:
    reference = np.array(words, np.int32)
    law = np.exp(proposal.log_density(sequences(5), reference, WORD_COUNTS))
    rows = proposal.draw_rows(reference, DRAWS, WORD_COUNTS, np.random.default_rng(1))
    assert_frequencies(np.bincount(rows @ V ** np.arange(4, -1, -1), minlength=V**5), law)


@pytest.mark.parametrize("words", [[4, 5, 4], [3, 5], [4], []], ids=str)
def test_edit_distance(words: list[int]) -> None:
    """Two words in the vocabulary; sequences of more than 8 words are left out, and there are few."""
    proposal: Proposal = EditProposal(temperature=0.6)
    reference, counts = np.array(words, np.int32), np.ones(6, np.int64)
    of_lengths = [y for length in range(9) for y in sequences(length, range(3, 6))]
    law = np.exp(proposal.log_density(of_lengths, reference, counts))
    assert 1 - 1e-3 < law.sum() < 1 + 1e-12
    number = {y.tobytes(): i for i, y in enumerate(of_lengths)}
    drawn = proposal.draw(reference, DRAWS, counts, np.random.default_rng(1))
    cells = np.array([number.get(y.tobytes(), len(of_lengths)) for y in drawn])
    law = np.append(law, max(1 - law.sum(), 0))
    assert_frequencies(np.bincount(cells, minlength=len(law)), law)
