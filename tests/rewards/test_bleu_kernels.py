import pickle

import numpy as np
import pytest

from raysq.rewards import SentenceBleu, pack, prefix_bleu
from raysq.rewards.bleu_kernels import BLOCK, extension_bleu_kernel, prefix_bleu_kernel
from raysq.rewards.plain import plain_prefix_bleu, plain_sentence_bleu


def test_one_compilation_serves_every_array():
    """Read-only arrays come from Ray; a second signature would cost a compilation in mid-training."""
    hypotheses = np.array([[11, 12, 13], [11, 13, 0]])
    references = [[np.array([11, 12])], [[11], (13, 11)]]
    expected = prefix_bleu(hypotheses, references)
    frozen = hypotheses.astype(np.int32)
    frozen.flags.writeable = False
    wide = np.zeros((2, 6), np.int64)
    wide[:, ::2] = hypotheses
    unaligned = np.frombuffer(b"." + frozen.tobytes(), np.int32, offset=1).reshape(2, 3)
    for same in (frozen, np.asfortranarray(frozen), wide[:, ::2], unaligned, hypotheses.tolist()):
        assert (prefix_bleu(same, references) == expected).all()
        assert (prefix_bleu(same, references, np.array([3, 0, 2])[::2]) == expected).all()
    packed = pickle.loads(pickle.dumps(pack(references)))
    reward = pickle.loads(pickle.dumps(SentenceBleu()))
    assert (reward.prefix_scores(frozen, np.array([3, 2], np.int32), packed) == expected).all()
    once = reward.extension_rewards(hypotheses.astype(np.int32), np.array([3, 2]), packed)
    again = reward.extension_rewards(frozen, np.array([3, 2], np.int32), packed)
    assert (once.rewards == again.rewards).all()
    assert len(prefix_bleu_kernel.signatures) == len(extension_bleu_kernel.signatures) == 1


@pytest.mark.parametrize("num_words", [BLOCK, BLOCK + 1, BLOCK + 3, 150])
def test_texts_of_several_blocks_equal_the_plain_twin(num_words):
    """Three words, so that n-grams of every order cross the blocks and some end at each of their edges."""
    rng = np.random.default_rng(num_words)
    hypotheses = rng.integers(11, 14, (3, num_words + 10)).astype(np.int32)
    references = [
        [rng.integers(11, 14, num_words - k).tolist() for k in range(of_one)] for of_one in (1, 2, 3)
    ]
    scores = prefix_bleu(hypotheses, references)
    lengths = np.array([num_words - 10, num_words, num_words + 10])
    extensions = SentenceBleu().extension_rewards(hypotheses, lengths, pack(references))
    for i, (hypothesis, of_one) in enumerate(zip(hypotheses.tolist(), references, strict=True)):
        np.testing.assert_allclose(scores[i], plain_prefix_bleu(hypothesis, of_one), rtol=2e-13)
        prefix = hypothesis[: lengths[i]]
        now = plain_sentence_bleu(prefix, of_one)
        for word, reward in zip(extensions.words[i].tolist(), extensions.rewards[i], strict=True):
            expected = plain_sentence_bleu([*prefix, word], of_one) - now
            assert reward == pytest.approx(expected, abs=1e-13)


def test_an_n_gram_counts_once_wherever_it_stands():
    """Said twice, in the reference once: 4, 3, 2, 1 of 8, 7, 6, 5 match, at a block's edges as elsewhere."""
    gram, num_words = [11, 12, 13, 14], 2 * BLOCK + 10
    references = [[[91] * k + gram + [92] * (num_words - k)] for k in range(num_words)]
    scores = prefix_bleu([gram + gram] * num_words, references, brevity_penalty=False)[:, -1]
    np.testing.assert_allclose(scores, (5 / 9 * 4 / 8 * 3 / 7 * 2 / 6) ** 0.25)
