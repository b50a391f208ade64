"""Line-aligned text -> shards, vocabularies and manifest, in one folder written aside and renamed.

The text streams: a first pass splits it into words, leaves out bad training pairs, counts words and spools
what it keeps; a second reads the spool and writes ids. Only a batch of lines and the counts are in memory.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
from pydantic import Field, model_validator

from raysq.config import Config, UserError
from raysq.data.corpus import (
    SPLITS,
    DropReason,
    FileText,
    Fingerprint,
    ParallelText,
    SplitName,
    Tokenise,
    drop_reason,
    moses_tokeniser,
    sha256_of,
    split_words,
)
from raysq.data.shards import (
    FORMAT,
    MANIFEST,
    ROWS_PER_BATCH,
    SOURCE_VOCABULARY,
    TARGET_VOCABULARY,
    Corpus,
    FileRecord,
    Manifest,
    SplitRecord,
    Vocabularies,
    read_manifest,
    write_shards,
)
from raysq.data.vocabulary import Vocabulary
from raysq.types import SPECIALS

SIDES = ("source", "target")
_SPOOL = "spool"
_TEXT_SCHEMA = pa.schema([("source_text", pa.string()), ("target_text", pa.string())])
_MULTI30K_STEMS: dict[SplitName, str] = {"train": "train", "dev": "val", "test": "test_2016_flickr"}


class PrepareSettings(Config):
    """What to prepare, and how; `task_defaults` says where a task departs from these defaults."""

    task: Literal["demo", "multi30k", "files"] = "demo"
    """demo: generated text; multi30k: its files, in input_dir; files: those that train, dev and test name."""
    output_dir: Path | None = None
    """Folder to write; none: data/TASK."""
    input_dir: Path | None = None
    """Folder of the Multi30k files train, val and test_2016_flickr: ``.lc.norm.tok.LANGUAGE`` for tokeniser
    none, ``.LANGUAGE`` (raw) for moses, either with or without ``.gz``."""
    train: Path | None = None
    """Prefix of the training text, for task files: PREFIX.LANGUAGE or PREFIX.LANGUAGE.gz of both sides."""
    dev: Path | None = None
    """Prefix of the development text, likewise."""
    test: Path | None = None
    """Prefix of the test text, likewise."""
    source_language: str = "de"
    """Suffix of the source files and language of their tokeniser."""
    target_language: str = "en"
    """Suffix of the target files and language of their tokeniser."""
    tokeniser: Literal["none", "moses"] = "none"
    """none: white space separates the words of a line already; moses: as Moses does, ``'`` escaped etc."""
    normalise_punctuation: bool = False
    """Moses' normalize-punctuation before its tokeniser; Multi30k's tokenised files were made so."""
    lower_case: bool = True
    """Lower-case the words, after cleaning."""
    min_count: int = Field(3, ge=1)
    """A word seen less often in the kept training text is unk. [times]"""
    max_length: int = Field(50, ge=1)
    """A training pair with a longer side is left out. [words]"""
    max_ratio: float = Field(1.5, ge=0)
    """A training pair with one side longer than this many times the other is left out; 0: none is."""
    rows_per_shard: int = Field(100_000, ge=1)
    """Longest shard file. [pairs]"""

    @model_validator(mode="after")
    def _combinations(self) -> PrepareSettings:
        prefixes = [name for name in SPLITS if getattr(self, name) is not None]
        if self.task == "files" and len(prefixes) < len(SPLITS):
            raise ValueError("`train`, `dev` and `test` must all be given with task files")
        if self.task != "files" and prefixes:
            raise ValueError(f"`{prefixes[0]}` must be left out unless `task` is files")
        if self.task == "multi30k" and self.input_dir is None:
            raise ValueError("`input_dir` must be given with task multi30k")
        if self.task != "multi30k" and self.input_dir is not None:
            raise ValueError("`input_dir` must be left out unless `task` is multi30k")
        if self.task == "demo" and (self.source_language, self.target_language) != ("de", "en"):
            raise ValueError("`source_language` and `target_language` must be de and en with task demo")
        if self.task == "demo" and self.tokeniser != "none":
            raise ValueError("`tokeniser` must be none with task demo, whose text is tokenised")
        if self.normalise_punctuation and self.tokeniser == "none":
            raise ValueError("`normalise_punctuation` must be false unless `tokeniser` is moses")
        if 0 < self.max_ratio < 1:
            raise ValueError("`max_ratio` must be 0 or at least 1: below 1 no pair is left")
        return self

    @property
    def folder(self) -> Path:
        """Where the prepared data goes."""
        return self.output_dir or Path("data") / self.task

    @property
    def content(self) -> dict[str, Any]:
        """The settings that shape the data, without the places it is read from and written to."""
        return self.model_dump(mode="json", exclude={"output_dir", "input_dir", "train", "dev", "test"})


