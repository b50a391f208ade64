import numpy as np
import pytest

from raysq.rewards.arguments import (
    NEW_WORD,
    UNMATCHED,
    candidates,
    kernel_arguments,
    without_unknown,
    words_of_references,
)
from raysq.rewards.base import pack
from raysq.types import PAD, UNK


@pytest.mark.parametrize(
    ("hypotheses", "lengths", "message"),
    [
        ([11, 12], [1], "hypotheses must have 2 axes"),
        ([[1.5]], [1], "hypotheses must hold integer"),
        ([[11], [12]], [1, 1], "2 hypotheses but references for 1"),
        ([[11]], [2], "lengths must lie in 0..1"),
        ([[11]], [-1], "lengths must lie in 0..1"),
        ([[11]], [1, 1], "lengths must be 1 integers"),
        ([[11]], [1.0], "lengths must be 1 integers"),
    ],
)
def test_mistakes_are_named(hypotheses, lengths, message):
    with pytest.raises(ValueError, match=message):
        kernel_arguments(np.array(hypotheses), "hypotheses", np.array(lengths), pack([[[11]]]))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_arguments_are_of_one_kind(dtype):
    """One signature is compiled once: read-only, strided and unaligned arrays are made alike."""
    ids = np.array([[11, 12], [13, 14]], dtype)
    unaligned = np.frombuffer(b"." + ids.tobytes(), dtype, offset=1).reshape(2, 2)
    for same in (ids, np.asfortranarray(ids), unaligned):
        lengths = np.array([2, 0, 1], dtype)[::2]
        arrays = kernel_arguments(same, "hypotheses", lengths, pack([[[11]], [[12, 13], []]]))
        assert [a.dtype.name for a in arrays] == ["int32", "int64", "int32", "int64", "int64"]
        assert all(a.flags.c_contiguous and a.flags.aligned and not a.flags.writeable for a in arrays)
        assert [a.tolist() for a in arrays[:3]] == [[[11, 12], [13, 14]], [2, 1], [11, 12, 13]]


def test_candidates_are_the_distinct_words_and_a_new_one():
    packed = without_unknown(pack([[[12, 11, 12], [UNK, 13]], [[14]], [[], [UNK]]]))
    assert packed.tokens.tolist() == [12, 11, 12, UNMATCHED, 13, 14, UNMATCHED]
    words = words_of_references(packed)
    assert words.tolist() == [[12, 11, 12, PAD, 13], [14, PAD, PAD, PAD, PAD], [PAD] * 5]
    assert candidates(words).tolist() == [
        [13, 12, 11, NEW_WORD],
        [14, PAD, PAD, NEW_WORD],
        [PAD] * 3 + [NEW_WORD],
    ]
    assert candidates(words).dtype == np.int32
    assert candidates(words_of_references(pack([[[]]]))).tolist() == [[NEW_WORD]]
