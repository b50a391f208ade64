"""The real command line of workflows/translate.py, and what it writes, on a small finished run."""

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from raysq.commandline import run_command
from raysq.data.corpus import MAX_LINE_BYTES, moses_tokeniser
from tests.integration.finished_run import entry, raw_text
from workflows.translate import TranslateSettings, arriving_lines, main

ROOT = Path(__file__).parents[2]
SOURCES = [source for source, _ in raw_text().splits["test"]]


@contextmanager
def started(
    finished_run: Path, python_path: str = str(ROOT), **streams: object
) -> Iterator[subprocess.Popen]:
    """The real command, killed in the end where it hangs."""
    command = [sys.executable, ROOT / "workflows" / "translate.py", "--run", finished_run]
    environment = {**os.environ, "PYTHONPATH": python_path, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": ""}
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | streams
    with subprocess.Popen(command, env=environment, **streams) as process:
        patience = threading.Timer(300, process.kill)
        patience.start()
        try:
            yield process
        finally:
            patience.cancel()


@pytest.fixture
def translate(finished_run, monkeypatch, capfdbinary):
    """Status, lines written and stderr of a command in this process."""

    def run(text: bytes, *options: str) -> tuple[int, list[str], str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(text))))
        arguments = ["--run", str(finished_run), *options]
        status = run_command(TranslateSettings, main, description="", argv=arguments)
        written = capfdbinary.readouterr()
        return status, written.out.decode().splitlines(), written.err.decode()

    return run


