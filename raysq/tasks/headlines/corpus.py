"""The demo's articles and headlines: drawing them, and what one headline scores against the others."""

from __future__ import annotations

import random
from collections.abc import Mapping

from raysq.config import UserError
from raysq.data.corpus import SplitName
from raysq.metrics import rouge_scores
from raysq.tasks.headlines.business import BUSINESS
from raysq.tasks.headlines.names import WORDS
from raysq.tasks.headlines.sport import SPORT
from raysq.tasks.headlines.template import Kind, draw_words, expand
from raysq.tasks.headlines.world import WORLD

DEFAULT_SIZES: Mapping[SplitName, int] = {"train": 6000, "dev": 500, "test": 500}
NUM_HEADLINES: Mapping[SplitName, int] = {"train": 1, "dev": 4, "test": 4}
"""Headlines drawn for an article of each split; equal ones count once."""
KINDS: tuple[Kind, ...] = (*BUSINESS, *WORLD, *SPORT)
MIN_HEADLINES = 3
"""Fewest different headlines of an article that has several."""
_ATTEMPTS_PER_ARTICLE = 50

Pairs = list[tuple[str, list[str]]]
"""Articles, each with its headlines."""


def generate_headlines(
    seed: int = 0, sizes: Mapping[SplitName, int] = DEFAULT_SIZES
) -> dict[SplitName, Pairs]:
    """The articles' first sentences with their headlines, lower-cased, digits as #, tokens parted by spaces.

    A training article has one headline, another has three or four, drawn independently of each other. No two
    articles are equal.

    Args:
        seed: the data seed; the text never changes with the seed of training.
        sizes: articles per split, of train, dev and test.

    Raises:
        UserError: if more articles are asked for than 50 attempts each yield.
    """
    draws = random.Random(seed)
    seen: set[str] = set()
    return {split: _draw_split(draws, size, NUM_HEADLINES[split], seen) for split, size in sizes.items()}


def _draw_split(draws: random.Random, size: int, num_headlines: int, seen: set[str]) -> Pairs:
    """``size`` articles that are not among those ``seen``, which they join."""
    pairs: Pairs = []
    for _ in range(_ATTEMPTS_PER_ARTICLE * size):
        if len(pairs) == size:
            return pairs
        article, headlines = _draw_pair(draws, num_headlines)
        if article not in seen and len(headlines) >= min(num_headlines, MIN_HEADLINES):
            seen.add(article)
            pairs.append((article, headlines))
    if len(pairs) == size:
        return pairs
    raise UserError(f"sizes: {len(pairs)} of {size} distinct articles were found; ask for fewer")


def _draw_pair(draws: random.Random, num_headlines: int) -> tuple[str, list[str]]:
    """An article and its different headlines."""
    kind = draws.choice(KINDS)
    words = {**WORDS, **draw_words(kind, draws)}
    article = expand(draws.choice(kind.articles), words, draws)
    headlines = [expand(draws.choice(kind.headlines), words, draws) for _ in range(num_headlines)]
    return article, list(dict.fromkeys(headlines))


def paraphrase_ceiling(pairs: Pairs) -> dict[str, float]:
    """``rouge1``, ``rouge2``, ``rougeL`` and their mean ``rouge`` of a headline against the article's others.

    F in percent, as `rouge_scores` counts it, against the best of the others: an editor's score, so to say. A
    model that writes what most would write, not what one wrote, can exceed it.

    Args:
        pairs: articles with several headlines each.
    """
    scores = rouge_scores([headlines[0] for _, headlines in pairs], [headlines[1:] for _, headlines in pairs])
    return {name: scores[name] for name in ("rouge1", "rouge2", "rougeL", "rouge")}
