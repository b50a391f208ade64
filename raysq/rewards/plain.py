"""Plain-Python twins of the compiled kernels: the definitions, equation by equation."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Sequence

from raysq.rewards.bleu import BleuVariant
from raysq.types import UNK


def plain_prefix_bleu(
    hypothesis: Sequence[int],
    references: Sequence[Sequence[int]],
    *,
    variant: BleuVariant = "lin_och_all",
    match_unknown: bool = False,
    brevity_penalty: bool = True,
) -> list[float]:
    """``plain_sentence_bleu`` of y_{1:1}, .., y_{1:T}: what a row of ``prefix_bleu`` holds."""
    return [
        plain_sentence_bleu(
            hypothesis[:t],
            references,
            variant=variant,
            match_unknown=match_unknown,
            brevity_penalty=brevity_penalty,
        )
        for t in range(1, len(hypothesis) + 1)
    ]


def plain_sentence_bleu(
    hypothesis: Sequence[int],
    references: Sequence[Sequence[int]],
    *,
    variant: BleuVariant = "lin_och_all",
    match_unknown: bool = False,
    brevity_penalty: bool = True,
) -> float:
    """BLEU = BP (p_1 .. p_N)^(1/N), the precisions of the variant as ``raysq.rewards.bleu`` defines."""
    if len(hypothesis) == 0:
        return 0.0
    closest = closest_length(len(hypothesis), references)
    orders = min(4, len(hypothesis), closest) if variant == "mixer" else 4
    matches = [clipped_matches(hypothesis, references, n, match_unknown=match_unknown) for n in (1, 2, 3, 4)]
    candidates = [max(len(hypothesis) - n + 1, 0) for n in (1, 2, 3, 4)]
    precisions = smoothed_precisions(matches[:orders], candidates[:orders], variant)
    if orders == 0 or 0.0 in precisions:
        return 0.0
    score = math.prod(p ** (1 / orders) for p in precisions)
    if brevity_penalty and len(hypothesis) < closest:
        score *= math.exp(1 - (closest + (variant == "mixer")) / len(hypothesis))
    return score


def smoothed_precisions(
    matches: Sequence[int], candidates: Sequence[int], variant: BleuVariant
) -> list[float]:
    """p_1, .., p_N from m_n and c_n."""
    precisions = []
    without_match = 0
    for n, (m, c) in enumerate(zip(matches, candidates, strict=True), start=1):
        without_match += m == 0 and (c > 0 or variant == "nltk_m3")
        if variant in ("lin_och_all", "mixer") or (variant == "lin_och_n2" and n > 1):
            precisions.append((m + 1) / (c + 1))
        elif m > 0:
            precisions.append(m / c)
        elif variant == "bso":
            precisions.append(0.5**without_match / c if c > 0 else 1.0)
        elif n == 1:
            precisions.append(0.0)
        elif variant == "nltk_m0_32":
            precisions.append(1.0)
        elif variant == "nltk_m0_33":
            precisions.append(sys.float_info.min)
        else:
            precisions.append(0.5**without_match / max(c, 1))
    return precisions


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


def closest_length(num_words: int, references: Sequence[Sequence[int]]) -> int:
    """T*, the reference length closest to ``num_words``, ties to the shorter."""
    return min((len(reference) for reference in references), key=lambda T: (abs(T - num_words), T))
