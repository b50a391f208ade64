import functools
import itertools
import pickle

import numpy as np
import pytest

from raysq.rewards import EditDistance, Hamming, pack
from raysq.rewards.edit import distance_extension_kernel, distance_prefix_kernel
from raysq.rewards.scoring import ScoringBatch, payoffs, token_rewards
from raysq.types import PAD, UNK

VOCABULARY = range(UNK, 10)  # the last words stand in no reference
A, B, C, D, E = 11, 12, 13, 14, 15


@functools.cache
def levenshtein(x: tuple, y: tuple) -> int:
    if not x or not y:
        return len(x) + len(y)
    return min(
        levenshtein(x[:-1], y[:-1]) + (x[-1] != y[-1]),
        levenshtein(x[:-1], y) + 1,
        levenshtein(x, y[:-1]) + 1,
    )


def positions_that_differ(x: tuple, y: tuple) -> int:
    return sum(a != b for a, b in itertools.zip_longest(x, y))


PLAIN = {EditDistance: levenshtein, Hamming: positions_that_differ}


def plain_score(kind, hypothesis, references, match_unknown=False) -> int:
    """Minus the distance to the closest reference."""
    if not match_unknown:
        references = [
            ["unk of a reference" if w == UNK else w for w in reference] for reference in references
        ]
    return -min(PLAIN[kind](tuple(hypothesis), tuple(reference)) for reference in references)


def random_batch(count: int, seed: int):
    """Few words; lengths from 0; 1 to 5 references, most of the first like the hypothesis."""
    rng = np.random.default_rng(seed)
    hypotheses = rng.integers(UNK, 10, (count, 9)).astype(np.int32)
    lengths = rng.integers(0, 10, count)
    references = []
    for hypothesis in hypotheses:
        of_one = [rng.integers(UNK, 8, rng.integers(0, 9)) for _ in range(rng.integers(1, 6))]
        if rng.random() < 0.7:
            of_one[0] = np.where(hypothesis < 8, hypothesis, 4)[rng.random(9) < 0.7]
        references.append([words.tolist() for words in of_one])
    return hypotheses, lengths, references


def score(reward, hypothesis, *references) -> float:
    """R of the whole hypothesis."""
    words = np.array([hypothesis], np.int32)
    return reward.prefix_scores(words, np.array([len(hypothesis)]), pack([references]))[0, -1]


@pytest.mark.parametrize("kind", [EditDistance, Hamming])
@pytest.mark.parametrize("match_unknown", [False, True])
def test_kernel_equals_plain_twin(kind, match_unknown):
    hypotheses, lengths, references = random_batch(400, seed=1)
    reward = kind(match_unknown=match_unknown)
    scores = reward.prefix_scores(hypotheses, lengths, pack(references))
    empty = reward.empty_score(pack(references))
    for i, (words, length, of_one) in enumerate(zip(hypotheses.tolist(), lengths, references, strict=True)):
        plain = [plain_score(kind, words[: min(t, length)], of_one, match_unknown) for t in range(1, 10)]
        assert scores[i].tolist() == plain, (words, of_one)
        assert empty[i] == plain_score(kind, [], of_one)


@pytest.mark.parametrize("kind", [EditDistance, Hamming])
@pytest.mark.parametrize("match_unknown", [False, True])
def test_extension_rewards_equal_brute_force(kind, match_unknown):
    prefixes, lengths, references = random_batch(200, seed=2)
    extensions = kind(match_unknown=match_unknown).extension_rewards(prefixes, lengths, pack(references))
    for i, (length, of_one) in enumerate(zip(lengths, references, strict=True)):
        prefix, listed = prefixes[i, :length].tolist(), extensions.words[i]
        known = {word for reference in of_one for word in reference if word != UNK or match_unknown}
        assert sorted(listed[listed != PAD]) == sorted(known)
        assert (extensions.rewards[i][listed == PAD] == 0).all()
        ours = dict(zip(listed.tolist(), extensions.rewards[i], strict=True))
        before = plain_score(kind, prefix, of_one, match_unknown)
        for word in VOCABULARY:
            expected = plain_score(kind, [*prefix, word], of_one, match_unknown) - before
            assert ours.get(word, extensions.default[i]) == expected, (word, prefix, of_one)


