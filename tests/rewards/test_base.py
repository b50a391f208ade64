import pickle

import numpy as np
import pytest

from raysq.rewards import EditDistance, Hamming, OwnReference, PackedReferences, Rouge, SentenceBleu, pack


def test_packed_references_are_cut_by_hypothesis():
    references = [[[11, 12], [13]], [[14]], [[], [15, 16, 17]]]
    packed = pack(references)
    assert packed.own_lengths.tolist() == [2, 1, 0]
    part = packed.between(1, 3)
    again = pack(references[1:])
    assert len(part) == 2
    assert part.tokens.tolist() == again.tokens.tolist() == [14, 15, 16, 17]
    assert part.offsets.tolist() == again.offsets.tolist() == [0, 1, 1, 4]
    assert part.starts.tolist() == again.starts.tolist() == [0, 1, 3]
    assert len(packed.between(2, 2)) == 0


def test_the_own_reference_is_the_first_of_each():
    packed = pack([[[11, 12], [13]], [[], [14, 15]], [[16, 17, 18], [19], [16]], [[20]]])
    own = packed.own()
    assert (own.tokens.tolist(), own.offsets.tolist()) == ([11, 12, 16, 17, 18, 20], [0, 2, 2, 5, 6])
    assert own.starts.tolist() == [0, 1, 2, 3, 4]
    assert own.own_lengths.tolist() == packed.own_lengths.tolist() == [2, 0, 3, 1]
    assert own.own() is own  # nothing is copied where there are no others
    middle = packed.between(1, 3).own()
    assert (middle.tokens.tolist(), middle.offsets.tolist()) == ([16, 17, 18], [0, 0, 3])
    assert len(pack([]).own()) == 0


@pytest.mark.parametrize("function", [SentenceBleu(), Rouge(over="mean"), EditDistance(), Hamming()])
def test_a_reward_against_the_own_reference_sees_no_other(function):
    """The others are nearer to the hypotheses, so that each score would be higher with them."""
    hypotheses, lengths = np.array([[11, 12, 13], [14, 15, 0]], np.int32), np.array([3, 2])
    own = [[[11, 21, 22, 23]], [[24]]]
    everything = pack([[*own[0], [11, 12, 13]], [*own[1], [14, 15], []]])
    reward, alone = pickle.loads(pickle.dumps(OwnReference(function))), pack(own)
    scores = reward.prefix_scores(hypotheses, lengths, everything)
    assert scores.tolist() == function.prefix_scores(hypotheses, lengths, alone).tolist()
    assert (scores[:, -1] != function.prefix_scores(hypotheses, lengths, everything)[:, -1]).all()
    assert reward.empty_score(everything).tolist() == function.empty_score(alone).tolist()
    found, expected = (
        rewards.extension_rewards(hypotheses, lengths, references)
        for rewards, references in ((reward, everything), (function, alone))
    )
    assert found.words.tolist() == expected.words.tolist()
    assert found.rewards.tolist() == expected.rewards.tolist()
    assert found.default.tolist() == expected.default.tolist()


def test_packed_references_that_lead_outside_are_refused():
    tokens, offsets, starts = np.arange(3, dtype=np.int32), np.array([0, 3]), np.array([0, 1])
    PackedReferences(tokens, offsets, starts)
    with pytest.raises(ValueError, match="offsets must run from 0 to 3"):
        PackedReferences(tokens, np.array([0, 4]), starts)
    with pytest.raises(ValueError, match="starts must run from 0 to 1"):
        PackedReferences(tokens, offsets, np.array([0, 2]))
    with pytest.raises(ValueError, match="must not decrease"):
        PackedReferences(tokens, np.array([0, 5, 3]), np.array([0, 2]))
    with pytest.raises(ValueError, match="int32 tokens"):
        PackedReferences(tokens.astype(np.int64), offsets, starts)
