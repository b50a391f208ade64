"""Bad text and bad places: the real command line ends with one line, status 2 and nothing half-written."""

import hashlib
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GERMAN, ENGLISH = b"ein Hund\nzwei Hunde\n", b"a dog\ntwo dogs\n"
SHA256 = "0" * 64
FILES = "--task files --train train --dev dev --test test --min-count 1 --output-dir out"
TSV = "--task tsv --train pairs.tsv --output-dir out"


@pytest.fixture
def folder(tmp_path):
    """Sound text; and packages that preparing must not load, because they take seconds."""
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.de").write_bytes(GERMAN)
        (tmp_path / f"{split}.en").write_bytes(ENGLISH)
    (tmp_path / "pairs.tsv").write_bytes(b"ein Hund\ta dog\n" * 9)
    (tmp_path / "unwanted").mkdir()
    for package in ("torch", "ray", "mlflow"):
        (tmp_path / "unwanted" / f"{package}.py").write_text(f"raise ImportError('{package} is not needed')")
    return tmp_path


def run(folder, options, **how):
    environment = {**os.environ, "PYTHONPATH": f"{folder / 'unwanted'}:{ROOT}"}
    command = [sys.executable, ROOT / "workflows" / "prepare.py", "--quiet", *options.split()]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, **how)


def refused(folder, options, message, remedy, **how):
    """One line that says what is wrong, ends with the remedy, status 2; no file but those that were there."""
    before = sorted(folder.rglob("*"))
    done = run(folder, options, **how)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(f"error: {message}"), done.stderr
    assert done.stderr.endswith(f"{remedy}\n"), done.stderr
    assert sorted(folder.rglob("*")) == before


def test_sound_text_with_blank_lines_is_counted_never_a_stop(folder):
    (folder / "train.de").write_bytes(b"ein Hund\n\nzwei Hunde\n \n")
    (folder / "train.en").write_bytes(b"a dog\nx\ntwo dogs\n\n")
    (folder / "dev.de").write_bytes(b"\nein Hund\n")
    done = run(folder, FILES)
    assert (done.returncode, done.stderr) == (0, "")
    cells = {
        line.split("│")[1].strip(): line.split("│")[2:5] for line in done.stdout.splitlines() if "│" in line
    }
    assert [cell.strip() for cell in cells["lines read"]] == ["4", "2", "2"]
    assert [cell.strip() for cell in cells["dropped: empty"]] == ["2", "0", "0"]
    assert [cell.strip() for cell in cells["pairs kept"]] == ["2", "2", "2"]
    assert [cell.strip() for cell in cells["blank source lines"]] == ["2", "1", "0"]
    assert [cell.strip() for cell in cells["blank target lines"]] == ["1", "0", "0"]


BAD_TEXT = {
    "different length": (
        {"dev.en": b"a dog\n"},
        FILES,
        "dev.en ends before line 2 but dev.de has 2 lines: ",
        "align the files",
    ),
    "invalid UTF-8": (
        {"train.de": b"ein Hund\nsch\xf6n\n"},
        FILES,
        "train.de: line 2, byte 4 of the line (0xf6) is not UTF-8: mend the line",
        "iconv -t UTF-8",
    ),
    "empty file": (
        {"test.en": b""},
        FILES,
        "test.en: line 1 is missing, the file is empty: ",
        "give a file with text",
    ),
    "over-long line": (
        {"train.en": b"a dog\n" + 300_000 * b"x"},
        FILES,
        "train.en: line 2 has more than 100,000 bytes: ",
        "allow more with --max-line-bytes",
    ),
    "nothing left": (
        {"train.de": b"\n\n"},
        FILES,
        "train has no pair left (of train.de): ",
        "check the files, --max-length and --max-ratio",
    ),
    "damaged gz": (
        {"pairs.gz": b"\x1f\x8bnot a gz"},
        TSV.replace("pairs.tsv", "pairs.gz"),
        "pairs.gz: damaged .gz after line 0 (",
        "fetch or compress it again",
    ),
    "three columns": (
        {"pairs.tsv": b"a\tb\na\tb\tc\n"},
        TSV,
        "pairs.tsv: line 2 has 3 columns, not 2: ",
        "choose two columns, for instance with cut -f 1,2",
    ),
    "too little to hold out": ({}, TSV, "dev has no pair left (of pairs.tsv): ", "--dev-every (iwslt14)"),
    "wrong type": (
        {"settings.toml": b'max_length = "50"\n'},
        f"{FILES} --config settings.toml",
        'max_length = "50" in settings.toml: ',
        "must be a whole number, at least 1",
    ),
}


