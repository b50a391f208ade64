"""The real command line of workflows/prepare.py: every task, what it prints, what it leaves behind."""

import hashlib
import html
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from raysq.data.shards import Corpus
from tests.data.wit3_miniature import DROPPED, TRAINING_PAIRS, pack, write_miniature

ROOT = Path(__file__).parents[2]
LONG = 6_000
"""Lines of a text that is long enough for workers."""


def command(*arguments):
    """Without progress, which a slow machine would show on stderr."""
    return [sys.executable, ROOT / "workflows" / "prepare.py", "--quiet", *map(str, arguments)]


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}


def run(folder, *arguments, **variables):
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment() | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def table(printed):
    """Cells of the table by the name of their row."""
    rows = [line.split("│") for line in printed.splitlines() if line.startswith("│")]
    return {cells[1].strip(): [cell.strip() for cell in cells[2:5]] for cells in rows}


def texts(split):
    return [(split.source_text(i), split.target_text(i)) for i in range(len(split))]


def test_files(tmp_path):
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.de").write_text("ein Hund\n\nzwei Hunde\n")
        (tmp_path / f"{split}.fr").write_text("un chien\nx\ndeux chiens\n")
    prefixes = [part for split in ("train", "dev", "test") for part in (f"--{split}", split)]
    options = ["--task", "files", "--target-language", "fr", "--min-count", "1", *prefixes]
    done = run(tmp_path, *options, "--output-dir", "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("out written (data ")
    rows = table(done.stdout)
    assert rows["dropped: empty"] == ["1", "0", "0"]
    assert rows["pairs kept"] == ["2", "3", "3"]
    assert rows["blank source lines"] == ["1", "1", "1"]
    assert f"next: python {ROOT}/workflows/erac.py --task files --data-dir out" in done.stdout


def test_iwslt14_the_whole_recipe(tmp_path):
    release = write_miniature(tmp_path)
    archive = pack(release)
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    kept = TRAINING_PAIRS - sum(DROPPED.values())
    done = run(tmp_path, "--task", "iwslt14", "--input", "de-en", "--output-dir", "data/folder")
    assert (done.returncode, done.stderr) == (0, "")
    rows = table(done.stdout)
    assert rows["lines read"] == [str(TRAINING_PAIRS), "0", "42"]
    assert [rows[f"dropped: {name.replace('_', ' ')}"][0] for name in DROPPED] == [
        str(number) for number in DROPPED.values()
    ]
    assert rows["given to dev"] == [str(kept // 23), "0", "0"]
    assert rows["pairs kept"] == [str(kept - kept // 23), str(kept // 23), "42"]
    corpus = Corpus.load(tmp_path / "data" / "folder")
    assert corpus.manifest.settings["task"] == "iwslt14"
    for place in ("de-en.tgz", f"file://{archive}"):
        output = f"data/{len(place)}"
        done = run(
            tmp_path, "--task", "iwslt14", "--input", place, "--input-sha256", sha256, "--output-dir", output
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert Corpus.load(tmp_path / output).digest == corpus.digest


def test_iwslt14_text(tmp_path):
    """Against the recipe written out: tokenise, clean, lower-case, every 23rd to dev, rare words to unk."""
    from collections import Counter

    from raysq.data.corpus import moses_tokeniser
    from raysq.data.wit3 import Wit3Text

    release = write_miniature(tmp_path)
    assert run(tmp_path, "--task", "iwslt14", "--input", "de-en", "--output-dir", "out").returncode == 0
    corpus = Corpus.load(tmp_path / "out")
    german, english = moses_tokeniser("de"), moses_tokeniser("en")
    raw = {split: list(Wit3Text(release).pairs(split)) for split in ("train", "test")}
    words = {split: [(german(s), english(t)) for s, t in pairs] for split, pairs in raw.items()}
    clean = [
        (pair, raw_pair)
        for pair, raw_pair in zip(words["train"], raw["train"], strict=True)
        if 1 <= min(map(len, pair)) <= max(map(len, pair)) <= 50
        and max(map(len, pair)) <= 1.5 * min(map(len, pair))
    ]
    dev, train = clean[22::23], [item for k, item in enumerate(clean, start=1) if k % 23]

    def lowered(pairs):
        return [(" ".join(source).lower(), " ".join(target).lower()) for source, target in pairs]

    assert texts(corpus.splits["train"]) == lowered(pair for pair, _ in train)
    assert texts(corpus.splits["dev"]) == lowered(pair for pair, _ in dev)
    assert texts(corpus.splits["test"]) == lowered(words["test"])
    assert any("R&amp;D" in target for _, target in raw["test"])
    assert corpus.raw_references("dev") == [html.unescape(target) for _, (_, target) in dev]
    assert corpus.raw_references("test") == [html.unescape(target) for _, target in raw["test"]]
    counts = Counter(word for _, target in lowered(pair for pair, _ in train) for word in target.split())
    assert set(corpus.target_vocabulary.words[4:]) == {word for word, n in counts.items() if n >= 3}


def test_europarl_from_a_url(tmp_path):
    (tmp_path / "set").mkdir()
    for split in ("train", "validation", "test"):
        (tmp_path / "set" / f"v7.{split}.de").write_text("Herr Präsident, danke!\n" * 3)
        (tmp_path / "set" / f"v7.{split}.en").write_text("Mr President, thank you!\n" * 3)
    with tarfile.open(tmp_path / "set.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "set", "set")
    sha256 = hashlib.sha256((tmp_path / "set.tar.gz").read_bytes()).hexdigest()
    url = f"file://{tmp_path}/set.tar.gz"
    options = ["--task", "europarl", "--input", url, "--output-dir", "data/out", "--input-sha256"]
    failed = run(tmp_path, *options, "f" * 64)
    assert failed.returncode == 2
    assert failed.stderr.startswith(f"error: {url} has sha256 {sha256}, not ffff")
    assert failed.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()
    done = run(tmp_path, *options, sha256)
    assert (done.returncode, done.stderr) == (0, "")
    corpus = Corpus.load(tmp_path / "data" / "out")
    assert texts(corpus.splits["dev"])[0] == ("herr präsident , danke !", "mr president , thank you !")
    assert "data/out reused" in run(tmp_path, *options, sha256).stdout


def test_in_a_job_data_outlives_the_working_directory(tmp_path):
    """Which is a copy that Ray deletes."""
    copy = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    copy.mkdir(parents=True)
    (copy / "train.tsv").write_text("ein Hund\ta dog\n")
    options = ["--task", "tsv", *(part for s in ("train", "dev", "test") for part in (f"--{s}", "train.tsv"))]
    options += ["--min-count", "1"]
    failed = run(copy, *options, "--output-dir", "data/mine", HOME=str(tmp_path))
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: --output-dir data/mine: in a job this lies in Ray's copy of the")
    assert [path.name for path in copy.iterdir()] == ["train.tsv"]
    done = run(copy, *options, HOME=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"--data-dir {tmp_path}/raysq/data/tsv" in done.stdout
    assert len(Corpus.load(tmp_path / "raysq" / "data" / "tsv").splits["train"]) == 1
    assert [path.name for path in copy.iterdir()] == ["train.tsv"]


def write_long(folder):
    lines = (f'Satz {k}: ein Hund.\tSentence {k}: "a dog".\n' for k in range(LONG))
    (folder / "train.tsv").write_text("".join(lines))


def test_tsv_with_workers_is_the_same_as_without(tmp_path):
    write_long(tmp_path)
    options = ["--task", "tsv", "--train", "train.tsv", "--tokeniser", "moses", "--output-dir"]
    done = [run(tmp_path, *options, str(n), "--num-workers", n) for n in (0, 2)]
    assert [(process.returncode, process.stderr) for process in done] == [(0, "")] * 2
    kept = table(done[0].stdout)["pairs kept"]
    assert sum(int(cell.replace(",", "")) for cell in kept) == LONG
    files = [{path.name: path.read_bytes() for path in (tmp_path / n).iterdir()} for n in ("0", "2")]
    assert files[0] == files[1]
    assert {"raw.dev.target.txt", "raw.test.target.txt"} < files[0].keys()


def alive(pid):
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def descendants(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children] + [d for child in children for d in descendants(child)]


def wait_until(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "not within a minute"
        time.sleep(0.05)


@pytest.fixture
def stopped(tmp_path):
    """A preparation into ``out``, stopped (but alive) in its first pass, with workers; killed at the end."""
    write_long(tmp_path)
    arguments = command(*LONG_OPTIONS)
    with (tmp_path / "said").open("w") as said:  # no pipe, which a worker that lives on would hold open
        process = subprocess.Popen(
            arguments, cwd=tmp_path, env=environment(), stderr=said, start_new_session=True
        )
    wait_until(lambda: (tmp_path / ".out.partial" / "data" / "train.spool").exists())
    wait_until(lambda: len(descendants(process.pid)) >= 2)
    process.send_signal(signal.SIGSTOP)
    yield process
    process.kill()
    process.wait()


LONG_OPTIONS = ("--task", "tsv", "--train", "train.tsv", "--tokeniser", "moses", "--output-dir", "out")


def test_output_of_a_live_preparation_is_refused_and_of_a_killed_one_taken_over(tmp_path, stopped):
    failed = run(tmp_path, *LONG_OPTIONS)
    assert failed.returncode == 2
    assert failed.stderr.startswith(f"error: the preparation of {tmp_path}/out in ")
    assert f"is in use by process {stopped.pid} on " in failed.stderr
    assert failed.stderr.endswith(": wait for it, or give another --output-dir\n")
    assert failed.stderr.count("\n") == 1

    workers = descendants(stopped.pid)
    stopped.kill()
    wait_until(lambda: not any(alive(worker) for worker in workers))
    assert (tmp_path / ".out.partial" / "data").is_dir()
    assert not (tmp_path / "out").exists()

    done = run(tmp_path, *LONG_OPTIONS, "--num-workers", "0")
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in tmp_path.iterdir()} == {"train.tsv", "said", "out"}
    Corpus.load(tmp_path / "out").verify()


def test_interruption_leaves_nothing(tmp_path, stopped):
    workers = descendants(stopped.pid)
    os.killpg(stopped.pid, signal.SIGINT)  # as Ctrl-C does, while workers are starting
    stopped.send_signal(signal.SIGCONT)
    assert stopped.wait(timeout=60) == 130
    wait_until(lambda: not any(alive(worker) for worker in workers))
    assert (tmp_path / "said").read_text() == "interrupted\n"
    assert {path.name for path in tmp_path.iterdir()} == {"train.tsv", "said"}
