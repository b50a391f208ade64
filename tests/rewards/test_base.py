import numpy as np
import pytest

from raysq.rewards import PackedReferences, pack


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