def task_defaults(given: Mapping[str, object]) -> dict[str, object]:
    """Where a task departs from the defaults of `PrepareSettings`, from the settings given so far.

    The ratio rule is for found text: generated text needs none, and published Multi30k numbers do without.
    """
    if given.get("task") == "demo":
        return {"min_count": 1, "max_ratio": 0.0}
    if given.get("task") == "multi30k":
        return {"max_ratio": 0.0, "normalise_punctuation": given.get("tokeniser") == "moses"}
    return {}


@dataclass(frozen=True, slots=True)
class Prepared:
    """Outcome of `prepare`."""

    folder: Path
    manifest: Manifest
    reused: bool
    """The folder was there already, made from the same text with the same settings."""


def file_text(settings: PrepareSettings) -> FileText:
    """The files that task multi30k or files reads; of ``X`` and ``X.gz`` the plain one, if both exist.

    Raises:
        UserError: a file is missing.
    """
    if settings.task == "multi30k" and settings.input_dir is not None:
        tail = ".lc.norm.tok" if settings.tokeniser == "none" else ""
        prefixes = {split: settings.input_dir / f"{_MULTI30K_STEMS[split]}{tail}" for split in SPLITS}
    else:
        prefixes = {split: Path(getattr(settings, split)) for split in SPLITS}
    languages = settings.source_language, settings.target_language
    return FileText(
        {
            split: (_existing(prefix, languages[0]), _existing(prefix, languages[1]))
            for split, prefix in prefixes.items()
        }
    )


def prepare(settings: PrepareSettings, text: ParallelText) -> Prepared:
    """Write the prepared folder of a text, or find that it is there already.

    Raises:
        UserError: the text has a defect, or the folder holds something else.
    """
    inputs = text.fingerprints()
    folder = settings.folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        return _reuse(settings, inputs)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.mkdir()
        manifest = _write(partial, settings, text, inputs)
        try:
            os.rename(partial, folder)
        except OSError:
            if not (folder / MANIFEST).exists():
                raise
            return _reuse(settings, inputs)  # another process was faster
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Prepared(folder, manifest, reused=False)


def _reuse(settings: PrepareSettings, inputs: dict[str, Fingerprint]) -> Prepared:
    folder = settings.folder
    remedy = f"give another --output-dir, or remove {folder}"
    if not (folder / MANIFEST).is_file():
        raise UserError(f"{folder} exists and holds no prepared data: {remedy}")
    manifest = read_manifest(folder)
    wanted = settings.content
    keys = [key for key in wanted if manifest.settings.get(key) != wanted[key]]
    if keys:
        old, new = manifest.settings.get(keys[0]), wanted[keys[0]]
        raise UserError(f"{folder} was prepared with {keys[0]} {old}, not {new}: {remedy}")
    for role, fingerprint in inputs.items():
        if manifest.inputs[role].sha256 != fingerprint.sha256:
            raise UserError(f"{folder} was prepared from another {role} than {fingerprint.name}: {remedy}")
    return Prepared(folder, Corpus.load(folder).manifest, reused=True)


