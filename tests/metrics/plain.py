"""The metrics from their definitions, sentence by sentence, as fractions (CIDEr in [0, 10])."""

import functools
import itertools
import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Sequence

Words = tuple[str, ...]


def reference_words(text: str) -> Words:
    """An unknown word of a reference is equal to nothing but itself."""
    return tuple("unknown word of the reference" if word == "<unk>" else word for word in text.split())


def ngrams(words: Words, n: int) -> Counter[Words]:
    return Counter(words[i : i + n] for i in range(len(words) - n + 1))


def bleu(hypotheses: Sequence[str], references: Sequence[Sequence[str]], max_order: int = 4) -> float:
    """multi-bleu.perl with several references."""
    correct, total = [0] * max_order, [0] * max_order
    words = words_of_references = 0
    for hypothesis, of_one in zip(hypotheses, references, strict=True):
        ours, theirs = tuple(hypothesis.split()), [reference_words(text) for text in of_one]
        words += len(ours)
        lengths = sorted(len(reference) for reference in theirs)
        words_of_references += min(lengths, key=lambda length: abs(length - len(ours)))
        for n in range(1, max_order + 1):
            for ngram, count in ngrams(ours, n).items():
                total[n - 1] += count
                correct[n - 1] += min(count, max(ngrams(reference, n)[ngram] for reference in theirs))
    if 0 in correct:
        return 0.0
    brevity = math.exp(1 - words_of_references / words) if words < words_of_references else 1.0
    return brevity * math.prod(c / t for c, t in zip(correct, total, strict=True)) ** (1 / max_order)


@functools.cache
def longest_common_subsequence(x: Words, y: Words) -> int:
    """The longest of all subsequences of the shorter that are one of the other: by the definition."""
    if not x or not y:
        return 0
    if x[-1] == y[-1]:
        return 1 + longest_common_subsequence(x[:-1], y[:-1])
    return max(longest_common_subsequence(x[:-1], y), longest_common_subsequence(x, y[:-1]))


def f_measure(precision: float, recall: float, beta: float = 1.0) -> float:
    if precision * recall == 0:
        return 0.0
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision)


def coco_rouge_l(hypothesis: str, references: Sequence[str]) -> float:
    """F of the best precision and the best recall, whichever references they come from; beta is 1.2."""
    words, theirs = tuple(hypothesis.split()), [reference_words(text) for text in references]
    if not words:
        return 0.0
    common = [longest_common_subsequence(words, reference) for reference in theirs]
    recalls = [c / len(reference) for c, reference in zip(common, theirs, strict=True) if reference]
    return f_measure(max(common) / len(words), max(recalls, default=0.0), 1.2)


def cider(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """CIDEr-D of every image: cosines of clipped counts, weighted by idf and punished by length."""
    words = [tuple(text.split()) for text in hypotheses]
    theirs = [[reference_words(text) for text in of_one] for of_one in references]
    found = []
    for ours, of_one in zip(words, theirs, strict=True):
        by_order = []
        for n in (1, 2, 3, 4):
            there = [set().union(*(ngrams(r, n) for r in of_image)) for of_image in theirs]

            def weights(text: Words, n: int = n, there: list[set[Words]] = there) -> dict[Words, float]:
                return {
                    g: count * math.log(len(there) / max(1, sum(g in image for image in there)))
                    for g, count in ngrams(text, n).items()
                }

            similar = [similarity(weights(ours), weights(r)) * length_factor(ours, r) for r in of_one]
            by_order.append(statistics.fmean(similar))
        found.append(10 * statistics.fmean(by_order))
    return found


def similarity(ours: dict[Words, float], theirs: dict[Words, float]) -> float:
    norms = math.hypot(*ours.values()) * math.hypot(*theirs.values())
    shared = sum(min(ours[g], theirs[g]) * theirs[g] for g in ours.keys() & theirs.keys())
    return shared / norms if norms else 0.0


def length_factor(ours: Words, theirs: Words) -> float:
    """Lengths are counted in pairs of words, so that none and one are equally long."""
    difference = max(len(ours) - 1, 0) - max(len(theirs) - 1, 0)
    return math.exp(-(difference**2) / (2 * 6.0**2))


def rouge(
    hypothesis: str,
    references: Sequence[str],
    over: Callable[[list[float]], float] = max,
    stem: Callable[[str], str] | None = None,
) -> list[float]:
    """F of ROUGE-1, ROUGE-2 and ROUGE-L of the words of letters and digits."""

    def words(text: str) -> Words:
        found = re.findall("[a-z0-9]+", text.lower())
        return tuple(stem(word) if stem and len(word) > 3 else word for word in found)

    ours = words(hypothesis)
    theirs = [words(re.sub("<unk>", "unknownreferenceword", text)) for text in references]
    f: list[list[float]] = [[], [], []]
    for reference in theirs:
        for n in (1, 2):
            a, b = (Counter(itertools.pairwise(w) if n == 2 else w) for w in (ours, reference))
            shared = (a & b).total()
            f[n - 1].append(f_measure(shared / max(a.total(), 1), shared / max(b.total(), 1)))
        common = longest_common_subsequence(ours, reference)
        f[2].append(f_measure(common / max(len(ours), 1), common / max(len(reference), 1)))
    return [over(of_kind) for of_kind in f]