def raw(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def hypotheses(run: Path) -> list[str]:
    return (run / "hypotheses" / "mle.test.txt").read_text().splitlines()


def test_a_file_goes_through_line_by_line_without_ray(finished_run, tmp_path):
    """Where Ray and MLflow cannot be imported; a blank line stays one, the last needs no line end."""
    for package in ("ray", "mlflow"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    with started(finished_run, f"{tmp_path}:{ROOT}") as process:
        out, error = process.communicate(raw([*SOURCES[:30], " ", *SOURCES[30:]]).removesuffix(b"\n"))
    assert (process.returncode, error) == (0, b"")
    expected = hypotheses(finished_run)
    assert out.decode().split("\n") == [*expected[:30], "", *expected[30:], ""]


def test_every_line_is_answered_before_the_next_is_typed(finished_run):
    with started(finished_run) as process:
        for source, expected in list(zip(SOURCES, hypotheses(finished_run), strict=True))[:3]:
            process.stdin.write(raw([source]))
            process.stdin.flush()
            assert process.stdout.readline().decode() == f"{expected}\n"
        process.send_signal(signal.SIGINT)
        _, error = process.communicate()
    assert (process.returncode, error) == (130, b"interrupted\n")


def test_a_reader_that_has_enough_ends_it_without_a_word(finished_run):
    with started(finished_run) as process:
        process.stdin.write(raw(SOURCES[:1]))
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        process.stdin.write(raw(SOURCES[:1]))
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait() == -signal.SIGPIPE


def test_a_full_disk_is_told(finished_run):
    with open("/dev/full", "wb") as full, started(finished_run, stdout=full) as process:
        _, error = process.communicate(raw(SOURCES[:1]))
    assert (process.returncode, error.decode()) == (
        2,
        "error: standard output cannot be written (No space left on device): make room, or name a place that "
        "has it\n",
    )


@pytest.mark.parametrize("descriptor", [0, 1])
def test_closed_input_or_output_is_told(descriptor, finished_run):
    with started(finished_run, preexec_fn=partial(os.close, descriptor)) as process:
        error = process.stderr.read().decode()
    assert (process.returncode, error) == (
        2,
        "error: standard input or output is closed: give text with < FILE or a pipe, and > FILE\n",
    )


def test_n_best_is_numbered_and_scored(finished_run, translate):
    status, lines, _ = translate(raw([SOURCES[0], "", SOURCES[1]]), "--num-best", "3", "--scores")
    assert status == 0
    rows = [line.split("\t") for line in lines]
    assert [row[0] for row in rows] == ["1", "1", "1", "2", "3", "3", "3"]
    assert rows[3] == ["2", "0.0000", ""]
    for best in (rows[:3], rows[4:]):
        scores = [float(score) for _, score, _ in best]
        assert scores == sorted(scores, reverse=True)
        assert scores[0] < 0
        assert len({text for *_, text in best}) == 3
    assert [rows[0][2], rows[4][2]] == hypotheses(finished_run)[:2]
    _, lines, _ = translate(raw(SOURCES[:1]), "--scores")
    assert lines == ["\t".join(rows[0][1:])]


def test_the_input_may_be_tokenised_and_the_output_be_text(finished_run, translate):
    raw_lines = raw(SOURCES[:4])
    _, words, _ = translate(raw_lines)
    _, text, _ = translate(raw_lines, "--detokenise")
    assert all(line.endswith(" .") for line in words)
    assert [line.replace(" ", "") for line in text] == [
        line.replace(" ", "").replace("&apos;", "'").replace("<unk>", "⁇") for line in words
    ]
    assert all(line.endswith(".") and not line.endswith(" .") for line in text)
    tokenised = raw([" ".join(moses_tokeniser("de")(line)) for line in SOURCES[:4]])
    assert translate(tokenised, "--tokenised")[1] == words
    assert translate(raw_lines, "--tokenised")[1] != words


def test_unknown_words(translate):
    _, kept, _ = translate(raw(SOURCES), "--unknown", "keep")
    assert any("<unk>" in line for line in kept)
    assert not any("<unk>" in line for line in translate(raw(SOURCES), "--unknown", "copy")[1])
    assert translate(raw(SOURCES), "--unknown", "drop")[1] == [
        " ".join(line.replace("<unk>", "").split()) for line in kept
    ]


def test_a_line_that_is_not_utf_8_ends_it_after_those_before(finished_run, translate):
    status, lines, error = translate(raw(SOURCES[:2]) + b"ein M\xe4nn\n" + raw(SOURCES[:1]))
    assert (status, lines) == (2, hypotheses(finished_run)[:2])
    assert error == (
        "error: line 3 of the input is not UTF-8 (0xe4 at byte 6): mend it or convert the input, "
        "for instance with iconv -t UTF-8\n"
    )


@pytest.mark.parametrize("end", [b"", b"\n", b"x" * (1 << 18)])
def test_an_over_long_line_ends_it_too(end, finished_run, translate):
    status, lines, error = translate(raw(SOURCES[:1]) + b"a" * (MAX_LINE_BYTES + 1) + end)
    assert (status, lines) == (2, hypotheses(finished_run)[:1])
    assert error.startswith("error: line 2 of the input has more than 100,000 bytes: ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--num-best", "4"], "--num-best 4: must be at most the beam size 3: give --beam-size 4 too"),
        (["--stage", "erac"], "--stage must be one of mle"),
        (["--run", "nowhere"], "nowhere: no such folder"),
        (["--unknown", "guess"], "must be keep, drop or copy"),
    ],
)
def test_mistakes_are_one_line(options, said, translate):
    status, lines, error = translate(b"ein Mann\n", *options)
    assert (status, lines) == (2, [])
    assert said in error
    assert error.count("\n") == 1


def test_no_input_no_output(translate):
    assert translate(b"") == (0, [], "")


def test_a_stage_folder_is_enough(finished_run, translate):
    _, lines, _ = translate(raw(SOURCES[:2]), "--run", entry(finished_run)["folder"])
    assert lines == hypotheses(finished_run)[:2]


class _Arriving(io.RawIOBase):
    """Bytes that arrive in pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        piece = self.pieces.pop(0) if self.pieces else b""
        buffer[: len(piece)] = piece
        return len(piece)


def test_lines_come_as_they_arrive() -> None:
    pieces = b"\xef\xbb\xbfa\nb\nc", b"c\n", b"\n\xc3", b"\xa4\nend"
    stream = io.BufferedReader(_Arriving(*pieces))
    assert list(arriving_lines(stream)) == [["a", "b"], ["cc"], [""], ["ä"], ["end"]]
