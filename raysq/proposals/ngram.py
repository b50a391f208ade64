"""One span of words replaced by uniform words: the sampler of Ma et al. 2017.

Tan et al. 2019 (ERPO) and Dai et al. 2018 (RAML and VAML) draw their samples with it.

Of the T words of y* the first F may be replaced: F = T - 1 with the last word protected, else T. The length
n of the span has a distribution p over 1..N, N = min(F, max_ngram); its start is uniform over F - n + 1
places; its n words are uniform over the V' words and may equal those they replace. Summed over the spans
that explain y,

    q0(y | y*) = sum_n p(n) k_n / (F - n + 1) V'^-n

where k_n is the number of spans of n words that cover all positions at which y and y* differ and none at
which y has a special (an unk of the reference that still stands was not replaced).

p is uniform, or ``adaptive`` (``sample_ngram_adapt`` of Ma et al.'s code): it peaks at b = 1 + floor(N T /
L) for the longest reference L; the other lengths have 1 / (N + 5) each. With F = 0 every draw is a copy of
y*.

Departures. (1) unk is never drawn (Ma et al., Tan et al. draw it). (2) A single protected word gives
copies, where the released samplers fail. (3) b is at most N, for references longer than L. (4) Dai et al.
protect nothing: ``protect_last`` off.
"""

from __future__ import annotations

from typing import Literal

import numba
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from raysq.arrays import read_only
from raysq.proposals.base import Replacement
from raysq.proposals.words import FIRST_WORD, num_words, uniform_words


class NgramReplacement(Replacement):
    """One span of words is replaced by uniform words."""

    max_ngram: int = Field(4, ge=1, le=50)
    """Longest span [words]."""
    length: Literal["uniform", "adaptive"] = "uniform"
    """Distribution of the span's length; adaptive: longer references mostly have longer spans."""
    max_len: int = Field(50, ge=1)
    """Longest reference, by which adaptive scales [words]."""
    protect_last: bool = True
    """Never replace the last word, mostly a full stop (Ma et al.; Dai et al. may replace it)."""

    def draw_rows(
        self,
        reference: NDArray[np.int32],
        num: int,
        word_counts: NDArray[np.int64],
        generator: np.random.Generator,
    ) -> NDArray[np.int32]:
        """Draws [num, T]."""
        T = len(reference)
        rows = np.repeat(reference[None], num, axis=0)
        lengths = self._lengths(T)
        uniforms = generator.random((2, num, 1))
        n = 1 + np.searchsorted(np.cumsum(lengths)[:-1], uniforms[0], side="right")
        starts = (uniforms[1] * (self._free(T) - n + 1)).astype(np.int64)
        sample, k = np.nonzero(np.arange(len(lengths)) < n)
        words = uniform_words(num_words(word_counts), len(sample), generator)
        rows[sample, starts[sample, 0] + k] = words
        return rows

    def rows_log_density(
        self, rows: NDArray[np.int32], reference: NDArray[np.int32], word_counts: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """log q0 [num] of rows [num, T]."""
        T = len(reference)
        F = self._free(T)
        lengths = self._lengths(T)
        if not len(lengths):
            return np.where((rows == reference).all(1), 0.0, -np.inf)
        n = np.arange(1, len(lengths) + 1)
        of_one_span = lengths / (F - n + 1) * float(num_words(word_counts)) ** -n
        with np.errstate(divide="ignore"):
            return np.log(count_spans(read_only(rows), read_only(reference), F, len(n)) @ of_one_span)

    def _free(self, T: int) -> int:
        """F: how many words may be replaced, the first ones."""
        return T - self.protect_last

    def _lengths(self, T: int) -> NDArray[np.float64]:
        """p [N] of the lengths 1..N; empty where nothing may be replaced."""
        N = max(min(self._free(T), self.max_ngram), 0)
        if self.length == "uniform" or N < 2:
            return np.full(N, 1 / max(N, 1))
        probabilities = np.full(N, 1 / (N + 5))
        peak = min(1 + N * T // self.max_len, N)
        probabilities[peak - 1] = 1 - (N - 1) / (N + 5)
        return probabilities


@numba.njit(cache=True, nogil=True)
def count_spans(rows: NDArray[np.int32], reference: NDArray[np.int32], F: int, N: int) -> NDArray[np.float64]:
    """k_n [num, N] of rows [num, T]: spans of n = 1..N of the first F words that explain each row."""
    counts = np.zeros((len(rows), N))
    for i in range(len(rows)):
        y = rows[i]
        changes = 0
        for t in range(len(reference)):
            changes += y[t] != reference[t]
        for start in range(F):
            covered = 0
            for t in range(start, min(start + N, F)):
                if y[t] < FIRST_WORD:
                    break  # never proposed: no span has it
                covered += y[t] != reference[t]
                counts[i, t - start] += covered == changes
    return counts
