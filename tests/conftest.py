import random
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from torch import Tensor

from raysq.data.corpus import GeneratedText
from raysq.data.prepare import PrepareSettings, prepare
from raysq.data.shards import Corpus
from raysq.images.store import EncoderRecord, FeatureStore
from raysq.images.store_writer import StoreWriter
from raysq.training.collective import Collective

# The same few examples in every run, however long a busy machine takes over one.
settings.register_profile("raysq", derandomize=True, deadline=None, max_examples=50, database=None)
settings.load_profile("raysq")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole programs come first: with several processes (make test) none waits for another in the end."""
    items.sort(key=lambda item: "integration" not in item.path.parts)


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
def s3_server() -> Iterator[dict[str, str]]:
    """An S3 server on this machine: what its clients find in their environment."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1",
    }
    server.stop()


@pytest.fixture
def s3(s3_server: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of an empty bucket; working copies lie in ``copies`` of the test's folder."""
    import fsspec

    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAYSQ_CACHE", str(tmp_path / "copies"))
    bucket = f"raysq-{uuid.uuid4().hex}"
    fsspec.filesystem("s3", use_listings_cache=False).mkdir(bucket)
    return f"s3://{bucket}"


@pytest.fixture(params=["memory", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of an empty place, in this process's memory or on an S3 server."""
    if request.param == "s3":
        return str(request.getfixturevalue("s3"))
    monkeypatch.setenv("RAYSQ_CACHE", str(tmp_path / "copies"))
    return f"memory://raysq-{uuid.uuid4().hex}"


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


@pytest.fixture(scope="session")
def small_headlines(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """40, 12 and 5 articles of 3 to 8 words; one headline of 1 to 4 words, but three of dev and test."""
    draws = random.Random(2)
    splits = {
        split: [
            (article, " ".join(draws.choices("uvwxyz", k=draws.randint(1, 4))))
            for article in [" ".join(draws.choices("abcdefgh", k=draws.randint(3, 8))) for _ in range(count)]
            for _ in range(1 if split == "train" else 3)
        ]
        for split, count in (("train", 40), ("dev", 12), ("test", 5))
    }
    folder = tmp_path_factory.mktemp("small_headlines") / "data"
    text = GeneratedText("small", splits, grouped=True)
    prepare(PrepareSettings(output_dir=folder, min_count=1, max_ratio=0), text)
    return Corpus.load(folder)


@pytest.fixture(scope="session")
def small_captions(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """13, 6 and 4 images of 5 features, each with three captions of 1 to 5 words out of 6."""
    draws = random.Random(3)
    place = tmp_path_factory.mktemp("small_captions")
    sizes = (("train", 13), ("dev", 6), ("test", 4))
    names = {split: [f"{split} {k}.jpg" for k in range(count)] for split, count in sizes}
    encoder = EncoderRecord(
        weights="none", weights_sha256="", architecture={}, preprocessing={}, feature_size=5
    )
    (place / "features").mkdir()
    (place / "records").mkdir()
    writer = StoreWriter(place / "features", place / "records", "a plan", encoder)
    every = sorted(name for of_split in names.values() for name in of_split)
    features = np.array([[draws.gauss(0, 1) for _ in range(5)] for _ in every], np.float32)
    writer.write(0, every, features, {})
    writer.finish({}, ())
    splits = {
        split: [
            (name, " ".join(draws.choices("uvwxyz", k=draws.randint(1, 5))))
            for name in of_split
            for _ in range(3)
        ]
        for split, of_split in names.items()
    }
    settings = PrepareSettings(task="demo-captioning", output_dir=place / "data", min_count=1, max_ratio=0)
    store = FeatureStore.load(place / "features")
    prepare(settings, GeneratedText("small", splits, grouped=True), features=store)
    return Corpus.load(place / "data")


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
