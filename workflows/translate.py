"""Translate standard input with a finished run's model: one line in, one line out.

    echo "ein Mann schläft ." | python workflows/translate.py --run runs/erac-demo-seed1
    python workflows/translate.py --run runs/erac-demo-seed1 --num-best 3 --scores < text.de > text.tsv

Lines are tokenised (and lower-cased) as the run's training text was. Those that have arrived are translated
together: a person who types has an answer to every line, a file goes through in batches. The columns of the
output are separated by tabs: with --num-best above 1 the number of the input line, with --scores the score
(log probability, divided as --length-normalisation says), then the translation. A blank line has an empty one
of score 0. A line that is not UTF-8 ends the command after the translations of the lines before it.
"""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from pydantic import Field

from raysq.commandline import run_command
from raysq.config import UserError
from raysq.data.corpus import MAX_LINE_BYTES
from raysq.data.detokenisation import Detokenise, moses_detokeniser
from raysq.data.settings import settings_of
from raysq.data.tokenisation import line_tokeniser
from raysq.decoding.translator import Translation
from raysq.disk import full_disk_told
from raysq.finished import DecodeSettings, FinishedStage

READ_BYTES = 1 << 16
"""Most that is taken from the input at once."""


class TranslateSettings(DecodeSettings):
    """Which finished run translates, what it reads and what it writes."""

    num_best: int = Field(1, ge=1)
    """Translations of a line, best first; at most beam_size."""
    scores: bool = False
    """Write the score of every translation."""
    tokenised: bool = False
    """The input is tokenised already: white space separates its words."""
    detokenise: bool = False
    """Write text, not words with spaces between them."""


def main(settings: TranslateSettings) -> None:
    """Translate until the input ends.

    Raises:
        UserError: there is nothing to read from or to write to, the disk is full, or as `FinishedStage.open`,
            `FinishedStage.translator` and `arriving_lines`.
    """
    if sys.stdin is None or sys.stdout is None:  # so Python has it where they were closed
        raise UserError("standard input or output is closed: give text with < FILE or a pipe, and > FILE")
    stage = FinishedStage.open(settings.run, settings.stage)
    translator = stage.translator(settings)
    if settings.num_best > translator.decoding.beam_size:
        raise UserError(
            f"--num-best {settings.num_best}: must be at most the beam size {translator.decoding.beam_size}: "
            f"give --beam-size {settings.num_best} too"
        )
    prepared = settings_of(stage.preparation.manifest)
    if settings.tokenised:
        prepared = prepared.model_copy(update={"tokeniser": "none"})
    tokenise = line_tokeniser(prepared, "source")
    text_of = moses_detokeniser(prepared.target_language) if settings.detokenise else " ".join
    number = 0
    # its own buffer: what a full disk does not take would stay in sys.stdout's, and fail again at exit
    with full_disk_told(Path("standard output")), open(sys.stdout.fileno(), "wb", closefd=False) as output:
        for lines in arriving_lines(cast(io.BufferedReader, sys.stdin.buffer)):
            sources = [tokenise(line) for line in lines]
            found = iter(translator.translate([words for words in sources if words], settings.num_best))
            for words in sources:
                number += 1
                translations = next(found) if words else [Translation([], 0.0)]
                output.writelines(_rows(number, translations, settings, text_of))
            output.flush()


def arriving_lines(stream: io.BufferedReader) -> Iterator[list[str]]:
    """The lines of a stream, those together that arrive together.

    Raises:
        UserError: a line is not UTF-8 or over-long; the lines before it have been given out.
    """
    rest, number = b"", 0
    while data := stream.read1(READ_BYTES):
        *complete, rest = (rest + data).split(b"\n")
        yield from _decoded(complete, number)
        number += len(complete)
        if len(rest) > MAX_LINE_BYTES:  # refused before its end: it may have none
            yield from _decoded([rest], number)
    if rest:
        yield from _decoded([rest], number)


def _decoded(raw_lines: Sequence[bytes], number: int) -> Iterator[list[str]]:
    """Some lines, the first of which comes after ``number`` others."""
    lines: list[str] = []
    for raw in raw_lines:
        number += 1
        try:
            lines.append(_decode(raw, number))
        except UserError:
            yield lines
            raise
    yield lines


def _decode(raw: bytes, number: int) -> str:
    if len(raw) > MAX_LINE_BYTES:
        raise UserError(
            f"line {number} of the input has more than {MAX_LINE_BYTES:,} bytes: cut the text into sentences"
        )
    try:
        line = raw.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"line {number} of the input is not UTF-8 (0x{raw[error.start]:02x} at byte {error.start + 1}): "
            "mend it or convert the input, for instance with iconv -t UTF-8"
        ) from error
    return line.removeprefix("\ufeff") if number == 1 else line


def _rows(
    number: int, translations: Sequence[Translation], settings: TranslateSettings, text_of: Detokenise
) -> Iterator[bytes]:
    """The lines of the output for one line of the input."""
    for words, score in translations:
        columns = [str(number)] if settings.num_best > 1 else []
        if settings.scores:
            columns.append(f"{score:.4f}")
        yield "\t".join([*columns, text_of(words)]).encode() + b"\n"


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader that has enough (| head) ends it quietly
    sys.exit(run_command(TranslateSettings, main, description=__doc__))
