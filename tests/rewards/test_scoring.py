import numpy as np
import pytest
import torch

from raysq.rewards import LocalScorer, PackedReferences, SentenceBleu
from raysq.rewards.plain import plain_sentence_bleu
from raysq.rewards.scoring import ScoringBatch, payoffs, token_rewards
from raysq.types import BOS, EOS, PAD, Samples


def samples_of(*sequences: list[int], num_per_example: int = 1, width: int = 0) -> Samples:
    width = max(width, *(len(words) + 1 for words in sequences))
    targets = torch.full((len(sequences), width), PAD)
    for row, words in zip(targets, sequences, strict=True):
        row[: len(words) + 1] = torch.tensor([*words, EOS])
    inputs = torch.cat((torch.full((len(sequences), 1), BOS), targets[:, :-1]), 1)
    mask = targets != PAD
    return Samples(inputs, targets, mask, torch.zeros_like(mask), num_per_example)


def words(*ids: int) -> np.ndarray:
    return np.array(ids, np.int32)


class MinusDistance:
    """A payoff with R(empty) != 0: minus the difference of lengths; 99 past the end, not to be read."""

    def prefix_scores(self, hypotheses, lengths, references: PackedReferences):
        position = np.arange(1, hypotheses.shape[1] + 1)
        scores = -np.abs(references.own_lengths[:, None] - position).astype(np.float64)
        return np.where(position <= lengths[:, None], scores, 99.0)

    def empty_score(self, references: PackedReferences):
        return -references.own_lengths.astype(np.float64)


def test_literal_rewards():
    """Prefix scores .5, .25, .75 of a three-word reference, then eos and padding."""
    table = np.array([[0.0, 0.5, 0.25, 0.75, 0.75, 0.75]])
    rewards = token_rewards(table, np.array([3]), np.array([3.0]))
    assert rewards.token.tolist() == [[1.5, -0.75, 1.5, 0.0, 0.0]]
    assert rewards.sequence.tolist() == [0.75]
    assert rewards.scale.tolist() == [3.0]


def test_rewards_telescope_and_eos_earns_nothing():
    samples = samples_of([11, 12, 19, 14], [11], [], [11, 12, 13, 14, 15], width=8)
    references = [[words(11, 12, 13, 14, 15)], [words(11, 12, 13), words(11)], [words(11)], [words(11, 12)]]
    rewards = LocalScorer(SentenceBleu()).submit(samples, references).result()
    expected = [
        plain_sentence_bleu(row[: row.index(EOS)], of_one)
        for row, of_one in zip(samples.targets.tolist(), references, strict=True)
    ]
    assert rewards.sequence.tolist() == pytest.approx(expected)
    assert rewards.sequence[2] == 0.0
    assert rewards.scale.tolist() == [5.0, 3.0, 1.0, 2.0]  # the pair's own reference, not the closest
    torch.testing.assert_close(rewards.token.sum(1), rewards.scale * rewards.sequence)
    for row, length in zip(rewards.token, samples.lengths, strict=True):
        assert (row[:length] != 0).all()
        assert (row[length:] == 0).all()


def test_sum_starts_from_the_payoff_of_the_empty_prefix():
    samples = samples_of([11, 12, 13], [11], [], width=6)
    references = [[words(21, 22)], [words(21, 22, 23)], [words(21, 22)]]
    rewards = LocalScorer(MinusDistance(), scale_by_length=False).submit(samples, references).result()
    assert rewards.sequence.tolist() == [-1.0, -2.0, -2.0]
    assert rewards.token[:, :4].tolist() == [[1.0, 1.0, -1.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0] * 4]
    assert (rewards.token[:, 4:] == 0).all()
    assert rewards.token.sum(1).tolist() == [1.0, 1.0, 0.0]  # R(y) - R(empty)


def test_scale_is_an_option_and_leaves_the_payoff():
    samples, references = samples_of([11, 12, 14]), [[words(11, 12, 13, 14)]]
    scaled = LocalScorer(SentenceBleu()).submit(samples, references).result()
    plain = LocalScorer(SentenceBleu(), scale_by_length=False).submit(samples, references).result()
    assert plain.scale.tolist() == [1.0]
    torch.testing.assert_close(scaled.token, 4 * plain.token)
    assert scaled.sequence.tolist() == plain.sequence.tolist()


def test_each_sequence_meets_the_references_of_its_example():
    samples = samples_of([11], [12], [12], [11], num_per_example=2)
    rewards = LocalScorer(SentenceBleu()).submit(samples, [[words(11)], [words(12)]]).result()
    assert (rewards.sequence == 1).tolist() == [True, False, True, False]


def test_default_float_type_is_taken():
    torch.set_default_dtype(torch.float64)
    try:
        rewards = LocalScorer(SentenceBleu()).submit(samples_of([11, 12]), [[words(11, 13)]]).result()
    finally:
        torch.set_default_dtype(torch.float32)
    assert rewards.token.dtype == torch.float64
    assert rewards.sequence.item() == pytest.approx(plain_sentence_bleu([11, 12], [[11, 13]]), rel=1e-15)


def test_local_scoring_counts_as_waiting():
    pending = LocalScorer(SentenceBleu()).submit(samples_of([11]), [[words(11)]])
    assert pending.waited_seconds > 0


def test_batches_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="2 samples, but 1 for each of 1 examples"):
        ScoringBatch.of(samples_of([11], [12]), [[words(11)]])
    samples = samples_of([11], [12])
    samples.mask[1] = False
    with pytest.raises(ValueError, match="sample 1 is empty"):
        ScoringBatch.of(samples, [[words(11)], [words(12)]])


def test_reward_of_the_wrong_shape_is_refused():
    class Forgetful(MinusDistance):
        def prefix_scores(self, hypotheses, lengths, references):
            return super().prefix_scores(hypotheses, lengths, references)[:, -1]

    batch = ScoringBatch.of(samples_of([11, 12]), [[words(11)]])
    with pytest.raises(ValueError, match=r"Forgetful returned scores \[1\] and empty scores \[1\]"):
        payoffs(Forgetful(), batch)
