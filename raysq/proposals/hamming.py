"""Replacement by different words, counted by the Hamming distance e = |{t : y_t != y*_t}|.

``HammingReplacement`` is RAML (Norouzi et al. 2016) with the reward -e: q0(y) ~ exp(-e / tau). The V'^T
sequences factorise over positions, so that no table of distances is needed: each word is replaced
independently with probability rho by a uniform different word,

    rho = r / (1 + r),  r = (V' - 1) exp(-1 / tau'),
    tau' = tau / (1 + ln(V' - 1)) if rescaled, else tau

    log q0(y) = sum_t { log(1 - rho) where y_t = y*_t, else log rho - log(V' - 1) }

Rescaled is what the released samplers of Ma et al. and Nematus do: without it tau = 0.85 replaces every
word.

``BoundedHamming`` is alpha-DiMT's q0 (Koyamada et al. 2017, section 6): e uniform in 0..E, E = floor(share
T), e positions without replacement, each given a uniform different word,

    q0(y) = 1 / ((E + 1) C(T, e) (V' - 1)^e)  for e <= E.

Departures. (1) unk is never drawn; an unk of the reference is replaced by any of the V' words, which all
differ from it: V' stands for V' - 1 at its position (in q0, not in rho). (2) Ma et al. never replace the
last word: ``protect_last``, off by default. (3) The released alpha-DiMT counts bos and eos in T, may
overwrite them, and never draws the last three words of the vocabulary; here T are the words, and all can be
drawn.
"""

from __future__ import annotations

import math
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from raysq.proposals.base import Replacement
from raysq.proposals.words import FIRST_WORD, different_words, num_different, num_words


class HammingReplacement(Replacement):
    """Each word is replaced independently by a different one: RAML with the negative Hamming distance."""

    temperature: float = Field(0.85, gt=0)
    """tau of exp(-distance / tau); with rescaled, useful values are 0.8 to 0.95."""
    rescaled: bool = True
    """Divide the temperature by 1 + ln(V' - 1), so that it means the same for every vocabulary."""
    rate: float | None = Field(None, ge=0, le=1)
    """Probability that a word is replaced; none: what the temperature gives."""
    protect_last: bool = False
    """Never replace the last word, mostly a full stop (Ma et al.)."""

    @model_validator(mode="after")
    def _rate_or_temperature(self) -> Self:
        if self.rate is not None:
            for name in ("temperature", "rescaled"):
                self.refuse_change(name, "with `rate`")
        return self

    def replacement_rate(self, num_words: int) -> float:
        """rho for a vocabulary of V' words (at least 2)."""
        if self.rate is not None:
            return self.rate
        log_others = math.log(num_words - 1)
        log_r = log_others - (1 + log_others * self.rescaled) / self.temperature
        return math.exp(-np.logaddexp(0, -log_r))

    def draw_rows(
        self,
        reference: NDArray[np.int32],
        num: int,
        word_counts: NDArray[np.int64],
        generator: np.random.Generator,
    ) -> NDArray[np.int32]:
        """Draws [num, T]."""
        V = num_words(word_counts)
        rows = np.repeat(reference[None], num, axis=0)
        replaced = generator.random(rows.shape) < self.replacement_rate(V)
        if self.protect_last:
            replaced[:, -1:] = False
        rows[replaced] = different_words(rows[replaced], V, generator)
        return rows

    def rows_log_density(
        self, rows: NDArray[np.int32], reference: NDArray[np.int32], word_counts: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """log q0 [num] of rows [num, T]."""
        V = num_words(word_counts)
        rates = np.full(len(reference), self.replacement_rate(V))
        if self.protect_last:
            rates[-1:] = 0
        with np.errstate(divide="ignore"):
            kept = np.log1p(-rates)
            replaced = np.log(rates / num_different(reference, V))
        terms = np.where(rows == reference, kept, replaced)
        terms[(rows != reference) & (rows < FIRST_WORD)] = -np.inf
        return terms.sum(1)


class BoundedHamming(Replacement):
    """A uniform number of words, up to a share of them, is replaced by different ones: alpha-DiMT's q0."""

    max_share: float = Field(0.2, ge=0, le=1)
    """The largest share of the words that is replaced."""

    def most(self, T: int) -> int:
        """E = floor(share T); 0.29 of 100 is 29, whatever the product's rounding."""
        return math.floor(self.max_share * T + 1e-9)

    def draw_rows(
        self,
        reference: NDArray[np.int32],
        num: int,
        word_counts: NDArray[np.int64],
        generator: np.random.Generator,
    ) -> NDArray[np.int32]:
        """Draws [num, T]."""
        E = self.most(len(reference))
        rows = np.repeat(reference[None], num, axis=0)
        distances = generator.integers(E + 1, size=num)
        positions = np.argsort(generator.random(rows.shape), axis=1)[:, :E]
        sample, k = np.nonzero(np.arange(E) < distances[:, None])
        replaced = (sample, positions[sample, k])
        rows[replaced] = different_words(rows[replaced], num_words(word_counts), generator)
        return rows

    def rows_log_density(
        self, rows: NDArray[np.int32], reference: NDArray[np.int32], word_counts: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """log q0 [num] of rows [num, T]."""
        T = len(reference)
        E = self.most(T)
        changed = rows != reference
        distances = changed.sum(1)
        of_distance = np.full(T + 1, -np.inf)  # -log((E + 1) C(T, e))
        e = np.arange(E)
        of_distance[: E + 1] = -math.log(E + 1)
        of_distance[1 : E + 1] -= np.cumsum(np.log((T - e) / (e + 1)))
        of_words = changed @ np.log(num_different(reference, num_words(word_counts)))
        forbidden = (changed & (rows < FIRST_WORD)).any(1)
        return np.where(forbidden, -np.inf, of_distance[distances] - of_words)
