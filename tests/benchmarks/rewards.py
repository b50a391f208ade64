"""Suite ``rewards``: time per pair of the compiled rewards, on one core.

A pair is a hypothesis of 25 words with a reference of 25; all of its 25 prefixes are scored. Baselines are
sacreBLEU's sentence BLEU (add-k, k = 1: our ``lin_och_n2``) called once a prefix, and a plain loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU

from raysq.rewards import (
    BleuVariant,
    EditDistance,
    PackedReferences,
    RewardFunction,
    Rouge,
    SentenceBleu,
    pack,
)
from raysq.rewards.plain import plain_prefix_bleu
from tests.benchmarks.inputs import random_pairs
from tests.benchmarks.measure import compare
from tests.benchmarks.plain_rewards import prefix_edit_distance, prefix_rouge
from tests.benchmarks.rows import Form, Row, timed_row
from tests.benchmarks.settings import BenchmarkSettings

SUITE = "rewards"
WORDS = 25
PLAIN_PAIRS = 5
"""Pairs that the slow baselines score: their time per pair does not depend on how many there are."""
CALLS = 100
"""Calls of a kernel in a run: one alone is too short for the clock."""
UNIT = "us per pair"
PlainLoop = Callable[[Sequence[int], Sequence[Sequence[int]]], Sequence[float]]


class Pairs:
    """The pairs of a batch, as kernels and as plain loops take them."""

    def __init__(self, settings: BenchmarkSettings, num_references: int) -> None:
        generator = np.random.default_rng(1)
        vocabulary_size = max(settings.vocabulary or (22_822,))
        self.hypotheses, self.references = random_pairs(
            generator, settings.batch_size, WORDS, num_references, vocabulary_size
        )
        self.lengths = np.full(len(self.hypotheses), WORDS)
        self.packed: PackedReferences = pack(self.references)
        self.plain = [
            (hypothesis.tolist(), [words.tolist() for words in of_one])
            for hypothesis, of_one in zip(self.hypotheses[:PLAIN_PAIRS], self.references, strict=False)
        ]

    def scores(self, reward: RewardFunction) -> NDArray[np.float64]:
        """[N, 25] of the compiled reward."""
        return reward.prefix_scores(self.hypotheses, self.lengths, self.packed)

    def kernel(self, reward: RewardFunction) -> Callable[[], None]:
        """A run of the compiled reward."""

        def run() -> None:
            for _ in range(CALLS):
                self.scores(reward)

        return run

    def loop(self, plain: PlainLoop) -> Callable[[], NDArray[np.float64]]:
        """A run of a plain loop; gives its scores."""
        return lambda: np.array([plain(hypothesis, references) for hypothesis, references in self.plain])

    @property
    def scale(self) -> float:
        """Of a kernel's run [us per pair and second]."""
        return 1e6 / (CALLS * len(self.hypotheses))

    @property
    def plain_scale(self) -> float:
        """Of a plain loop's run."""
        return 1e6 / len(self.plain)


def run(settings: BenchmarkSettings) -> list[Row]:
    """The rows; each baseline was seen to give the scores of what it is compared with."""
    pairs = Pairs(settings, num_references=1)
    rows = [against_sacrebleu(settings, pairs), three_references(settings, pairs)]
    for variant in get_args(BleuVariant):
        reward = SentenceBleu(variant=variant)
        rows.append(against_loop(settings, pairs, f"prefix_bleu_{variant}", reward, plain_bleu(variant)))
    rouge: PlainLoop = lambda hypothesis, references: prefix_rouge(hypothesis, references[0])  # noqa: E731
    edit: PlainLoop = lambda hypothesis, references: prefix_edit_distance(hypothesis, references[0])  # noqa: E731
    rows.append(against_loop(settings, pairs, "prefix_rouge", Rouge(), rouge))
    rows.append(against_loop(settings, pairs, "prefix_edit_distance", EditDistance(), edit))
    return rows


def against_sacrebleu(settings: BenchmarkSettings, pairs: Pairs) -> Row:
    """Prefix BLEU, and sacreBLEU called once a prefix."""
    metric = BLEU(smooth_method="add-k", smooth_value=1, tokenize="none", effective_order=True)

    def each_prefix(hypothesis: Sequence[int], references: Sequence[Sequence[int]]) -> list[float]:
        lines = [" ".join(map(str, words)) for words in references]
        words = [str(word) for word in hypothesis]
        prefixes = (" ".join(words[:t]) for t in range(1, len(words) + 1))
        return [metric.sentence_score(prefix, lines).score / 100 for prefix in prefixes]

    reward = SentenceBleu(variant="lin_och_n2")
    return against_loop(settings, pairs, "prefix_bleu", reward, each_prefix, baseline="sacrebleu_per_prefix")


def against_loop(
    settings: BenchmarkSettings,
    pairs: Pairs,
    name: str,
    reward: RewardFunction,
    plain: PlainLoop,
    baseline: str = "plain_loop",
) -> Row:
    """A compiled reward and a loop that gives the same scores."""
    loop, kernel = pairs.loop(plain), pairs.kernel(reward)
    np.testing.assert_allclose(pairs.scores(reward)[:PLAIN_PAIRS], loop(), rtol=1e-6, atol=1e-12)
    times = compare({name: kernel, baseline: loop}, settings.repeats)
    ours = Form(name, times[name], pairs.scale)
    return timed_row(settings, SUITE, ours, Form(baseline, times[baseline], pairs.plain_scale), unit=UNIT)


def three_references(settings: BenchmarkSettings, pairs: Pairs) -> Row:
    """Prefix BLEU against three references, and against one."""
    three, one = "prefix_bleu_three_references", "prefix_bleu_one_reference"
    more, reward = Pairs(settings, num_references=3), SentenceBleu()
    times = compare({three: more.kernel(reward), one: pairs.kernel(reward)}, settings.repeats)
    numbers = {"times_as_long": times[three].over(times[one]).median}
    ours, baseline = Form(three, times[three], more.scale), Form(one, times[one], pairs.scale)
    return timed_row(settings, SUITE, ours, baseline, unit=UNIT, numbers=numbers)


def plain_bleu(variant: BleuVariant) -> PlainLoop:
    """The definition, once a prefix."""
    return lambda hypothesis, references: plain_prefix_bleu(hypothesis, references, variant=variant)
