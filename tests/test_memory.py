import numpy as np
import pytest
import torch

from raysq.config import UserError
from raysq.memory import lack_of_memory_told

PETABYTE = 10**15


@pytest.mark.parametrize(
    "allocate",
    [
        lambda: torch.empty(PETABYTE, dtype=torch.uint8),
        lambda: np.empty(PETABYTE, np.uint8),
        lambda: bytearray(PETABYTE),
    ],
    ids=["torch", "numpy", "python"],
)
def test_what_cannot_be_allocated_names_the_setting(allocate):
    pattern = r"^out of memory in training \(.+\): lower --mle.batch-size$"
    with (
        pytest.raises(UserError, match=pattern),
        lack_of_memory_told("in training", "lower --mle.batch-size"),
    ):
        allocate()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nGPU 0 has 0 bytes free."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    ],
)
def test_a_gpu_without_memory_is_told_in_one_line(error):
    with (
        pytest.raises(UserError, match=r"^out of memory now \(CUDA .*\): lower it$"),
        lack_of_memory_told("now", "lower it"),
    ):
        raise error


def test_other_errors_are_left_alone():
    with pytest.raises(RuntimeError, match="shapes"), lack_of_memory_told("now", "lower it"):
        raise RuntimeError("shapes differ")
