import itertools
import math
import sys
from typing import get_args

import numpy as np
import pytest
from pydantic import ValidationError
from sacrebleu.metrics import BLEU

from raysq.rewards import SentenceBleu, pack, prefix_bleu
from raysq.rewards.bleu import BleuVariant
from raysq.rewards.plain import clipped_matches, plain_prefix_bleu, plain_sentence_bleu
from raysq.types import UNK

VARIANTS = get_args(BleuVariant)
Pair = tuple[list[int], list[list[int]]]


def bleu(hypothesis, *references, **options):
    """Score of the whole hypothesis."""
    return prefix_bleu([hypothesis], [list(references)], **options)[0, -1]


def random_pairs(count: int, seed: int) -> list[Pair]:
    """Few words, so that n-grams repeat; lengths from 0; 1 to 5 references, some like the hypothesis."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(count):
        highest = UNK + int(rng.integers(1, 8))
        hypothesis = rng.integers(UNK, highest + 1, rng.integers(0, 14)).tolist()
        references = []
        for _ in range(rng.integers(1, 6)):
            reference = rng.integers(UNK, highest + 1, rng.integers(0, 14)).tolist()
            if rng.random() < 0.5:
                cut = int(rng.integers(0, len(hypothesis) + 1))
                reference = hypothesis[:cut] + reference[cut:]
            references.append(reference)
        pairs.append((hypothesis, references))
    return pairs


def adversarial_pairs() -> list[Pair]:
    """Every short sequence against a few: repeats, wrap-arounds, boundaries between references."""
    words = (UNK, 11, 12)
    short = [list(p) for length in range(1, 5) for p in itertools.product(words, repeat=length)]
    against = [
        [[]],
        [[11]],
        [[11, 11, 11, 11, 11]],
        [[11, 12, 11, 12, 11]],
        [[11, 12], [12, 11], [12]],  # an n-gram must not run over from one reference to the next
        [[12], [11, 11, 12], [11, 12, 12, 11, 12, UNK]],
        [[UNK, UNK, 11], []],
    ]
    return [(hypothesis, references) for hypothesis in short for references in against]


def padded(pairs: list[Pair]):
    lengths = np.array([len(hypothesis) for hypothesis, _ in pairs])
    hypotheses = np.full((len(pairs), lengths.max()), 11)  # a word in place of padding: lengths must rule
    for row, (hypothesis, _) in zip(hypotheses, pairs, strict=True):
        row[: len(hypothesis)] = hypothesis
    return hypotheses, [references for _, references in pairs], lengths


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("match_unknown", "brevity_penalty"), [(False, True), (True, True), (False, False)])
def test_kernel_equals_plain_twin(variant, match_unknown, brevity_penalty):
    pairs = random_pairs(300, seed=1) + adversarial_pairs()[:: 1 if variant == "lin_och_all" else 5]
    hypotheses, references, lengths = padded(pairs)
    options = {"variant": variant, "match_unknown": match_unknown, "brevity_penalty": brevity_penalty}
    scores = prefix_bleu(hypotheses, references, lengths, **options)
    for row, (hypothesis, of_one) in zip(scores, pairs, strict=True):
        plain = plain_prefix_bleu(hypothesis, of_one, **options)
        last = plain[-1] if plain else 0.0
        expected = plain + [last] * (len(row) - len(plain))
        np.testing.assert_allclose(row, expected, rtol=2e-13, atol=0, err_msg=f"{hypothesis} {of_one}")


def test_unknown_option_changes_scores():
    pairs = random_pairs(200, seed=2)
    arguments = padded(pairs)
    never = prefix_bleu(*arguments)
    always = prefix_bleu(*arguments, match_unknown=True)
    assert (never <= always).all()
    assert (never < always).any()


def sacre_text(words: list[int], side: str, *, match_unknown: bool) -> str:
    """The words as text; an unk that matches nothing is spelled differently on each side."""
    return " ".join(side if word == UNK and not match_unknown else f"w{word}" for word in words)


def sacre_score(pair: Pair, *, match_unknown: bool):
    hypothesis, references = pair
    metric = BLEU(tokenize="none", smooth_method="add-k", smooth_value=1, effective_order=False, force=True)
    statistics = metric._extract_corpus_statistics(
        [sacre_text(hypothesis, "unk-of-hypothesis", match_unknown=match_unknown)],
        [
            [sacre_text(reference, "unk-of-reference", match_unknown=match_unknown)]
            for reference in references
        ],
    )[0]
    return statistics, metric._compute_score_from_stats(list(statistics)).score / 100


@pytest.mark.parametrize("match_unknown", [False, True])
def test_equals_sacrebleu(match_unknown):
    """lin_och_n2 is its add-k with k = 1; lin_och_all is the formula applied to its counts."""
    pairs = random_pairs(1500, seed=3) + adversarial_pairs()[::3]
    arguments = padded(pairs)
    ours_n2 = prefix_bleu(*arguments, variant="lin_och_n2", match_unknown=match_unknown)[:, -1]
    ours_all = prefix_bleu(*arguments, match_unknown=match_unknown)[:, -1]
    for pair, n2, smoothed in zip(pairs, ours_n2, ours_all, strict=True):
        (words, reference_words, *counts), score = sacre_score(pair, match_unknown=match_unknown)
        assert n2 == pytest.approx(score, abs=1e-12), pair
        correct, total = counts[:4], counts[4:]
        assert correct == [clipped_matches(*pair, n, match_unknown=match_unknown) for n in (1, 2, 3, 4)]
        precision = math.prod((c + 1) / (t + 1) for c, t in zip(correct, total, strict=True)) ** 0.25
        brevity = math.exp(min(0, 1 - reference_words / words)) if words else 0.0
        assert smoothed == pytest.approx(brevity * precision, abs=1e-12), pair


def test_literal_scores():
    reference = [11, 12, 13, 14, 15]
    one_wrong = (5 / 6 * 3 / 5 * 1 / 4 * 1 / 3) ** 0.25
    assert bleu([11, 12, 19, 14, 15], reference) == pytest.approx(one_wrong, rel=1e-14)
    assert one_wrong == pytest.approx(0.451801, abs=1e-6)
    assert bleu([11], [11]) == 1.0
    assert bleu(reference, reference) == 1.0
    assert bleu(reference, reference, variant="lin_och_n2") == 1.0
    assert bleu([11, 12], [13, 14]) == pytest.approx((1 / 3 * 1 / 2) ** 0.25)
    assert bleu([11, 12], [13, 14], variant="lin_och_n2") == 0.0


def test_correct_prefixes_pay_the_brevity_penalty_only():
    reference = list(range(11, 31))
    scores = prefix_bleu([reference], [[reference]])[0]
    assert scores[[4, 9, 18, 19]] == pytest.approx([0.049787, 0.367879, 0.948729, 1.0], abs=1e-6)


def test_short_pairs_of_the_design():
    assert bleu([11, 12, 19, 14, 15], [11, 12, 13, 14, 15]) == pytest.approx(0.451801, abs=1e-6)
    assert bleu([19], [11, 12, 13]) == pytest.approx(0.113803, abs=1e-6)
    reference = list(range(11, 31))
    assert prefix_bleu([reference], [[reference]])[0, 0] == pytest.approx(5.6e-9, abs=1e-10)


def test_every_variant_by_hand():
    """Matches 4, 2, 1, 0 of 6, 5, 4, 3 candidates; the reference is two words longer: BP = exp(-2/6)."""
    hypothesis, reference = [11, 12, 13, 91, 92, 16], [11, 12, 13, 14, 15, 16, 17, 18]
    expected = {
        "lin_och_all": (5 / 7 * 3 / 6 * 2 / 5 * 1 / 4) ** 0.25 * math.exp(-2 / 6),
        "lin_och_n2": (4 / 6 * 3 / 6 * 2 / 5 * 1 / 4) ** 0.25 * math.exp(-2 / 6),
        "mixer": (5 / 7 * 3 / 6 * 2 / 5 * 1 / 4) ** 0.25 * math.exp(1 - 9 / 6),
        "nltk_m0_32": (4 / 6 * 2 / 5 * 1 / 4) ** 0.25 * math.exp(-2 / 6),
        "nltk_m0_33": (4 / 6 * 2 / 5 * 1 / 4) ** 0.25 * sys.float_info.min**0.25 * math.exp(-2 / 6),
        "nltk_m3": (4 / 6 * 2 / 5 * 1 / 4 * 1 / 2 / 3) ** 0.25 * math.exp(-2 / 6),
        "bso": (4 / 6 * 2 / 5 * 1 / 4 * 1 / 2 / 3) ** 0.25 * math.exp(-2 / 6),
    }
    literal = [0.3114911, 0.3061645, 0.2636715, 0.3640930, 4.446809e-78, 0.2326347, 0.2326347]
    for (variant, value), number in zip(expected.items(), literal, strict=True):
        assert bleu(hypothesis, reference, variant=variant) == pytest.approx(value, rel=1e-13), variant
        assert value == pytest.approx(number, rel=1e-6, abs=0), variant


def test_variants_of_short_hypotheses_by_hand():
    """Matches 1, 0 of 2, 1 candidates, none of orders 3 and 4."""
    scores = {variant: bleu([11, 19], [11, 12, 13], variant=variant) for variant in VARIANTS}
    brevity = math.exp(1 - 3 / 2)
    assert scores == {
        "lin_och_all": pytest.approx((2 / 3 * 1 / 2) ** 0.25 * brevity),
        "lin_och_n2": pytest.approx((1 / 2 * 1 / 2) ** 0.25 * brevity),
        "mixer": pytest.approx((2 / 3 * 1 / 2) ** 0.5 * math.exp(1 - 4 / 2)),  # orders 1 and 2
        "nltk_m0_32": pytest.approx(0.5**0.25 * brevity),
        "nltk_m0_33": pytest.approx(0.5**0.25 * sys.float_info.min**0.75 * brevity, rel=1e-12, abs=0),
        "nltk_m3": pytest.approx((1 / 2 * 1 / 2 * 1 / 4 * 1 / 8) ** 0.25 * brevity),
        "bso": pytest.approx((1 / 2 * 1 / 2) ** 0.25 * brevity),  # an order without candidates is 1
    }


def test_variants_without_any_match():
    scores = {variant: bleu([11, 12, 13, 14], [21, 22], variant=variant) for variant in VARIANTS}
    assert scores == {
        "lin_och_all": pytest.approx((1 / 5 * 1 / 4 * 1 / 3 * 1 / 2) ** 0.25),
        "lin_och_n2": 0.0,
        "mixer": pytest.approx((1 / 5 * 1 / 4) ** 0.5),  # the reference has no orders 3 and 4
        "nltk_m0_32": 0.0,
        "nltk_m0_33": 0.0,
        "nltk_m3": 0.0,
        "bso": pytest.approx((1 / 2 / 4 * 1 / 4 / 3 * 1 / 8 / 2 * 1 / 16) ** 0.25),
    }


def test_without_brevity_penalty_a_correct_prefix_has_everything():
    reference = list(range(11, 31))
    scores = prefix_bleu([reference], [[reference]], brevity_penalty=False)
    assert (scores == 1.0).all()
    assert bleu([11, 91], reference, brevity_penalty=False) == pytest.approx((2 / 3 * 1 / 2) ** 0.25)


def extension_rewards(pairs: list[Pair], **options):
    prefixes, references, lengths = padded(pairs)
    return SentenceBleu(**options).extension_rewards(prefixes.astype(np.int32), lengths, pack(references))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("match_unknown", "brevity_penalty"), [(False, True), (True, True), (False, False)])
def test_extension_rewards_equal_brute_force_over_the_vocabulary(variant, match_unknown, brevity_penalty):
    options = {"variant": variant, "match_unknown": match_unknown, "brevity_penalty": brevity_penalty}
    pairs = random_pairs(60, seed=4) + adversarial_pairs()[::13]
    extensions = extension_rewards(pairs, **options)
    for i, (prefix, references) in enumerate(pairs):
        words = extensions.words[i][extensions.words[i] != 0].tolist()
        known = {word for reference in references for word in reference if match_unknown or word != UNK}
        assert sorted(words) == sorted(known)
        assert (extensions.rewards[i, len(words) :] == 0).all()
        rewards = dict(zip(words, extensions.rewards[i], strict=False))
        now = plain_sentence_bleu(prefix, references, **options)
        for word in range(UNK, 16):
            expected = plain_sentence_bleu([*prefix, word], references, **options) - now
            assert rewards.get(word, extensions.default[i]) == pytest.approx(expected, abs=1e-13), (
                prefix,
                references,
                word,
            )


@pytest.mark.parametrize("variant", VARIANTS)
def test_extension_rewards_add_up_to_the_score(variant):
    hypothesis, references = [11, 12, 11, 12, 13, UNK, 19, 11], [[11, 12, 13, 11, 12], [12, 13, UNK]]
    extensions = extension_rewards(
        [(hypothesis[:t], references) for t in range(len(hypothesis))], variant=variant
    )
    total = 0.0
    for t, word in enumerate(hypothesis):
        rewards = dict(zip(extensions.words[t].tolist(), extensions.rewards[t], strict=True))
        total += rewards.get(word, extensions.default[t])
    assert total == pytest.approx(bleu(hypothesis, *references, variant=variant), abs=1e-14)


def test_extension_rewards_after_correct_prefixes():
    """The table of the design: 20 distinct words, the prefix right so far; next word right or a miss."""
    reference = list(range(11, 31))
    lengths = (1, 2, 5, 10, 19)
    extensions = extension_rewards([(reference[:t], [reference]) for t in lengths])
    right = [extensions.rewards[i, t] for i, t in enumerate(lengths)]
    np.testing.assert_allclose(right, [0.000123, 0.003336, 0.047185, 0.073354, 0.051271], atol=6e-7)
    np.testing.assert_allclose(
        extensions.default, [0.000094, 0.002323, 0.028674, 0.030820, -0.000186], atol=6e-7
    )
    free = extension_rewards([([11], [reference])], brevity_penalty=False)
    assert free.rewards[0, 1] == 0.0
    assert free.default[0] == pytest.approx(-0.240, abs=5e-4)


def test_extension_rewards_of_nothing():
    extensions = extension_rewards([([], [[11, 12]]), ([11], [[]]), ([], [[]])])
    assert extensions.words.tolist() == [[11, 12], [0, 0], [0, 0]]
    half = 0.5**0.25
    np.testing.assert_allclose(extensions.rewards, [[math.exp(-1)] * 2, [0, 0], [0, 0]])
    np.testing.assert_allclose(extensions.default, [half * math.exp(-1), (1 / 6) ** 0.25 - half, half])
    none = SentenceBleu().extension_rewards(np.empty((0, 4), np.int32), np.empty(0, np.int64), pack([]))
    assert none.words.shape == none.rewards.shape == (0, 0)
    with pytest.raises(ValueError, match="1 prefixes but references for 2"):
        SentenceBleu().extension_rewards(np.array([[11]], np.int32), np.array([1]), pack([[[11]], [[12]]]))


def test_repeated_words_are_clipped():
    """Papineni et al. (2002): "the the the the the the the" has 2 of its 7 words right."""
    the, cat, sat, on, mat = 11, 12, 13, 14, 15
    first, second = [the, cat, sat, on, the, mat], [cat, sat, the, mat]
    expected = (3 / 8 * 1 / 7 * 1 / 6 * 1 / 5) ** 0.25
    assert bleu([the] * 7, first) == pytest.approx(expected)
    assert bleu([the] * 7, first, second) == pytest.approx(expected)  # the larger count, not the sum


def test_closest_reference_length_ties_to_the_shorter():
    assert bleu([11, 12, 13], [21, 22, 23, 24], [21, 22]) == pytest.approx((1 / 4 * 1 / 3 * 1 / 2) ** 0.25)
    assert bleu([11], [11, 12, 13], [11, 12]) == pytest.approx(math.exp(-1))


def test_unk_matches_nothing_by_default():
    assert bleu([11, UNK, 12], [11, UNK, 12], match_unknown=True) == 1.0
    assert bleu([11, UNK, 12], [11, UNK, 12]) == pytest.approx((3 / 4 * 1 / 3 * 1 / 2) ** 0.25)
    assert bleu([UNK], [UNK], variant="lin_och_n2") == 0.0


def test_limits():
    scores = prefix_bleu([[11, 12], [0, 0], [11, 0]], [[[]], [[11, 12]], [[11], [12]]])
    nothing_matches = [(1 / 2) ** 0.25, (1 / 3 * 1 / 2) ** 0.25]
    np.testing.assert_allclose(scores, [nothing_matches, [0, 0], [1, 1]])
    assert (prefix_bleu([[11, 12]], [[[]]], variant="lin_och_n2") == 0).all()
    assert prefix_bleu(np.empty((0, 5), np.int64), []).shape == (0, 5)
    assert prefix_bleu(np.empty((2, 0), np.int64), [[[11]], [[11]]]).shape == (2, 0)


def test_missing_lengths_take_trailing_pads_off_only():
    hypotheses = [[11, 0, 12, 0, 0]]
    expected = plain_sentence_bleu([11, 0, 12], [[11, 12]])
    assert prefix_bleu(hypotheses, [[[11, 12]]])[0, -1] == pytest.approx(expected)
    explicit = prefix_bleu(hypotheses, [[[11, 12]]], [5])
    assert explicit[0, -1] == pytest.approx(plain_sentence_bleu([11, 0, 12, 0, 0], [[11, 12]]))


@pytest.mark.parametrize(
    ("hypotheses", "references", "options", "message"),
    [
        ([11, 12], [[[11]]], {}, "hypotheses must have 2 axes"),
        ([[1.5]], [[[11]]], {}, "hypotheses must hold integer"),
        ([[2**31]], [[[11]]], {}, "hypotheses holds a word id outside"),
        ([[11]], [[11, 12]], {}, r"references\[0\]\[0\] must have 1 axes"),
        ([[11]], [[[0.5]]], {}, r"references\[0\]\[0\] must hold integer"),
        ([[11], [12]], [[[11]]], {}, "2 hypotheses but references for 1"),
        ([[11], [12]], [[[11]], []], {}, "hypothesis 1 has no reference"),
        ([[11]], [[[11]]], {"lengths": [2]}, "lengths must lie in 0..1"),
        ([[11]], [[[11]]], {"lengths": [-1]}, "lengths must lie in 0..1"),
        ([[11]], [[[11]]], {"lengths": [1, 1]}, "lengths must be 1 integers"),
        ([[11]], [[[11]]], {"lengths": [1.0]}, "lengths must be 1 integers"),
        ([[11]], [[[11]]], {"variant": "bleu"}, "choose one of lin_och_all, lin_och_n2, mixer"),
    ],
)
def test_mistakes_are_named(hypotheses, references, options, message):
    with pytest.raises(ValueError, match=message):
        prefix_bleu(hypotheses, references, **options)


def test_sentence_bleu_is_a_checked_setting():
    packed = pack([[[11, UNK]]])
    words, lengths = np.array([[11, UNK]], np.int32), np.array([2])
    assert SentenceBleu(match_unknown=True).prefix_scores(words, lengths, packed)[0, -1] == 1.0
    assert SentenceBleu(variant="lin_och_n2").prefix_scores(words[:, 1:], np.array([1]), packed)[0, 0] == 0.0
    assert SentenceBleu().empty_score(packed).tolist() == [0.0]
    with pytest.raises(ValidationError):
        SentenceBleu(variant="bleu")
