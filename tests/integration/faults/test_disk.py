"""SIGKILL, lost power and a full disk at any change of a file: what is loaded is whole, and work goes on."""

import itertools
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from raysq.algorithms import Algorithm, Mle, Networks
from raysq.config import DecodingConfig, NetworkConfig, UserError
from raysq.data.corpus import GeneratedText
from raysq.data.prepare import PrepareSettings, prepare
from raysq.data.shards import Corpus
from raysq.images.extraction import EncodedShard, Extraction, extract
from raysq.images.pictures import Pictures
from raysq.images.store import EncoderRecord, FeatureStore
from raysq.rewards import LocalScorer, SentenceBleu
from raysq.rewards.settings import RewardSettings
from raysq.training import checkpoint, journal, noise
from raysq.training.collective import Collective
from raysq.training.samples import LocalSource
from raysq.training.spec import StageSpec
from raysq.training.stage import Surroundings, run_stage
from raysq.workplace import workplace
from tests.integration.faults.crashes import FORKS, every_crash, run, writing_at_most

pytestmark = pytest.mark.faults
FORKS.set_forkserver_preload([__name__, "torch._dynamo"])

both_deaths = pytest.mark.parametrize("power_lost", [False, True], ids=["killed", "power lost"])


@pytest.fixture
def copies(tmp_path: Path) -> Callable[[Path | None], Callable[[], Path]]:
    """Makes what makes one new folder after another, empty or a copy."""

    def of(original: Path | None) -> Callable[[], Path]:
        numbers = itertools.count()

        def fresh() -> Path:
            folder = tmp_path / "copies" / f"{next(numbers):03d}"
            if original is None:
                folder.mkdir(parents=True)
            else:
                shutil.copytree(original, folder)
            return folder

        return fresh

    return of


# -- checkpoints


