import functools
import itertools
import pickle
import statistics
from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError

from raysq.rewards import Rouge, pack
from raysq.rewards.rouge import rouge_extension_kernel, rouge_prefix_kernel
from raysq.rewards.scoring import ScoringBatch, payoffs, token_rewards
from raysq.types import PAD, UNK

SCORES = ("rouge_1", "rouge_2", "rouge_l", "sum")
VARIANTS = ("rouge155", "pltrdy_021")
OPTIONS = ((False, "best"), (True, "best"), (False, "mean"), (True, "mean"))
"""Whether unk matches unk, and what counts of several references."""
VOCABULARY = range(UNK, 12)  # the last words stand in no reference
A, B, C, D, E = 11, 12, 13, 14, 15


def plain_rouge(
    hypothesis, references, score="sum", variant="rouge155", match_unknown=False, over="best"
) -> float:
    """The best of the references or their mean, from the definitions in terms of P, R and beta."""
    parts = ("rouge_1", "rouge_2", "rouge_l") if score == "sum" else (score,)
    if not match_unknown:
        references = [
            ["unk of a reference" if w == UNK else w for w in reference] for reference in references
        ]
    scores = [sum(plain_f(part, list(hypothesis), ref, variant) for part in parts) for ref in references]
    return max(scores) if over == "best" else statistics.fmean(scores)


def plain_f(part: str, hypothesis: list, reference: list, variant: str) -> float:
    if part == "rouge_l":
        common = longest_common_subsequence(tuple(hypothesis), tuple(reference))
        beta = 1 if variant == "rouge155" or common == 0 else len(reference) / len(hypothesis)
        return f_measure(common, len(hypothesis), len(reference), beta)
    n = int(part[-1])
    ours, theirs = (Counter(itertools.pairwise(w) if n == 2 else w) for w in (hypothesis, reference))
    if variant == "pltrdy_021":
        ours, theirs = Counter(set(ours)), Counter(set(theirs))
    guard = 1e-8 if variant == "pltrdy_021" else 0
    return f_measure((ours & theirs).total(), ours.total(), theirs.total(), 1, guard)


def f_measure(matches: int, ours: int, theirs: int, beta: float, guard: float = 0) -> float:
    if matches == 0:
        return 0.0
    precision, recall = matches / ours, matches / theirs
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision + guard)


@functools.cache
def longest_common_subsequence(x: tuple, y: tuple) -> int:
    if not x or not y:
        return 0
    if x[-1] == y[-1]:
        return 1 + longest_common_subsequence(x[:-1], y[:-1])
    return max(longest_common_subsequence(x[:-1], y), longest_common_subsequence(x, y[:-1]))


def random_batch(count: int, seed: int):
    """Few words, so that n-grams repeat; lengths from 0; 1 to 5 references, some like the hypothesis."""
    rng = np.random.default_rng(seed)
    hypotheses = rng.integers(UNK, 12, (count, 10)).astype(np.int32)
    lengths = rng.integers(0, 11, count)
    references = []
    for hypothesis in hypotheses:
        of_one = [
            rng.integers(UNK, rng.integers(4, 10), rng.integers(0, 10)) for _ in range(rng.integers(1, 6))
        ]
        if rng.random() < 0.7:
            kept = rng.random(10) < 0.6
            of_one[0] = np.where(hypothesis < 10, hypothesis, 4)[kept]
        references.append([words.tolist() for words in of_one])
    return hypotheses, lengths, references


def rouge(hypothesis, *references, **options) -> float:
    """Score of the whole hypothesis."""
    words = np.array([hypothesis], np.int32)
    return Rouge(**options).prefix_scores(words, np.array([len(hypothesis)]), pack([references]))[0, -1]


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("match_unknown", "over"), OPTIONS)
def test_kernel_equals_plain_twin(score, variant, match_unknown, over):
    options = {"score": score, "variant": variant, "match_unknown": match_unknown, "over": over}
    reward = Rouge(**options)
    hypotheses, lengths, references = random_batch(300, seed=1)
    scores = reward.prefix_scores(hypotheses, lengths, pack(references))
    for row, words, length, of_one in zip(scores, hypotheses.tolist(), lengths, references, strict=True):
        plain = [plain_rouge(words[: min(t, length)], of_one, **options) for t in range(1, 11)]
        np.testing.assert_allclose(row, plain, rtol=1e-13, err_msg=f"{words} {of_one}")


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("match_unknown", "over"), OPTIONS)
def test_extension_rewards_equal_brute_force(score, variant, match_unknown, over):
    options = {"score": score, "variant": variant, "match_unknown": match_unknown, "over": over}
    prefixes, lengths, references = random_batch(100, seed=2)
    extensions = Rouge(**options).extension_rewards(prefixes, lengths, pack(references))
    for i, (length, of_one) in enumerate(zip(lengths, references, strict=True)):
        prefix, listed = prefixes[i, :length].tolist(), extensions.words[i]
        assert len(set(listed[listed != PAD])) == (listed != PAD).sum()
        assert (extensions.rewards[i][listed == PAD] == 0).all()
        ours = dict(zip(listed.tolist(), extensions.rewards[i], strict=True))
        before = plain_rouge(prefix, of_one, **options)
        for word in VOCABULARY:
            expected = plain_rouge([*prefix, word], of_one, **options) - before
            assert ours.get(word, extensions.default[i]) == pytest.approx(expected, abs=1e-13), (word, i)