def _write(
    folder: Path, settings: PrepareSettings, text: ParallelText, inputs: dict[str, Fingerprint]
) -> Manifest:
    spools = {split: folder / f"{split}.{_SPOOL}" for split in SPLITS}
    tallies = {split: _spool(spools[split], text, split, settings) for split in SPLITS}
    if tallies["train"].kept == 0:
        raise UserError("no training pair is left after cleaning: check the files, --max-length, --max-ratio")
    source_counts, target_counts = tallies["train"].counts
    vocabularies = (
        Vocabulary.build(source_counts, settings.min_count),
        Vocabulary.build(target_counts, settings.min_count),
    )
    digest = hashlib.sha256()
    for vocabulary, name in zip(vocabularies, (SOURCE_VOCABULARY, TARGET_VOCABULARY), strict=True):
        vocabulary.save(folder / name)
        digest.update(vocabulary.digest.encode())
    shards = {}
    for split in SPLITS:
        digest.update(f"{split} {tallies[split].kept}\n".encode())
        with pa.memory_map(str(spools[split])) as spool:
            pairs = _spooled(pa.ipc.open_file(spool))
            shards[split] = write_shards(
                folder, split, pairs, vocabularies, settings.rows_per_shard, digest.update
            )
        spools[split].unlink()
    manifest = Manifest(
        format=FORMAT,
        digest=digest.hexdigest(),
        settings=settings.content,
        inputs=inputs,
        versions={package: _version(package) for package in ("raysq", "sacremoses", "pyarrow")},
        splits={split: tallies[split].record(vocabularies, shards[split]) for split in SPLITS},
        vocabulary_sizes={side: len(v) for side, v in zip(SIDES, vocabularies, strict=True)},
        files={
            path.name: FileRecord(bytes=path.stat().st_size, sha256=sha256_of(path))
            for path in sorted(folder.iterdir())
        },
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest


@dataclass(slots=True)
class _Tally:
    """Counts of the first pass over a split."""

    lines: int = 0
    kept: int = 0
    dropped: Counter[DropReason] = field(default_factory=Counter)
    blank: Counter[str] = field(default_factory=Counter)
    counts: tuple[Counter[str], Counter[str]] = field(default_factory=lambda: (Counter(), Counter()))
    """Words of the kept pairs by side."""

    def record(self, vocabularies: Vocabularies, shards: tuple[str, ...]) -> SplitRecord:
        known = [set(vocabulary.words[len(SPECIALS) :]) for vocabulary in vocabularies]
        sides = range(len(SIDES))
        return SplitRecord(
            lines=self.lines,
            pairs=self.kept,
            dropped={reason: self.dropped[reason] for reason in get_args(DropReason)},
            blank={SIDES[k]: self.blank[SIDES[k]] for k in sides},
            words={SIDES[k]: self.counts[k].total() for k in sides},
            unknown={
                SIDES[k]: sum(n for word, n in self.counts[k].items() if word not in known[k]) for k in sides
            },
            shards=shards,
        )


def _tokeniser(settings: PrepareSettings, language: str) -> Tokenise:
    if settings.tokeniser == "none":
        return split_words
    return moses_tokeniser(language, settings.normalise_punctuation)


def _spool(spool: Path, text: ParallelText, split: SplitName, settings: PrepareSettings) -> _Tally:
    """First pass: words of the kept pairs to ``spool``, with single spaces."""
    tally = _Tally()
    kept = _clean(text, split, settings, tally)
    with pa.OSFile(str(spool), "wb") as sink, pa.ipc.new_file(sink, _TEXT_SCHEMA) as writer:
        while rows := list(islice(kept, ROWS_PER_BATCH)):
            columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
            writer.write_batch(pa.record_batch(columns, schema=_TEXT_SCHEMA))
    return tally


def _clean(
    text: ParallelText, split: SplitName, settings: PrepareSettings, tally: _Tally
) -> Iterator[tuple[str, str]]:
    tokenise_source = _tokeniser(settings, settings.source_language)
    tokenise_target = _tokeniser(settings, settings.target_language)
    for source_line, target_line in text.pairs(split):
        pair = tokenise_source(source_line), tokenise_target(target_line)
        tally.lines += 1
        tally.blank.update(side for side, words in zip(SIDES, pair, strict=True) if not words)
        lengths = len(pair[0]), len(pair[1])
        reason = drop_reason(*lengths, settings.max_length, settings.max_ratio) if split == "train" else None
        if reason is not None:
            tally.dropped[reason] += 1
            continue
        tally.kept += 1
        source, target = (" ".join(words) for words in pair)
        if settings.lower_case:
            source, target = source.lower(), target.lower()
        tally.counts[0].update(source.split())
        tally.counts[1].update(target.split())
        yield source, target


def _spooled(reader: Any) -> Iterator[tuple[str, str]]:
    for k in range(reader.num_record_batches):
        batch = reader.get_batch(k)
        yield from zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)


def _existing(prefix: Path, language: str) -> Path:
    plain = prefix.with_name(f"{prefix.name}.{language}")
    compressed = prefix.with_name(f"{plain.name}.gz")
    for path in (plain, compressed):
        if path.is_file():
            return path
    raise UserError(
        f"neither {plain} nor {compressed.name} beside it exists: check the path and the language"
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # raysq run from its sources
        return "not installed"