def tensors(step: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return {"w": torch.randn(30, 40, generator=generator), "moments": torch.randn(2000, generator=generator)}


def write_checkpoint(folder: Path, step: int, best: bool) -> None:
    with checkpoint.CheckpointWriter(folder) as writer:
        writer.submit(step, tensors(step), {"learnt": step}, best=best)


def write_fourth(folder: Path) -> None:
    write_checkpoint(folder, 4, best=True)


def assert_one_of(found: checkpoint.Checkpoint | None, steps: set[int]) -> None:
    """It is one of the checkpoints of these steps, to the last bit."""
    assert found is not None
    assert found.step in steps
    assert found.state == {"learnt": found.step}
    assert found.tensors.keys() == tensors(0).keys()
    for name, tensor in tensors(found.step).items():
        assert torch.equal(found.tensors[name], tensor)


def assert_old_or_new(folder: Path) -> None:
    """The newest and the best are the old ones or the new one, and the next one is written as ever."""
    assert_one_of(checkpoint.latest(folder), {3, 4})
    assert_one_of(checkpoint.best(folder), {2, 4})
    write_checkpoint(folder, 5, best=False)
    assert_one_of(checkpoint.latest(folder), {5})
    assert_one_of(checkpoint.best(folder), {2, 4})
    assert not list(folder.glob(".*"))


@pytest.fixture
def three_checkpoints(tmp_path: Path) -> Path:
    """The second is the best."""
    for step in (1, 2, 3):
        write_checkpoint(tmp_path / "three", step, best=step == 2)
    return tmp_path / "three"


@both_deaths
def test_a_crash_at_any_change_of_a_checkpoint(
    three_checkpoints: Path, copies: Any, power_lost: bool
) -> None:
    points = every_crash(copies(three_checkpoints), power_lost, write_fourth, assert_old_or_new)
    aside = ".writing-step-00000004"
    for point in (
        f"fsync {aside}/tensors.safetensors",
        f"open {aside}/state.json",
        f"fsync {aside}/state.json",
        f"fsync {aside}",
        f"os.rename {aside}",
        "os.rename step-00000002",
        "os.remove tensors.safetensors",
    ):
        assert point in points


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("kills", [True, False], ids=["killed", "disk full"])
def test_a_checkpoint_broken_off_inside_the_write(three_checkpoints: Path, kills: bool, share: float) -> None:
    size = (three_checkpoints / "step-00000003" / "tensors.safetensors").stat().st_size
    status = run(writing_at_most, int(share * size), kills, write_fourth, three_checkpoints)
    assert status == (-signal.SIGXFSZ if kills else 1)
    assert (three_checkpoints / ".writing-step-00000004").exists() == kills
    assert_old_or_new(three_checkpoints)


# -- shards


def prepared(place: Path) -> Path:
    """The folder that ``prepare`` writes below a place; it has two shards of training pairs."""
    words = "abcdefgh"
    pairs = [(f"{words[k % 8]} {words[k // 8 % 8]}", f"{words[-k % 8]} x") for k in range(24)]
    text = GeneratedText("small", {"train": pairs, "dev": pairs[:5], "test": pairs[5:9]})
    settings = PrepareSettings(output_dir=place / "data", min_count=1, max_ratio=0, rows_per_shard=20)
    return prepare(settings, text).folder


def prepare_in(place: Path) -> None:
    prepared(place)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def whole_data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    found = content(prepared(tmp_path_factory.mktemp("whole")))
    assert {"train-00000.arrow", "train-00001.arrow"} <= found.keys()
    return found


def assert_nothing_or_all(place: Path, whole: dict[str, bytes]) -> None:
    """There is no folder yet, or a whole one; the same command ends with the whole one."""
    if (place / "data").exists():
        assert content(place / "data") == whole
    assert content(prepared(place)) == whole
    assert content(place).keys() <= {*(f"data/{name}" for name in whole), ".data.partial/claim"}


@both_deaths
def test_a_crash_at_any_change_of_a_preparation(
    whole_data: dict[str, bytes], copies: Any, power_lost: bool
) -> None:
    points = every_crash(
        copies(None), power_lost, prepare_in, lambda place: assert_nothing_or_all(place, whole_data)
    )
    assert "os.rename .data.partial/data" in points
    assert "os.remove .data.partial/data/test.spool" in points


@pytest.mark.parametrize("size", [200, 1000, 2000])
@pytest.mark.parametrize("kills", [True, False], ids=["killed", "disk full"])
def test_a_shard_broken_off_inside_the_write(
    whole_data: dict[str, bytes], tmp_path: Path, kills: bool, size: int
) -> None:
    assert len(whole_data["train-00000.arrow"]) > 2000
    status = run(writing_at_most, size, kills, prepare_in, tmp_path)
    assert status == (-signal.SIGXFSZ if kills else 1)
    assert not (tmp_path / "data").exists()
    assert kills or not list(tmp_path.iterdir())
    assert_nothing_or_all(tmp_path, whole_data)


def test_a_disk_that_is_full_of_a_shard_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "told"
    assert run(writing_at_most, 1000, False, tell_user_error, told, tmp_path) == 0
    assert told.read_text().startswith(f"{tmp_path / 'data'}")
    assert "cannot be written (File too large): make room, or name a place that has it" in told.read_text()


def tell_user_error(told: Path, place: Path) -> None:
    try:
        prepared(place)
    except UserError as error:
        told.write_text(str(error))


# -- image features


ENCODER = EncoderRecord(weights="none", weights_sha256="", architecture={}, preprocessing={}, feature_size=3)


def extract_in(place: Path) -> None:
    """Features of seven images in four shards, in ``features``, from what is there already."""
    extraction = Extraction.of(Pictures.find(place / "images", place), None, 2, 1)

    def encode(numbers: Any) -> Iterator[EncodedShard]:
        for number in numbers:
            with (place / "encoded").open("a") as file:
                file.write(f"{number}\n")
            names = extraction.shard_names(number)
            rows = [[number, ord(name[0]), k] for k, name in enumerate(names)]
            yield EncodedShard(number, names, np.array(rows, np.float32), {})

    if not (place / "features").exists():  # as the command looks first
        with workplace(place / "features", "the extraction") as hidden:
            extract(extraction, ENCODER, hidden, place / "features", encode)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A place with seven images, which all have one time of change."""
    for name in "abcdefg":
        path = tmp_path / "place" / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
        os.utime(path, (1e9, 1e9))
    return tmp_path / "place"


@both_deaths
def test_a_crash_at_any_change_of_an_extraction(images: Path, copies: Any, power_lost: bool) -> None:
    whole = shutil.copytree(images, images.parent / "whole")
    extract_in(whole)

    def check(place: Path) -> None:
        if (place / "features").exists():
            FeatureStore.load(place / "features").verify()
        extract_in(place)
        assert content(place / "features") == content(whole / "features")
        if not power_lost:  # no shard is computed again but the one that was being written
            assert len((place / "encoded").read_text().split()) <= 5

    points = every_crash(copies(images), power_lost, extract_in, check)
    assert "fsync .features.partial/data/features-00002.part" in points
    assert "os.rename .features.partial/data" in points


# -- a stage


NETWORK = NetworkConfig(embedding_size=6, hidden_size=6, init_range=0.7)
ALGORITHM = Mle(optimizer="adam", learning_rate=0.02, batch_size=9, evaluate_every=2, max_updates=2)


class Script:
    """An evaluator that knows its scores."""

    reward, decoding = RewardSettings(), DecodingConfig()

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def policy_scores(
        self, policy: Any, split: str, *, closing: bool = False
    ) -> tuple[dict[str, Any], list[str]]:
        weight = float(policy.output.weight.detach().double().sum())  # scores differ where parameters do
        return {"bleu": 10.0 + weight % 1, "sample_bleu": 5.0}, ["a text"] * 3


def train(place: Path, data: Path) -> None:
    """A stage of two updates, an evaluation and three checkpoints, from where it was left."""
    noise.DRAWS = 2
    torch.set_num_threads(1)

    def make_source(algorithm: Algorithm, networks: Networks) -> Any:
        return LocalSource(algorithm, networks, SentenceBleu(), LocalScorer(SentenceBleu()))

    evaluator: Any = Script(place)
    surroundings = Surroundings(
        corpus=Corpus.load(data),
        network=NETWORK,
        evaluator=evaluator,
        make_source=make_source,
        collective=Collective(),
        device="cpu",
        checkpoint_seconds=0.0,
    )
    run_stage(StageSpec("x", ALGORITHM, place / "stage", seed=1), surroundings)


def outcome(place: Path) -> dict[str, Any]:
    """All that a stage leaves but times."""
    folder = place / "stage"
    found = json.loads((folder / "result.json").read_text())
    kept = {
        f"{kind.__name__} {name}": tensor.numpy().tobytes()
        for kind in (checkpoint.latest, checkpoint.best)
        if (saved := kind(folder / "checkpoints")) is not None
        for name, tensor in saved.tensors.items()
    }
    curve: dict[tuple[int, str], float] = {}
    for record in journal.read(folder / "journal.jsonl")[0]:
        for metric, value in record.metrics.items():
            if not metric.endswith(("seconds", "per_second", "wait_share")):
                curve.setdefault((record.step, metric), value)
    texts = {path.name: path.read_text() for path in (folder / "hypotheses").iterdir()}
    same = ("updates", "best_update", "scores", "dev", "test", "gradient_noise")
    settled = {key: found[key] for key in same}
    preparation = content(folder / "preparation")
    return {**kept, **settled, "curve": curve, "texts": texts, "preparation": preparation}


def test_a_crash_at_changes_of_a_stage(tmp_path: Path, copies: Any) -> None:
    """Journal, checkpoints, hypotheses and result: the repeated run ends as an undisturbed one."""
    data = prepared(tmp_path)
    whole = tmp_path / "whole"
    assert run(train, whole, data) == 0
    expected = outcome(whole)
    assert expected["updates"] == 2

    def check(place: Path) -> None:
        assert run(train, place, data) == 0
        assert outcome(place) == expected

    points = every_crash(copies(None), True, partial(train, data=data), check, stride=5)
    assert len([point for point in points if "checkpoints/" in point]) >= 3
