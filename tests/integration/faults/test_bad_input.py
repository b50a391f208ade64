"""What a user can get wrong about a training: one line with the remedy, status 2, and nothing lost.

The real command line in real processes; bad text is in ``tests/integration/test_bad_text.py``.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from raysq.data.corpus import GeneratedText
from raysq.data.prepare import PrepareSettings, prepare
from raysq.data.shards import Corpus
from raysq.tasks.grammar import generate
from raysq.training import checkpoint

pytestmark = pytest.mark.faults

ROOT = Path(__file__).parents[3]
SETTINGS = [
    "--num-learners=0",
    "--threads-per-learner=1",
    "--quiet",
    "--network.hidden-size=32",
    "--network.embedding-size=32",
    "--decoding.max-length=12",
    "--decoding.beam-size=1",
    "--mle.max-updates=60",
    "--mle.evaluate-every=20",
]


def start(*options: str) -> subprocess.Popen[str]:
    command = [sys.executable, ROOT / "workflows" / "mle.py", *SETTINGS, *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def train(*options: str) -> tuple[int, str]:
    """Status and stderr of ``workflows/mle.py`` on small networks."""
    process = start(*options)
    _, errors = process.communicate(timeout=240)
    return process.returncode, errors


def assert_one_line(outcome: tuple[int, str], pattern: str) -> None:
    status, errors = outcome
    assert status == 2, errors
    assert re.fullmatch(f"error: {pattern}\n", errors), errors


def files(folder: Path) -> list[str]:
    """What lies below a folder, folders too."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def the_stage(place: Path) -> Path:
    (folder,) = (place / "stages").glob("mle-*")
    return folder


def test_a_missing_data_folder(tmp_path: Path) -> None:
    outcome = train(f"--data-dir={tmp_path / 'nowhere'}", f"--output-dir={tmp_path / 'runs' / 'a'}")
    assert_one_line(outcome, r"\S*/nowhere holds no prepared data: python \S*/workflows/prepare.py .*")
    assert files(tmp_path) == []


def test_debug_shows_the_traceback_before_the_line(tmp_path: Path) -> None:
    status, errors = train("--debug", f"--data-dir={tmp_path}", f"--output-dir={tmp_path / 'runs' / 'a'}")
    assert status == 2
    assert errors.startswith("Traceback (most recent call last):\n")
    assert errors.splitlines()[-1].startswith(f"error: {tmp_path} holds no prepared data: ")


def test_a_config_file_with_a_wrong_type(data: Path, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"mle": {"batch_size": "fifty"}}')
    outcome = train(f"--config={tmp_path / 'settings.json'}", f"--data-dir={data}")
    assert_one_line(
        outcome, r'mle.batch_size = "fifty" in \S*/settings.json: must be a whole number, at least 1'
    )


def test_a_tracking_server_that_is_not_there(data: Path, tmp_path: Path) -> None:
    outcome = train(
        f"--data-dir={data}", f"--output-dir={tmp_path / 'runs' / 'a'}", "--tracking-uri=http://127.0.0.1:9"
    )
    assert_one_line(
        outcome, r"MLflow at http://127.0.0.1:9 cannot be used \(.*\); start it, or give another .*"
    )
    assert files(tmp_path) == []


def test_an_output_folder_in_use_by_a_live_run(data: Path, tmp_path: Path) -> None:
    endless = [f"--mle.{name}=100000" for name in ("max-updates", "max-epochs", "max-decays")]
    options = (f"--data-dir={data}", *endless, f"--output-dir={tmp_path / 'runs' / 'a'}")
    first = start(*options)
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.rglob("journal.jsonl")):
            assert first.poll() is None, first.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        in_use = (
            rf"the output folder in \S*/runs/a is in use by process {first.pid} on \S+: wait for it, or .*"
        )
        assert_one_line(train(*options), in_use)
        outcome = train(*options[:-1], f"--output-dir={tmp_path / 'runs' / 'b'}")
        assert_one_line(outcome, rf"stage mle in \S+ is in use by process {first.pid} on .*")
        assert first.poll() is None
    finally:
        first.terminate()
        first.communicate()


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run storage with one finished run on ``data``."""
    place = tmp_path_factory.mktemp("finished") / "runs"
    outcome = train(f"--data-dir={data}", f"--output-dir={place / 'a'}")
    assert outcome[0] == 0, outcome[1]
    return place


def unfinished_copy(finished: Path, place: Path) -> Path:
    """The same store as if the run had been killed before its closing scores; returns its stage's folder."""
    shutil.copytree(finished, place)
    folder = the_stage(place)
    (folder / "result.json").unlink()
    return folder


