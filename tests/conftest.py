from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tiny tensors: threads cost more than they give, and tests may run beside each other."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """A test that draws from torch's own generator draws the same numbers every time."""
    torch.manual_seed(1)


@pytest.fixture
def float64() -> Iterator[None]:
    """New tensors and networks are float64, so that twins agree to rounding."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