def test_literal_edit_distances():
    kitten, sitting = [21, 22, 23, 23, 24, 25], [26, 22, 23, 23, 22, 25, 27]
    assert score(EditDistance(), kitten, sitting) == -3
    assert score(EditDistance(), [A, B, C, D], [B, C, D]) == -1  # one deletion
    assert score(EditDistance(), [B, C, D], [A, B, C, D]) == -1  # one insertion
    assert score(EditDistance(), [A, E, C], [A, B, C]) == -1  # one substitution
    assert score(EditDistance(), [B, A], [A, B]) == -2  # a swap is two
    prefixes = EditDistance().prefix_scores(
        np.array([[A, E, C, D]], np.int32), np.array([4]), pack([[[A, B, C]]])
    )
    assert prefixes.tolist() == [[-2, -2, -1, -2]]


def test_literal_hamming_distances():
    """In its place a word earns 1, a wrong one 0, one past the reference's end -1."""
    words = np.array([[A, E, C, D]], np.int32)
    packed = pack([[[A, B, C]]])
    assert Hamming().empty_score(packed).tolist() == [-3]
    assert Hamming().prefix_scores(words, np.array([4]), packed).tolist() == [[-2, -2, -1, -2]]
    assert score(Hamming(), [B, C, D], [A, B, C, D]) == -4  # a shift, which the edit distance forgives
    assert score(Hamming(), [A, B, E, D], [A, B, C, D]) == -1


@pytest.mark.parametrize("kind", [EditDistance, Hamming])
def test_the_closest_reference_counts(kind):
    assert score(kind(), [A, B, C], [A, D, E], [A, B]) == -1
    packed = pack([[[A, B, C], [A], [A, B]], [[]]])
    assert kind().empty_score(packed).tolist() == [-1, 0]


@pytest.mark.parametrize("kind", [EditDistance, Hamming])
def test_unk_is_a_difference_by_default(kind):
    assert score(kind(), [A, UNK, B], [A, UNK, B]) == -1
    assert score(kind(match_unknown=True), [A, UNK, B], [A, UNK, B]) == 0


@pytest.mark.parametrize("kind", [EditDistance, Hamming])
def test_limits(kind):
    packed = pack([[[A, B]], [[]]])
    scores = kind().prefix_scores(np.full((2, 3), A, np.int32), np.array([0, 2]), packed)
    assert scores.tolist() == [[-2, -2, -2], [-1, -2, -2]]
    assert kind().prefix_scores(np.empty((0, 5), np.int32), np.empty(0, np.int64), pack([])).shape == (0, 5)
    assert kind().empty_score(pack([])).shape == (0,)
    extensions = kind().extension_rewards(np.empty((1, 0), np.int32), np.array([0]), pack([[[]]]))
    assert extensions.words.shape == extensions.rewards.shape == (1, 0)
    assert extensions.default.tolist() == [-1]


@pytest.mark.parametrize("kind", [EditDistance, Hamming])
def test_rewards_sum_to_the_payoff_less_that_of_nothing(kind):
    hypotheses, lengths, references = random_batch(50, seed=3)
    packed = pack(references)
    table = payoffs(kind(), ScoringBatch(hypotheses, lengths, packed))
    rewards = token_rewards(table, lengths, np.ones(50))
    for i, of_one in enumerate(references):
        whole = plain_score(kind, hypotheses[i, : lengths[i]].tolist(), of_one)
        assert rewards.sequence[i] == whole
        assert rewards.token[i].sum() == whole + min(map(len, of_one))
    assert set(rewards.token.unique().tolist()) == {-1.0, 0.0, 1.0}


def test_one_compilation_serves_every_array_and_both_distances():
    hypotheses, lengths, references = random_batch(5, seed=4)
    packed = pickle.loads(pickle.dumps(pack(references)))
    frozen = hypotheses.copy()
    frozen.flags.writeable = False
    for reward in (EditDistance(), Hamming()):
        copied = pickle.loads(pickle.dumps(reward))
        scores = reward.prefix_scores(hypotheses, lengths, packed)
        default = reward.extension_rewards(hypotheses, lengths, packed).default
        for same in (frozen, np.asfortranarray(hypotheses), hypotheses.astype(np.int64)):
            assert (copied.prefix_scores(same, lengths.astype(np.int32), packed) == scores).all()
            assert (copied.extension_rewards(same, lengths, packed).default == default).all()
    assert len(distance_prefix_kernel.signatures) == len(distance_extension_kernel.signatures) == 1
