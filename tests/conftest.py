import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from raysq.data.corpus import GeneratedText
from raysq.data.prepare import PrepareSettings, prepare
from raysq.data.shards import Corpus
from raysq.training.collective import Collective


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several processes (make test) a file's tests stay together, and those on Ray share one cluster."""
    for item in items:
        on_ray = "ray_session" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("ray" if on_ray else str(item.path)))


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


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """40, 40 and 5 pairs of 1 to 6 words out of 8 (source) and 6 (target); dev has unknown words too."""
    generator = torch.Generator().manual_seed(1)

    def sentence(words: str) -> str:
        length = int(torch.randint(1, 7, (), generator=generator))
        return " ".join(words[int(torch.randint(len(words), (), generator=generator))] for _ in range(length))

    train, dev, test = ([(sentence("abcdefgh"), sentence("uvwxyz")) for _ in range(n)] for n in (40, 40, 5))
    dev[3] = ("a q b", "u q v w")
    folder = tmp_path_factory.mktemp("small_corpus") / "data"
    text = GeneratedText("small", {"train": train, "dev": dev, "test": test})
    prepare(PrepareSettings(output_dir=folder, min_count=1, max_ratio=0), text)
    return Corpus.load(folder)


class _Exchange:
    """Where ranks that are threads of this process meet."""

    def __init__(self, world_size: int) -> None:
        self.parts: list[Any] = [None] * world_size
        self.barrier = threading.Barrier(world_size, timeout=30)

    def __call__(self, rank: int, part: Any) -> list[Any]:
        self.parts[rank] = part
        self.barrier.wait()
        parts = list(self.parts)
        self.barrier.wait()  # nobody leaves something new before everybody has read
        return parts


class _ThreadCollective(Collective):
    def __init__(self, rank: int, world_size: int, exchange: _Exchange) -> None:
        super().__init__(rank, world_size)
        self.exchange = exchange

    def sums(self, values: list[float], device: str = "cpu") -> list[float]:
        return [sum(column) for column in zip(*self.exchange(self.rank, values), strict=True)]

    def sum_gradients(self, parameters: Any) -> None:
        gradients: list[Tensor] = [p.grad for p in parameters if p.grad is not None]
        for mine, *all_ranks in zip(
            gradients, *self.exchange(self.rank, [g.clone() for g in gradients]), strict=True
        ):
            mine.copy_(torch.stack(all_ranks).sum(0))

    def gather(self, items: list[Any]) -> list[Any]:
        return [item for part in self.exchange(self.rank, items) for item in part]


@pytest.fixture
def run_ranks() -> Callable[[int, Callable[[Collective], Any]], list[Any]]:
    """What a function of a learner's group returns on each of so many ranks, which run as threads."""

    def run(world_size: int, function: Callable[[Collective], Any]) -> list[Any]:
        exchange = _Exchange(world_size)
        groups = [_ThreadCollective(rank, world_size, exchange) for rank in range(world_size)]
        with ThreadPoolExecutor(world_size) as pool:
            return list(pool.map(function, groups))

    return run
