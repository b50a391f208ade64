"""RAML by edit distance: the stratified sampler of Norouzi et al. 2016 (as in Nematus), in closed form.

Published: draw a number of edits e with P(e) ~ N(e) exp(-e / tau'), N(e) an approximate count of the
sequences at edit distance e from the T words of y*; given e, draw s substitutions and e - s insertions by
their share in

    N(e) = V'^e sum_{s = 0}^{min(T, e)} C(T, s) C(T + e - 2 s, e - s)

where s positions are substituted and the e - s insertions go, any number to each, into the T + 1 - s gaps
that are not just before a substituted word; a substitution that falls on the last word means: delete an
earlier word.

With x = V' exp(-1 / tau') each edit weighs x, and the sum over e of N(e) exp(-e / tau') is a product over
words,

    sum_e x^e sum_s C(T, s) C(T + e - 2 s, e - s) = [1 / (1 - x) + x]^T / (1 - x)

whose factors are drawn independently, with no table, for x < 1. So the procedure is:

1. Each word is *marked* with probability b = x / (1 / (1 - x) + x), independently; a = 1 - b.
2. The gap before each word that is not marked, and the gap at the end, take k words, P(k) = (1 - x) x^k.
3. A marked word is substituted by a uniform different word; inserted words are uniform over the V' words.
4. A mark on the last word leaves it as it is and deletes one of the T - 1 earlier words, uniformly,
   substituted or not (what was inserted before it stays); with T = 1 nothing is deleted.

The number of edits (marks and insertions) has exactly the published P(e). The density of the procedure,
summed over all ways to y, is a forward recursion over (words of y* read, words of y written, deleted or
not).

tau' = tau / (1 + ln V') if rescaled: x = V'^(1 - 1/tau) exp(-1 / tau), so that tau < 1 means about the same
for every vocabulary. Else tau' = tau, which needs tau < 1 / ln V'.

Departures. (1) e has no upper bound (Norouzi et al.: T); tau must make x < 1. (2) A substituted word
differs from the one before (V' words differ from an unk). (3) The last word is never changed, and a single
word stays; Nematus always replaces a single word. (4) The split into s and e - s is N(e)'s; Nematus tosses
a fair coin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from raysq.arrays import read_only
from raysq.config import Config, UserError
from raysq.proposals.words import FIRST_WORD, different_words, num_different, num_words, uniform_words


class EditProposal(Config):
    """Words are substituted, inserted and deleted: RAML with the negative edit distance; a ``Proposal``."""

    temperature: float = Field(0.85, gt=0)
    """tau of exp(-distance / tau)."""
    rescaled: bool = True
    """Divide the temperature by 1 + ln V', so that it means the same for every vocabulary."""

    def edit_weight(self, num_words: int) -> float:
        """x of the module for a vocabulary of V' words. Raises UserError where it is not below 1."""
        log_words = math.log(num_words)
        log_x = log_words - (1 + log_words * self.rescaled) / self.temperature
        if log_x >= 0:
            limit = (1 + log_words * self.rescaled) / log_words
            raise UserError(
                f"temperature {self.temperature:g} would insert words without end: set it below {limit:.5g}"
            )
        return math.exp(log_x)

    def draw(
        self,
        reference: NDArray[np.int32],
        num: int,
        word_counts: NDArray[np.int64],
        generator: np.random.Generator,
    ) -> list[NDArray[np.int32]]:
        """``num`` independent draws: see ``Proposal``."""
        T, V = len(reference), num_words(word_counts)
        x = self.edit_weight(V)
        marked = np.zeros((num, T + 1), np.bool_)
        marked[:, :T] = generator.random((num, T)) < _mark_rate(x)
        stays = np.ones((num, T + 1), np.bool_)
        stays[:, T] = False  # the gap at the end has no word
        inserted = generator.geometric(1 - x, (num, T + 1)) - 1
        inserted[marked] = 0
        if T > 1:
            deleting = np.flatnonzero(marked[:, T - 1])
            stays[deleting, generator.integers(T - 1, size=len(deleting))] = False
        words = np.repeat(np.append(reference, np.int32(0))[None], num, axis=0)
        marked[:, T - 1 :] = False
        words[marked] = different_words(words[marked], V, generator)
        ends = np.cumsum(inserted + stays).reshape(num, T + 1)
        written = uniform_words(V, int(ends[-1, -1]) if num else 0, generator)
        written[ends[stays] - 1] = words[stays]  # a word follows what was inserted before it
        bounds = [0, *ends[:, T].tolist()]
        return [written[bounds[i] : bounds[i + 1]] for i in range(num)]

    def log_density(
        self,
        sequences: Sequence[NDArray[np.int32]],
        reference: NDArray[np.int32],
        word_counts: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """log q0 of each sequence, exact: see ``Proposal``."""
        V = num_words(word_counts)
        x = self.edit_weight(V)
        bounds = np.zeros(len(sequences) + 1, np.int64)
        np.cumsum([len(words) for words in sequences], out=bounds[1:])
        return edit_density_kernel(
            read_only(np.concatenate([*sequences, reference[:0]])),
            read_only(bounds),
            read_only(reference),
            read_only(num_different(reference, V)),
            V,
            x,
            _mark_rate(x),
        )


def _mark_rate(x: float) -> float:
    """b = x / (1 / (1 - x) + x): the probability that a word is marked."""
    return x * (1 - x) / (1 + x * (1 - x))


@numba.njit(cache=True, nogil=True)
def edit_density_kernel(
    words: NDArray[np.int32],
    bounds: NDArray[np.int64],
    reference: NDArray[np.int32],
    num_different: NDArray[np.int64],
    num_words: int,
    x: float,
    mark_rate: float,
) -> NDArray[np.float64]:
    """log q0 of the sequences ``words[bounds[i]:bounds[i + 1]]``; the recursion of the module's docstring.

    ``ways[d, j]`` is the probability that the words of y* read so far wrote y_{1:j}, with a deletion (d = 1)
    or not. It is scaled to a largest entry of 1 after each word, and the scale kept as a logarithm.
    """
    T = len(reference)
    densities = np.empty(len(bounds) - 1)
    for i in range(len(densities)):
        y = words[bounds[i] : bounds[i + 1]]
        ways = np.zeros((2, len(y) + 1))
        ways[0, 0] = 1.0
        scale = 0.0
        for t in range(T):
            following = np.zeros_like(ways)
            after_gap = _insert(ways, y, num_words, x)
            if t < T - 1:
                _read(ways, after_gap, following, y, reference[t], num_different[t], T, mark_rate)
            else:
                _read_last(ways, after_gap, following, y, reference[t], T, mark_rate)
            largest = following.max()
            if largest == 0.0:
                ways = following
                break
            ways = following / largest
            scale += math.log(largest)
        ways = _insert(ways, y, num_words, x)
        density = ways[0, -1] + ways[1, -1]
        densities[i] = math.log(density) + scale if density > 0 else -math.inf
    return densities


@numba.njit(cache=True, nogil=True)
def _insert(ways: NDArray[np.float64], y: NDArray[np.int32], num_words: int, x: float) -> NDArray[np.float64]:
    """``ways`` after a gap that may take any number of words."""
    after = (1 - x) * ways
    for d in range(2):
        for j in range(1, len(y) + 1):
            if y[j - 1] >= FIRST_WORD:
                after[d, j] += x / num_words * after[d, j - 1]
    return after


@numba.njit(cache=True, nogil=True)
def _read(
    ways: NDArray[np.float64],
    after_gap: NDArray[np.float64],
    following: NDArray[np.float64],
    y: NDArray[np.int32],
    word: int,
    num_different: int,
    T: int,
    mark_rate: float,
) -> None:
    """Into ``following``: an earlier word of y* is kept, substituted or deleted."""
    for j in range(len(y) + 1):
        deleted = (1 - mark_rate) * after_gap[0, j] + mark_rate * ways[0, j]
        following[1, j] += deleted / (T - 1)
        if j == len(y):
            continue
        for d in range(2):
            if y[j] == word:
                following[d, j + 1] += (1 - mark_rate) * after_gap[d, j]
            elif y[j] >= FIRST_WORD:
                following[d, j + 1] += mark_rate / num_different * ways[d, j]


@numba.njit(cache=True, nogil=True)
def _read_last(
    ways: NDArray[np.float64],
    after_gap: NDArray[np.float64],
    following: NDArray[np.float64],
    y: NDArray[np.int32],
    word: int,
    T: int,
    mark_rate: float,
) -> None:
    """Into ``following``: the last word of y* is written; its mark says that a word was deleted."""
    for j in range(len(y)):
        if y[j] != word:
            continue
        following[0, j + 1] += (1 - mark_rate) * after_gap[0, j]
        following[1, j + 1] += mark_rate * ways[1, j]
        if T == 1:
            following[0, j + 1] += mark_rate * ways[0, j]