@pytest.mark.parametrize("case", BAD_TEXT)
def test_bad_text(folder, case):
    files, options, message, remedy = BAD_TEXT[case]
    for name, content in files.items():
        (folder / name).write_bytes(content)
    refused(folder, options, message, remedy)
    refused(folder, options.replace("--output-dir out", "--output-dir new/data/out"), message, remedy)


def test_a_good_download_stays(folder):
    """Bad text was fetched in vain, but a command with other settings need not fetch it again."""
    bad = b"ein Hund\n"
    (folder / "bad.tsv").write_bytes(bad)
    sha256 = hashlib.sha256(bad).hexdigest()
    done = run(
        folder, f"--task tsv --input file://{folder}/bad.tsv --input-sha256 {sha256} --output-dir a/out"
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    left = sorted(path.name for path in (folder / "a").rglob("*"))
    assert left == [f"{sha256[:16]}-bad.tsv", "claim", "downloads"]


@pytest.mark.parametrize(
    ("options", "message", "remedy"),
    [
        (
            FILES.replace("--train train", "--train no/train"),
            "neither no/train.de nor train.de.gz beside it exists: ",
            "check the path and the language",
        ),
        (
            "--task multi30k --input no --output-dir out",
            "--input no: no such file or folder: ",
            "check the path",
        ),
        (
            "--task iwslt14 --input unwanted --output-dir out",
            "unwanted holds no train.tags.de-en.de: ",
            "give the 2014-01 release of WIT3, complete",
        ),
        (
            FILES.replace("--output-dir out", "--output-dir train.de/out"),
            "the preparation of ",
            "name a folder that can be written",
        ),
        (
            FILES.replace("--output-dir out", "--output-dir unwanted"),
            "unwanted exists and holds no prepared data: ",
            "give another --output-dir, or remove it",
        ),
        (
            FILES.replace("--output-dir out", "--output-dir train.de"),
            "train.de exists and holds no prepared data: ",
            "give another --output-dir, or remove it",
        ),
    ],
    ids=["input", "input folder", "member", "output below a file", "foreign output", "output is a file"],
)
def test_missing_or_taken_places(folder, options, message, remedy):
    refused(folder, options, message, remedy)


def test_reason_stands_behind_debug(folder):
    (folder / "test.en").write_bytes(b"")
    done = run(folder, f"{FILES} --debug")
    assert done.returncode == 2
    assert done.stderr.startswith("Traceback")
    assert "error: test.en: line 1 is missing" in done.stderr


def fetched(folder, url, message, remedy):
    """As `refused`: no folder for data or downloads is left either."""
    options = f"--task tsv --input {url} --input-sha256 {SHA256} --output-dir data/out"
    refused(folder, options, f"{url} {message}", remedy)


def test_unreachable_host_unknown_protocol_and_another_file(folder):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    package = "install the package for its protocol if that is what is missing"
    fetched(folder, f"http://127.0.0.1:{port}/pairs.tsv", "cannot be read (ClientConnectorError: ", package)
    unknown = "cannot be read (ValueError: Protocol not known: nosuch): check"
    fetched(folder, "nosuch://host/pairs.tsv", unknown, package)
    fetched(folder, f"file://{folder}/pairs.tsv", "has sha256 ", "or the URL of that file")


def test_archive_that_is_none(folder):
    for task in ("multi30k", "europarl", "iwslt14"):
        refused(
            folder,
            f"--task {task} --input pairs.tsv --output-dir new/data/out",
            "pairs.tsv is no sound tar archive (",
            "fetch or make it again",
        )


def write_much(folder):
    """Text of which 1 MB of shards and spools comes."""
    (folder / "train.de").write_text("".join(f"ein Hund {k} " * 4 + "\n" for k in range(20_000)))
    (folder / "train.en").write_text("".join(f"a dog {k} " * 4 + "\n" for k in range(20_000)))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_full_disk(folder):
    write_much(folder)
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False)
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        refused(
            folder,
            FILES.replace("--output-dir out", "--output-dir disk/out"),
            f"{disk}/out cannot be written (No space left on device): ",
            "make room, or name a place that has it",
        )
    finally:
        subprocess.run(["umount", disk], check=True)


def test_file_that_may_not_grow(folder):
    write_much(folder)
    refused(
        folder,
        FILES,
        f"{folder}/out cannot be written (File too large): ",
        "make room, or name a place that has it",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20)),
    )


def test_demo_folder_of_other_settings_is_to_be_removed(folder):
    demo = "--task demo --output-dir data-demo"
    assert run(folder, demo).returncode == 0
    refused(
        folder,
        f"{demo} --min-count 2",
        "data-demo was prepared with min_count 1, not 2: ",
        "remove data-demo, it is generated again",
    )
