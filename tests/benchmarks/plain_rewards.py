"""Plain Python loops over the prefixes of a hypothesis: baselines of the compiled rewards; see also
``raysq.rewards.plain``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise


def prefix_rouge(hypothesis: Sequence[int], reference: Sequence[int]) -> list[float]:
    """F_1 + F_2 + F_L (as ROUGE-1.5.5 computes them) of every prefix, each counted afresh."""
    of_words, of_pairs = Counter(reference), Counter(pairwise(reference))
    row, scores = [0] * (len(reference) + 1), []
    for t, word in enumerate(hypothesis, start=1):
        corner = 0
        for j, other in enumerate(reference, start=1):
            corner, row[j] = row[j], corner + 1 if word == other else max(row[j], row[j - 1])
        prefix = hypothesis[:t]
        words = (Counter(prefix) & of_words).total()
        pairs = (Counter(pairwise(prefix)) & of_pairs).total()
        lengths = t + len(reference)
        scores.append(2 * words / lengths + 2 * pairs / max(lengths - 2, 1) + 2 * row[-1] / lengths)
    return scores


def prefix_edit_distance(hypothesis: Sequence[int], reference: Sequence[int]) -> list[float]:
    """Minus the edit distance of every prefix, by rows of the table of distances."""
    row, scores = list(range(len(reference) + 1)), []
    for t, word in enumerate(hypothesis, start=1):
        corner, row[0] = row[0], t
        for j, other in enumerate(reference, start=1):
            corner, row[j] = row[j], min(corner + (word != other), row[j] + 1, row[j - 1] + 1)
        scores.append(-float(row[-1]))
    return scores