def test_extensions_list_what_can_differ():
    prefixes, lengths = np.array([[UNK, 21, 22], [22, 21, UNK]], np.int32), np.array([2, 0])
    packed = pack([[[A, B, A], [UNK, C]], [[D]]])
    words = Rouge().extension_rewards(prefixes, lengths, packed).words
    assert [sorted(row) for row in words.tolist()] == [[A, B, C], [PAD, PAD, D]]
    words = Rouge(match_unknown=True).extension_rewards(prefixes, lengths, packed).words
    assert [sorted(row) for row in words.tolist()] == [[UNK, A, B, C], [PAD, PAD, PAD, D]]
    words = Rouge(variant="pltrdy_021").extension_rewards(prefixes, lengths, packed).words
    assert [sorted(row) for row in words.tolist()] == [[UNK, A, B, C, 21], [PAD] * 4 + [D]]


def test_a_repeated_word_of_no_reference_costs_nothing_in_sets():
    """y = a x x against a b: in sets the second x leaves P_1 = 1/2; a new word would make it 1/3."""
    prefix, lengths, packed = np.array([[A, 21]], np.int32), np.array([2]), pack([[[A, B]]])
    reward = Rouge(score="rouge_1", variant="pltrdy_021")
    extensions = reward.extension_rewards(prefix, lengths, packed)
    earned = dict(zip(extensions.words[0].tolist(), extensions.rewards[0], strict=True))
    assert earned[21] == 0
    assert extensions.default[0] == pytest.approx(2 / 5 - 1 / 2, abs=1e-8)
    assert earned[B] == pytest.approx(4 / 5 - 1 / 2, abs=1e-8)


def test_literal_scores_of_lin_2004():
    """Lin (2004), section 3: one shared bigram each, and the longer common subsequence decides."""
    police, killed, the, gunman, kill = range(11, 16)
    reference = [police, killed, the, gunman]
    second, third = [police, kill, the, gunman], [the, gunman, kill, police]
    assert rouge(second, reference, score="rouge_2") == rouge(third, reference, score="rouge_2") == 1 / 3
    assert rouge(second, reference, score="rouge_l") == 3 / 4
    assert rouge(third, reference, score="rouge_l") == 1 / 2
    assert rouge(second, reference) == pytest.approx(3 / 4 + 1 / 3 + 3 / 4)
    assert rouge(reference, reference) == 3.0


@pytest.mark.parametrize(
    ("hypothesis", "reference", "rouge_1", "rouge_2", "rouge_l"),
    [
        # a word twice in the hypothesis (P < 1 as a multiset, 1 as a set), another twice in the reference
        ([A, A, B], [A, B, B, C], 0.7999999952000001, 0.39999999520000007, 0.5494505494503625),
        ([A, B, C, A, B, C, D], [A, B, C, D, E], 0.8888888839506174, 0.749999995, 0.6324786324779411),
        # P = 1, R = 1/3 and the reverse: beta = P / R is 3 and 1/3, and F_L the same
        ([A, B], [A, C, B, D, E, 16], 0.4999999962500001, 0.0, 0.3571428571429566),
        ([A, D, E, 16, B, 17], [A, B], 0.4999999962500001, 0.0, 0.3571428571424668),
        ([A, B, C, D], [A, B, C, D], 0.999999995, 0.999999995, 0.9999999999995),
    ],
)
def test_golden_scores_of_the_package_rouge_021(hypothesis, reference, rouge_1, rouge_2, rouge_l):
    """Printed by rouge 0.2.1's Rouge().get_scores; it adds 1e-12 to two denominators of ROUGE-L."""
    scores = [rouge(hypothesis, reference, score=score, variant="pltrdy_021") for score in SCORES[:3]]
    assert scores[:2] == pytest.approx([rouge_1, rouge_2], rel=1e-14)
    assert scores[2] == pytest.approx(rouge_l, rel=3e-12)
    assert rouge(hypothesis, reference, variant="pltrdy_021") == pytest.approx(sum(scores), rel=1e-14)


def test_literal_scores_of_repeated_words():
    assert rouge([A, A, B], [A, B, B, C], score="rouge_1") == pytest.approx(4 / 7)
    assert rouge([A, A, B], [A, B, B, C], score="rouge_2") == pytest.approx(2 / 5)
    assert rouge([A, A, B], [A, B, B, C], score="rouge_l") == pytest.approx(4 / 7)
    assert rouge([A, A, B], [A, B, B, C], score="rouge_l", variant="pltrdy_021") == pytest.approx(50 / 91)
    assert rouge([A] * 7, [A, B, C, D, A, E], score="rouge_1") == pytest.approx(4 / 13)  # 2 of 7


