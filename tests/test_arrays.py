import numpy as np

from raysq.arrays import read_only


def test_a_view_that_kernels_take_and_cannot_write_to() -> None:
    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    view = read_only(array)
    assert np.shares_memory(view, array)
    assert not view.flags.writeable
    assert array.flags.writeable
    turned = read_only(array.T)
    assert turned.flags.c_contiguous
    assert turned.tolist() == array.T.tolist()
