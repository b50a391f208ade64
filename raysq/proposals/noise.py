"""Noise that treats every word by itself: each is replaced with probability rho by a draw from u.

    q0(y | y*) = prod_t [ (1 - rho) 1(y_t = y*_t) + rho u(y_t) ]

A draw may equal the word it replaces. u is uniform over the V' words for the oracle of VAML (Dai et al. 2018,
section 5.1; released code), and the training unigram distribution for data noising (Xie et al. 2017; Tan et
al. 2019, section 3.5).

Departures. (1) Tan et al.'s Eq. 9 counts a replacement only where the word differs; here, as in Xie et al.'s
process, u may draw the word itself. (2) Tan et al. do not give the rate: 0.1 is the design's choice.
(3) unk is replaced and never drawn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from raysq.config import UserError
from raysq.proposals.base import Replacement
from raysq.proposals.words import FIRST_WORD, num_words, uniform_words


class UniformNoise(Replacement):
    """Each word is replaced, at a rate, by a uniform word: the copies the VAML oracle learns from."""

    rate: float = Field(0.2, ge=0, le=1)
    """Probability that a word is replaced."""

    def draw_rows(
        self,
        reference: NDArray[np.int32],
        num: int,
        word_counts: NDArray[np.int64],
        generator: np.random.Generator,
    ) -> NDArray[np.int32]:
        """Draws [num, T]."""
        rows = np.repeat(reference[None], num, axis=0)
        replaced = generator.random(rows.shape) < self.rate
        rows[replaced] = uniform_words(num_words(word_counts), int(replaced.sum()), generator)
        return rows

    def rows_log_density(
        self, rows: NDArray[np.int32], reference: NDArray[np.int32], word_counts: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """log q0 [num] of rows [num, T]."""
        uniform = (rows >= FIRST_WORD) / num_words(word_counts)
        return _sum_of_logs((1 - self.rate) * (rows == reference) + self.rate * uniform)


class UnigramNoise(Replacement):
    """Each word is replaced, at a rate, by a word drawn as often as it occurs in training: data noising."""

    rate: float = Field(0.1, ge=0, le=1)
    """Probability that a word is replaced."""

    def draw_rows(
        self,
        reference: NDArray[np.int32],
        num: int,
        word_counts: NDArray[np.int64],
        generator: np.random.Generator,
    ) -> NDArray[np.int32]:
        """Draws [num, T]."""
        rows = np.repeat(reference[None], num, axis=0)
        replaced = generator.random(rows.shape) < self.rate
        running_total = np.cumsum(word_counts[FIRST_WORD:])
        drawn = generator.integers(_total(word_counts), size=np.count_nonzero(replaced))
        rows[replaced] = FIRST_WORD + np.searchsorted(running_total, drawn, side="right")
        return rows

    def rows_log_density(
        self, rows: NDArray[np.int32], reference: NDArray[np.int32], word_counts: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """log q0 [num] of rows [num, T]."""
        unigram = np.where(rows >= FIRST_WORD, word_counts[rows], 0) / _total(word_counts)
        return _sum_of_logs((1 - self.rate) * (rows == reference) + self.rate * unigram)


def _total(word_counts: NDArray[np.int64]) -> int:
    """Words of the training references, specials not counted. Raises UserError where there is none."""
    total = int(word_counts[FIRST_WORD:].sum())
    if total == 0:
        raise UserError("the training references have no words to draw noise from: prepare more text")
    return total


def _sum_of_logs(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """sum_t log p [num] of p [num, T]; -inf where a p is 0."""
    with np.errstate(divide="ignore"):
        return np.log(probabilities).sum(1)
