import pickle

import numpy as np

from raysq.rewards import SentenceBleu, pack, prefix_bleu
from raysq.rewards.bleu_kernels import extension_bleu_kernel, prefix_bleu_kernel


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
