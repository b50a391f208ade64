"""The words a proposal may use: V' = V - 4, every word of the target vocabulary but pad, bos, eos and unk."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from raysq.config import UserError
from raysq.types import SPECIALS

FIRST_WORD = len(SPECIALS)


def num_words(word_counts: NDArray[np.int64]) -> int:
    """V' of ``word_counts`` [V]. Raises UserError below 2, where no word can be replaced by another."""
    number = len(word_counts) - FIRST_WORD
    if number < 2:
        raise UserError(f"the target vocabulary has {number} words, proposals need 2: prepare more text")
    return number


def uniform_words(
    num_words: int, shape: int | tuple[int, ...], generator: np.random.Generator
) -> NDArray[np.int32]:
    """Uniform draws from the V' words, of a shape."""
    return generator.integers(FIRST_WORD, FIRST_WORD + num_words, shape, dtype=np.int32)


def num_different(words: NDArray[np.int32], num_words: int) -> NDArray[np.int64]:
    """How many of the V' words differ from each of ``words`` (any shape): V' - 1, and V' from unk."""
    return num_words - (words >= FIRST_WORD).astype(np.int64)


def different_words(
    words: NDArray[np.int32], num_words: int, generator: np.random.Generator
) -> NDArray[np.int32]:
    """For each of ``words`` (any shape) a uniform draw from those of the V' words that differ from it."""
    number = num_different(words, num_words)
    drawn = FIRST_WORD + (generator.random(words.shape) * number).astype(np.int32)
    drawn += (drawn >= words) & (number < num_words)  # step over the word itself
    return drawn
