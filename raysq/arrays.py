"""Arrays as the compiled kernels take them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A contiguous, aligned, read-only view: arrays come so from Ray, and one signature is compiled once."""
    view = np.require(array, requirements=("C", "A")).view()
    view.flags.writeable = False
    return view