def test_the_best_reference_counts_for_the_sum():
    """d c b a has all words of the one, a b two thirds in order of the other: parts are not mixed."""
    words, one, other = [D, C, B, A], [A, B, C, D], [D, C, 21, 22, 23]
    alone = [rouge(words, one), rouge(words, other)]
    assert alone == pytest.approx([1 + 0 + 1 / 4, 4 / 9 + 2 / 7 + 4 / 9])
    assert rouge(words, one, other) == rouge(words, other, one) == max(alone)
    assert rouge(words, one, other, score="rouge_2") == pytest.approx(2 / 7)


def test_the_mean_over_references():
    """Of d c b a, as above; a second copy of a reference counts as a second reference."""
    words, one, other = [D, C, B, A], [A, B, C, D], [D, C, 21, 22, 23]
    alone = [1 + 0 + 1 / 4, 4 / 9 + 2 / 7 + 4 / 9]
    assert rouge(words, one, over="mean") == pytest.approx(alone[0])
    assert rouge(words, one, other, over="mean") == pytest.approx((alone[0] + alone[1]) / 2)
    assert rouge(words, one, other, one, over="mean") == pytest.approx((2 * alone[0] + alone[1]) / 3)
    assert rouge(words, one, [], over="mean") == pytest.approx(alone[0] / 2)


def test_unk_matches_nothing_by_default():
    assert rouge([A, UNK, B], [A, UNK, B], match_unknown=True) == 3.0
    assert rouge([A, UNK, B], [A, UNK, B]) == pytest.approx(2 / 3 + 0 + 2 / 3)
    assert rouge([UNK], [UNK]) == 0.0
    twice = rouge([A, UNK, UNK], [A, UNK, UNK], score="rouge_1", variant="pltrdy_021")
    assert twice == pytest.approx(1 / 2, abs=1e-8)  # unk counts once on either side


@pytest.mark.parametrize("variant", VARIANTS)
def test_limits(variant):
    reward = Rouge(variant=variant)
    packed = pack([[[]], [[A, B]], [[A, B], []]])
    words, lengths = np.full((3, 2), A, np.int32), np.array([2, 0, 1])
    scores = reward.prefix_scores(words, lengths, packed)
    assert (scores[:2] == 0).all()
    assert scores[2, 0] == scores[2, 1] > 0
    assert reward.empty_score(packed).tolist() == [0, 0, 0]
    nothing = reward.extension_rewards(words, lengths, packed)
    assert nothing.default[0] == 0
    none = pack([])
    assert reward.prefix_scores(np.empty((0, 5), np.int32), np.empty(0, np.int64), none).shape == (0, 5)
    extensions = reward.extension_rewards(np.empty((1, 0), np.int32), np.array([0]), pack([[[]]]))
    assert extensions.words.shape == extensions.rewards.shape == (1, 0)
    assert extensions.default.tolist() == [0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_rewards_telescope_and_extensions_foretell_them(variant):
    reward = Rouge(variant=variant)
    hypotheses, lengths, references = random_batch(50, seed=3)
    packed = pack(references)
    table = payoffs(reward, ScoringBatch(hypotheses, lengths, packed))
    rewards = token_rewards(table, lengths, np.ones(50))
    np.testing.assert_allclose(rewards.token.sum(1), rewards.sequence, atol=1e-6)
    for t in range(10):
        there = np.flatnonzero(lengths > t)
        extensions = reward.extension_rewards(hypotheses, np.minimum(lengths, t), packed)
        for i in there:
            at = np.flatnonzero(extensions.words[i] == hypotheses[i, t])
            foretold = extensions.rewards[i, at[0]] if at.size else extensions.default[i]
            assert foretold == pytest.approx(table[i, t + 1] - table[i, t], abs=1e-14)


def test_one_compilation_serves_every_array_and_every_setting():
    hypotheses, lengths, references = random_batch(5, seed=4)
    packed = pickle.loads(pickle.dumps(pack(references)))
    frozen = hypotheses.copy()
    frozen.flags.writeable = False
    for score, variant, over in itertools.product(SCORES, VARIANTS, ("best", "mean")):
        reward = pickle.loads(pickle.dumps(Rouge(score=score, variant=variant, over=over)))
        scores = reward.prefix_scores(hypotheses, lengths, packed)
        default = reward.extension_rewards(hypotheses, lengths, packed).default
        for same in (frozen, np.asfortranarray(hypotheses), hypotheses.astype(np.int64)):
            assert (reward.prefix_scores(same, lengths.astype(np.int32), packed) == scores).all()
            assert (reward.extension_rewards(same, lengths, packed).default == default).all()
    assert len(rouge_prefix_kernel.signatures) == len(rouge_extension_kernel.signatures) == 1


def test_settings_are_checked():
    with pytest.raises(ValidationError):
        Rouge(score="rouge_3")
    with pytest.raises(ValidationError):
        Rouge(variant="rouge")
