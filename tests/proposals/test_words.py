import numpy as np
import pytest

from raysq.config import UserError
from raysq.proposals.words import different_words, num_different, num_words, uniform_words


def test_num_words_leaves_the_specials_out() -> None:
    assert num_words(np.zeros(7, np.int64)) == 3


@pytest.mark.parametrize("V", [0, 4, 5])
def test_a_vocabulary_too_small(V: int) -> None:
    with pytest.raises(UserError, match="proposals need 2"):
        num_words(np.zeros(V, np.int64))


def test_uniform_words_reach_every_word_alike() -> None:
    drawn = uniform_words(3, (2, 30_000), np.random.default_rng(1))
    counts = np.bincount(drawn.ravel(), minlength=8)
    assert counts[[0, 1, 2, 3, 7]].tolist() == [0] * 5
    assert (abs(counts[4:7] - 20_000) < 5 * (60_000 * 2 / 9) ** 0.5).all()


@pytest.mark.parametrize(("word", "others"), [(4, [5, 6]), (5, [4, 6]), (6, [4, 5]), (3, [4, 5, 6])])
def test_different_words_are_uniform_over_the_others(word: int, others: list[int]) -> None:
    words = np.full(30_000, word, np.int32)
    assert (num_different(words, 3) == len(others)).all()
    values, counts = np.unique(different_words(words, 3, np.random.default_rng(1)), return_counts=True)
    assert values.tolist() == others
    p = 1 / len(others)
    assert (abs(counts - 30_000 * p) < 5 * (30_000 * p * (1 - p)) ** 0.5).all()
