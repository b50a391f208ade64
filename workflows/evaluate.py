"""Score a finished run on a split of prepared data, or on files.

    python workflows/evaluate.py --run runs/erac-multi30k-seed1 --split test --output-dir results/test
    python workflows/evaluate.py --run runs/erac-multi30k-seed1 --source new.de --target new.en --unknown copy

Tokenised BLEU compares words as the training data has them; detokenised BLEU compares text with raw
references, which data prepared with --tokeniser moses keeps. Files are prepared as the training data was.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import model_validator
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from raysq.addresses import Place, written
from raysq.commandline import run_command
from raysq.config import UserError
from raysq.data.corpus import SplitName, read_lines, read_pairs
from raysq.data.detokenisation import moses_detokeniser
from raysq.data.settings import settings_of
from raysq.data.shards import Corpus
from raysq.data.tokenisation import line_tokeniser
from raysq.decoding.translator import Translator
from raysq.files import replace_json, write_lines
from raysq.finished import DecodeSettings, FinishedStage, data_dir_of
from raysq.metrics import NAMES, CorpusScore, corpus_bleu, detokenised_bleu, text_scores
from raysq.places import lasting
from raysq.storage import push
from raysq.terminal import as_started, terminal


class EvaluateSettings(DecodeSettings):
    """Which finished run is scored, and on what."""

    split: SplitName | None = None
    """Split of the prepared data; none: test, unless source is given."""
    data_dir: Place | None = None
    """Folder that workflows/prepare.py wrote; none: the one that the run was trained on."""
    source: Path | None = None
    """File to translate instead of a split, one sentence a line, plain or .gz."""
    target: Path | None = None
    """File with a reference for each line of source; it is tokenised as the training data was."""
    raw_references: Path | None = None
    """File with an untokenised reference for each sentence, for detokenised BLEU; none: those that the
    prepared data keeps, or target where the training data was not tokenised beforehand."""
    output_dir: Place | None = None
    """Folder for scores.json, hypotheses.txt and hypotheses.detokenised.txt; none: print the scores only."""

    @model_validator(mode="after")
    def _split_or_files(self) -> EvaluateSettings:
        if self.source is not None and (self.split is not None or self.data_dir is not None):
            raise ValueError("`split` and `data_dir` must be left out with `source`")
        if self.source is not None and self.target is None and self.raw_references is None:
            raise ValueError(
                "`target` or `raw_references` must be given with `source`; without references there is "
                f"{as_started('translate')}"
            )
        if self.source is None and self.target is not None:
            raise ValueError("`source` must be given with `target`")
        return self


@dataclass(frozen=True, slots=True)
class Text:
    """What is translated, and what the translations are compared with."""

    place: str
    """Where it is from."""
    digest: str | None
    """Of the prepared data; None: files."""
    sources: list[list[str]]
    """Words of each sentence."""
    references: list[list[str]] | None
    """Of each sentence, words with single spaces."""
    raw_references: list[str] | None
    """Lines as they were before they were tokenised."""


def main(settings: EvaluateSettings) -> None:
    """Translate and score; print a table, and write what was asked for."""
    console = terminal()
    output = lasting("--output-dir", settings.output_dir) if settings.output_dir else None
    stage = FinishedStage.open(settings.run, settings.stage)
    text = split_text(settings, stage, console) if settings.source is None else file_text(settings, stage)
    translator = stage.translator(settings)
    if output is not None:
        _make(output)
    console.print(f"stage {stage.name} in {stage.folder} on {text.place}")
    words = translate(translator, text.sources)
    prepared = settings_of(stage.preparation.manifest)
    hypotheses = [" ".join(sentence) for sentence in words]
    detokenised = list(map(moses_detokeniser(prepared.target_language), words))
    scores: dict[str, CorpusScore] = {}
    by_task: dict[str, Any] = {}
    if text.references is not None:
        scores["tokenised"] = corpus_bleu(hypotheses, text.references)
        by_task = text_scores(stage.decoding.scoring, hypotheses, text.references)
    if text.raw_references is not None:
        raw = [[line] for line in text.raw_references]
        scores["detokenised"] = detokenised_bleu(detokenised, raw, ignore_case=prepared.lower_case)
    console.print(table(scores))
    for kind, score in scores.items():
        console.print(f"{kind}: {score.signature}")
    if stage.decoding.scoring != "bleu":
        console.print(
            ", ".join(f"{name} {by_task[key]:.2f}" for key, name in NAMES.items() if key in by_task)
        )
    if output is not None:
        record = {
            "stage": stage.name,
            "folder": written(stage.folder),
            "best_update": stage.best_update,
            "text": written(text.place),
            "data": text.digest,
            "sentences": len(words),
            "decoding": translator.decoding.model_dump(),
            "unknown": settings.unknown,
            **{kind: score.row() for kind, score in scores.items()},
            **({"scores": by_task} if by_task else {}),
        }
        write(output, hypotheses, detokenised, record)
        push(output)
        console.print(f"results: {output / 'scores.json'}")


def split_text(settings: EvaluateSettings, stage: FinishedStage, console: Console) -> Text:
    """A split of prepared data whose words have the ids that the policy knows.

    Raises:
        UserError: there is no such data, or it has other vocabularies.
    """
    corpus = Corpus.load(settings.data_dir or data_dir_of(settings.run))
    if corpus.preparation.vocabulary_digests != stage.preparation.vocabulary_digests:
        raise UserError(
            f"{corpus.folder} has other vocabularies than the training data of stage {stage.name}: give the "
            "--data-dir it was trained with, or translate files with --source and --target"
        )
    if corpus.digest != stage.data_digest:
        console.print(
            f"note: data {corpus.digest[:12]} is not {stage.data_digest[:12]}, which stage {stage.name} was "
            "trained on; the vocabularies are the same"
        )
    name = settings.split or "test"
    split = corpus.splits[name]
    raw = corpus.raw_references(name)
    return Text(
        f"{name} of {corpus.folder}",
        corpus.digest,
        [split.source_text(i).split() for i in range(len(split))],
        [split.reference_texts(i) for i in range(len(split))],
        raw if settings.raw_references is None else _raw_lines(settings.raw_references, len(split)),
    )


def file_text(settings: EvaluateSettings, stage: FinishedStage) -> Text:
    """The files that the settings name, as the training data was prepared.

    Raises:
        UserError: a file has a defect, or they have different numbers of lines.
    """
    assert settings.source is not None
    prepared = settings_of(stage.preparation.manifest)
    source_words = line_tokeniser(prepared, "source")
    target_words = line_tokeniser(prepared, "target")
    references = raw = None
    if settings.target is None:
        lines = list(read_lines(settings.source))
    else:
        pairs = list(read_pairs(settings.source, settings.target))
        lines, targets = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        references = [[" ".join(target_words(line))] for line in targets]
        raw = targets if prepared.tokeniser != "none" else None
    if settings.raw_references is not None:
        raw = _raw_lines(settings.raw_references, len(lines))
    return Text(str(settings.source), None, [source_words(line) for line in lines], references, raw)


def translate(translator: Translator, sources: Sequence[Sequence[str]]) -> list[list[str]]:
    """Words of the best translation of each sentence, with a bar on a terminal."""
    errors = terminal(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        bar = progress.add_task("translating", total=len(sources))
        found = translator.translate(sources, advance=lambda count: progress.advance(bar, count))
    return [best.words for best, *_ in found]


def table(scores: Mapping[str, CorpusScore]) -> Table:
    """Each score with its parts."""
    made = Table("", "BLEU", "brevity penalty", "length ratio")
    for kind, score in scores.items():
        made.add_row(kind, f"{score.bleu:.2f}", f"{score.brevity_penalty:.3f}", f"{score.length_ratio:.3f}")
    return made


def write(folder: Path, hypotheses: list[str], detokenised: list[str], record: Mapping[str, Any]) -> None:
    """Write the hypotheses, as words and as text, and then the scores.

    Raises:
        UserError: the disk is full or refuses.
    """
    try:
        write_lines(folder / "hypotheses.txt", hypotheses)
        write_lines(folder / "hypotheses.detokenised.txt", detokenised)
        replace_json(folder / "scores.json", record)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(f"--output-dir {folder}: {error.strerror}: make room there, or give another folder")


def _raw_lines(path: Path, count: int) -> list[str]:
    lines = list(read_lines(path))
    if len(lines) != count:
        raise UserError(
            f"{path} has {len(lines)} lines for {count} sentences: give one reference a line, in order"
        )
    return lines


if __name__ == "__main__":
    sys.exit(run_command(EvaluateSettings, main, description=__doc__))
