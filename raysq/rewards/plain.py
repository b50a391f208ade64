"""Plain-Python twins of the compiled kernels: the definitions, equation by equation."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from raysq.rewards.bleu import MAX_ORDER, BleuVariant
from raysq.types import UNK


def plain_prefix_bleu(
    hypothesis: Sequence[int],
    references: Sequence[Sequence[int]],
    *,
    variant: BleuVariant = "lin_och_all",
    match_unknown: bool = False,
) -> list[float]:
    """``plain_sentence_bleu`` of y_{1:1}, .., y_{1:T}: what a row of ``prefix_bleu`` holds."""
    return [
        plain_sentence_bleu(hypothesis[:t], references, variant=variant, match_unknown=match_unknown)
        for t in range(1, len(hypothesis) + 1)
    ]


def plain_sentence_bleu(
    hypothesis: Sequence[int],
    references: Sequence[Sequence[int]],
    *,
    variant: BleuVariant = "lin_och_all",
    match_unknown: bool = False,
) -> float:
    """BLEU = BP (p_1 p_2 p_3 p_4)^(1/4), the precisions smoothed as ``raysq.rewards.bleu`` defines."""
    if len(hypothesis) == 0:
        return 0.0
    precisions = []
    for n in range(1, MAX_ORDER + 1):
        added = 1 if n > 1 or variant == "lin_och_all" else 0
        matches = clipped_matches(hypothesis, references, n, match_unknown=match_unknown)
        candidates = max(len(hypothesis) - n + 1, 0)
        precisions.append((matches + added) / (candidates + added))
    return brevity_penalty(len(hypothesis), references) * math.prod(precisions) ** (1 / MAX_ORDER)


def clipped_matches(
    hypothesis: Sequence[int], references: Sequence[Sequence[int]], n: int, *, match_unknown: bool
) -> int:
    """m_n = sum over distinct n-grams g of min(count_g(hypothesis), max over references of count_g)."""
    highest: Counter[tuple[int, ...]] = Counter()
    for reference in references:
        highest |= ngrams(reference, n)  # the larger count of each
    return sum(
        min(count, highest[ngram])
        for ngram, count in ngrams(hypothesis, n).items()
        if match_unknown or UNK not in ngram
    )


def ngrams(words: Sequence[int], n: int) -> Counter[tuple[int, ...]]:
    """How often each n-gram occurs."""
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def brevity_penalty(num_words: int, references: Sequence[Sequence[int]]) -> float:
    """BP = exp(min(0, 1 - T*/t)), T* the reference length closest to t, ties to the shorter."""
    closest = min((len(reference) for reference in references), key=lambda T: (abs(T - num_words), T))
    return math.exp(min(0.0, 1 - closest / num_words))