def test_a_checkpoint_of_another_vocabulary(finished: Path, data: Path, tmp_path: Path) -> None:
    """As many words, other ones: shapes alone would not tell."""
    words = Corpus.load(data).preparation
    train_text = generate(sizes={"train": 300, "dev": 20, "test": 20})
    renamed = {
        split: [(source.replace("e", "é"), target) for source, target in pairs]
        for split, pairs in train_text.items()
    }
    settings = PrepareSettings(task="demo", output_dir=tmp_path / "other", min_count=1, max_ratio=0)
    other = prepare(settings, GeneratedText("other", renamed)).folder
    assert len(Corpus.load(other).source_vocabulary) == len(words.source_vocabulary)
    options = (f"--data-dir={other}", f"--output-dir={tmp_path / 'runs' / 'a'}")
    assert train(*options)[0] == 0
    folder = the_stage(tmp_path / "runs")
    (folder / "result.json").unlink()
    shutil.rmtree(folder / "checkpoints")
    shutil.copytree(the_stage(finished) / "checkpoints", folder / "checkpoints")
    before = files(folder)
    pattern = r"checkpoint \S+/step-00000060 was trained on data with other vocabularies: .*"
    assert_one_line(train(*options), pattern)
    assert files(folder) == before


def test_a_checkpoint_of_another_format(finished: Path, data: Path, tmp_path: Path) -> None:
    folder = unfinished_copy(finished, tmp_path / "runs")
    for path in folder.glob("checkpoints/step-*/state.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))
    outcome = train(f"--data-dir={data}", f"--output-dir={tmp_path / 'runs' / 'a'}")
    assert_one_line(outcome, r".*step-00000060.* version 99.*")
    assert not (folder / "result.json").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB, so that it can be full."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_at_a_checkpoint(finished: Path, data: Path, small_disk: Path, tmp_path: Path) -> None:
    """The checkpoints before it stand; with space again the same command ends as if nothing had been."""
    ballast = small_disk / "ballast"
    output, store = tmp_path / "runs" / "a", small_disk / "stages"
    options = (f"--data-dir={data}", f"--output-dir={output}", f"--store-dir={store}")
    one = sum(p.stat().st_size for p in next(the_stage(finished).glob("checkpoints/step-*")).iterdir())
    ballast.write_bytes(b"x" * (8 * 2**20 - int(2.5 * one) - 64 * 1024))
    pattern = r"cannot write checkpoint \S+: .*No space left on device.*"
    assert_one_line(train(*options), pattern)
    folder = the_stage(small_disk)
    assert not (folder / "result.json").exists()
    left = checkpoint.latest(folder / "checkpoints")
    assert left is not None
    assert left.step < 60
    ballast.unlink()
    status, errors = train(*options)
    assert status == 0, errors
    mine, theirs = (checkpoint.best(f / "checkpoints") for f in (folder, the_stage(finished)))
    assert mine is not None
    assert theirs is not None
    assert mine.step == theirs.step
    for key, tensor in theirs.tensors.items():
        assert torch.equal(mine.tensors[key], tensor), key
    results = [json.loads((f / "result.json").read_text()) for f in (folder, the_stage(finished))]
    assert results[0]["scores"] == results[1]["scores"]
    assert results[0]["test"] == results[1]["test"]
