"""Line-aligned text -> shards, vocabularies and manifest, in one folder written aside and renamed.

The text streams: a first pass splits it into words, leaves out bad training pairs, counts words and spools
what it keeps; a second reads the spool and writes ids. Only a few parts of it and the counts are in memory.
"""

from __future__ import annotations

import hashlib
import html
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa

from raysq.config import UserError
from raysq.data.corpus import SPLITS, DropReason, ParallelText, SplitName, drop_reason, sha256_of
from raysq.data.manifest import (
    FEATURES,
    FORMAT,
    MANIFEST,
    SOURCE_VOCABULARY,
    TARGET_VOCABULARY,
    FeatureRecord,
    FileRecord,
    Manifest,
    SplitRecord,
    raw_file,
    read_manifest,
)
from raysq.data.settings import PrepareSettings, settings_of
from raysq.data.shards import Corpus, Encode, write_shards
from raysq.data.tokenisation import Pairs, tokenised
from raysq.data.vocabulary import Vocabulary
from raysq.images.store import FeatureStore
from raysq.types import SPECIALS
from raysq.workplace import occupied, publish, workplace

SIDES = ("source", "target")
_TEXT_SCHEMA = pa.schema([("source_text", pa.string()), ("target_text", pa.string())])
_REMEDIES: dict[SplitName, str] = {
    "train": "check the files, --max-length and --max-ratio",
    "dev": "give a longer text, a smaller --held-out (tsv) or --dev-every (iwslt14)",
    "test": "give a longer text, or a smaller --held-out (tsv)",
}
"""Where all pairs of a split were dropped, or none given to it."""
IMAGES_AT_ONCE = 1000
"""Whose features are in memory while their mean is taken."""
OnLines = Callable[[SplitName, int], None]
"""Is told, now and then, how many lines of a split have been read."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Outcome of `prepare`."""

    folder: Path
    manifest: Manifest
    reused: bool
    """The folder was there already, made from the same text with the same settings."""


def prepare(
    settings: PrepareSettings,
    text: ParallelText,
    on_lines: OnLines = lambda split, lines: None,
    patience: float = 0.0,
    features: FeatureStore | None = None,
) -> Prepared:
    """Write the prepared folder of a text, or find that it is there already.

    Args:
        settings: how, and where to.
        text: what is read, once or twice.
        on_lines: shows progress.
        patience: how long to wait for another command that prepares the same folder. [seconds]
        features: of the images that the text's sources name; none: the sources are words.

    Raises:
        UserError: the text has a defect, the folder holds something else, is damaged or in use, or its disk
            is full.
    """
    folder = settings.folder
    if occupied(folder):
        return _reuse(settings, text, features)
    place = folder.resolve()
    with workplace(place, f"the preparation of {place}", resumable=False, patience=patience) as hidden:
        if occupied(folder):  # another command has written it in the meantime
            return _reuse(settings, text, features)
        manifest = _write(hidden / "data", settings, text, on_lines, features)
        publish(hidden, place)
    return Prepared(folder, manifest, reused=False)


def _reuse(settings: PrepareSettings, text: ParallelText, features: FeatureStore | None) -> Prepared:
    folder = settings.folder
    remedy = f"give another --output-dir, or remove {folder}"
    if settings.task.startswith("demo"):  # whose folder a workflow makes by itself, where no option names it
        remedy = f"remove {folder}, it is generated again"
    if not (folder / MANIFEST).is_file():
        raise UserError(
            f"{folder} exists and holds no prepared data: give another --output-dir, or remove it"
        )
    manifest = read_manifest(folder)
    before, wanted = settings_of(manifest).model_dump(mode="json"), settings.content
    for key, value in wanted.items():
        if before[key] != value:
            raise UserError(f"{folder} was prepared with {key} {before[key]}, not {value}: {remedy}")
    inputs = text.fingerprints()
    for role, fingerprint in inputs.items():
        if role not in manifest.inputs or manifest.inputs[role].sha256 != fingerprint.sha256:
            raise UserError(f"{folder} was prepared from another {role} than {fingerprint.name}: {remedy}")
    if gone := sorted(manifest.inputs.keys() - inputs.keys()):
        raise UserError(f"{folder} was prepared from {gone[0]} too, which is not there now: {remedy}")
    before_digest = manifest.features and manifest.features.digest
    if before_digest != (features and features.digest):
        raise UserError(f"{folder} was prepared from other image features than --features: {remedy}")
    corpus = Corpus.load(folder)
    corpus.verify()
    return Prepared(folder, corpus.manifest, reused=True)


def _write(
    folder: Path,
    settings: PrepareSettings,
    text: ParallelText,
    on_lines: OnLines,
    features: FeatureStore | None,
) -> Manifest:
    inputs = text.fingerprints()
    tallies = _spool(folder, settings, text, on_lines, features)
    for split in SPLITS:
        if tallies[split].kept == 0:
            name = inputs[f"{split}.source"].name
            raise UserError(f"{split} has no pair left (of {name}): {_REMEDIES[split]}")
    source_counts, target_counts = tallies["train"].counts
    vocabularies = {"target": Vocabulary.build(target_counts, settings.min_count)}
    if features is None:
        vocabularies = {"source": Vocabulary.build(source_counts, settings.min_count), **vocabularies}
    digest = hashlib.sha256()
    if features is not None:
        features.verify()
        digest.update(features.digest.encode())
        _link(features, folder / FEATURES)
    for side, vocabulary in vocabularies.items():
        vocabulary.save(folder / (SOURCE_VOCABULARY if side == "source" else TARGET_VOCABULARY))
        digest.update(vocabulary.digest.encode())
    encoders = (
        _words_to_ids(vocabularies["source"]) if features is None else lambda name: [features.row(name)],
        _words_to_ids(vocabularies["target"]),
    )
    shards = {}
    for split in SPLITS:
        digest.update(f"{split} {tallies[split].kept}\n".encode())
        pairs = _spooled(_spool_file(folder, split))
        shards[split] = write_shards(
            folder, split, pairs, encoders, settings.rows_per_shard, digest.update, grouped=text.grouped
        )
        _spool_file(folder, split).unlink()
    manifest = Manifest(
        format=FORMAT,
        digest=digest.hexdigest(),
        settings=settings.content,
        inputs=inputs,
        versions={package: _version(package) for package in ("raysq", "sacremoses", "pyarrow")},
        splits={
            split: tallies[split].record(vocabularies, shards[split], grouped=text.grouped)
            for split in SPLITS
        },
        vocabulary_sizes={side: len(vocabulary) for side, vocabulary in vocabularies.items()},
        files={
            str(path.relative_to(folder)): FileRecord(bytes=path.stat().st_size, sha256=sha256_of(path))
            for path in sorted([*folder.iterdir(), *folder.glob(f"{FEATURES}/{MANIFEST}")])
            if path.is_file()  # the store's manifest vouches for the features themselves
        },
        grouped=text.grouped,
        features=features and _record(features, source_counts),
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest


def _record(store: FeatureStore, training_images: Iterable[str]) -> FeatureRecord:
    """What a policy reads, and how it is distributed."""
    rows = np.array(sorted(map(store.row, training_images)))
    sums = np.zeros((2, store.feature_size))
    for part in np.array_split(rows, len(rows) // IMAGES_AT_ONCE + 1):
        features = store.read(part).astype(np.float64)
        sums += features.sum(0), (features**2).sum(0)
    if not np.isfinite(sums).all():
        raise UserError(f"{store.folder} holds features that are no numbers: extract them again")
    mean, square = sums / len(rows)
    deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
    return FeatureRecord(
        size=store.feature_size,
        encoder=store.encoder_digest,
        digest=store.digest,
        weights=store.manifest.encoder.weights,
        mean=tuple(mean.tolist()),
        deviation=tuple(np.where(deviation > 1e-6, deviation, 1.0).tolist()),
    )


def _words_to_ids(vocabulary: Vocabulary) -> Encode:
    return lambda line: vocabulary.encode(line.split())


def _link(store: FeatureStore, to: Path) -> None:
    """The files of a feature store in the prepared folder, which is whole without it: linked if possible."""
    to.mkdir()
    for name in (MANIFEST, *(shard.file for shard in store.manifest.shards)):
        try:
            os.link(store.folder / name, to / name)
        except OSError:  # another file system
            shutil.copyfile(store.folder / name, to / name)


@dataclass(slots=True)
class _Tally:
    """Counts of the first pass over a split."""

    lines: int = 0
    cleaned: int = 0
    """Pairs that were not dropped."""
    held_out: int = 0
    kept: int = 0
    sources: int = 0
    """Of the kept pairs: those that follow each other have one."""
    last_source: str | None = None
    dropped: Counter[DropReason] = field(default_factory=Counter)
    blank: Counter[str] = field(default_factory=Counter)
    counts: tuple[Counter[str], Counter[str]] = field(default_factory=lambda: (Counter(), Counter()))
    """Words of the kept pairs by side."""

    def keep(self, source: str) -> None:
        """Count a pair."""
        self.kept += 1
        self.sources += source != self.last_source
        self.last_source = source

    def record(
        self, vocabularies: Mapping[str, Vocabulary], shards: tuple[str, ...], *, grouped: bool
    ) -> SplitRecord:
        known = {side: set(vocabulary.words[len(SPECIALS) :]) for side, vocabulary in vocabularies.items()}
        sides = range(len(SIDES))
        return SplitRecord(
            lines=self.lines,
            pairs=self.kept,
            held_out=self.held_out,
            sources=self.sources if grouped else None,
            dropped={
                reason: self.dropped[reason]
                for reason in get_args(DropReason)
                if reason != "no_image" or self.dropped[reason]
            },
            blank={SIDES[k]: self.blank[SIDES[k]] for k in sides},
            words={SIDES[k]: self.counts[k].total() for k in sides},
            unknown={
                side: sum(n for word, n in self.counts[SIDES.index(side)].items() if word not in words)
                for side, words in known.items()
            },
            shards=shards,
        )


def _spool_file(folder: Path, split: SplitName) -> Path:
    return folder / f"{split}.spool"


class _Spool:
    """Kept pairs of a split on their way to the disk."""

    def __init__(self, folder: Path, split: SplitName, keep_raw: bool, files: ExitStack) -> None:
        sink = files.enter_context(pa.OSFile(str(_spool_file(folder, split)), "wb"))
        self._words = files.enter_context(pa.ipc.new_file(sink, _TEXT_SCHEMA))
        self._raw = files.enter_context((folder / raw_file(split)).open("wb")) if keep_raw else None

    def write(self, words: Pairs, raw_targets: list[str]) -> None:
        if not words:
            return
        columns = [pa.array(column, pa.string()) for column in zip(*words, strict=True)]
        self._words.write_batch(pa.record_batch(columns, schema=_TEXT_SCHEMA))
        if self._raw is not None:
            self._raw.write("".join(f"{line}\n" for line in raw_targets).encode())


def _spool(
    folder: Path,
    settings: PrepareSettings,
    text: ParallelText,
    on_lines: OnLines,
    features: FeatureStore | None,
) -> dict[SplitName, _Tally]:
    """First pass: words of the kept pairs, and the raw targets of dev and test where words are not raw.

    Raw references of iwslt14 are text, ``R&D``, where its lines and words keep the XML entities that they are
    released with (`raysq.data.wit3`), ``R&amp;D``.
    """
    as_text = _unescaped if settings.task == "iwslt14" else str
    tallies = {split: _Tally() for split in SPLITS}
    with ExitStack() as files:
        spools = {
            split: _Spool(folder, split, split != "train" and settings.tokeniser != "none", files)
            for split in SPLITS
        }
        for split in SPLITS:
            parts = tokenised(text.pairs(split), settings, settings.workers)
            for lines, words in files.enter_context(closing(parts)):
                kept: dict[SplitName, tuple[Pairs, list[str]]] = {home: ([], []) for home in SPLITS}
                for (_, raw_target), pair in zip(lines, words, strict=True):
                    home = _home(pair, split, settings, tallies, features)
                    if home is not None:
                        kept[home][0].append(pair)
                        kept[home][1].append(as_text(raw_target))
                for home, rows in kept.items():
                    spools[home].write(*rows)
                on_lines(split, tallies[split].lines)
    return tallies


def _unescaped(line: str) -> str:
    return " ".join(html.unescape(line).splitlines())  # an entity may be a line end


def _home(
    pair: tuple[str, str],
    split: SplitName,
    settings: PrepareSettings,
    tallies: dict[SplitName, _Tally],
    features: FeatureStore | None,
) -> SplitName | None:
    """The split that a pair of ``split`` goes to, None if it is dropped; counts it."""
    tally = tallies[split]
    words = pair[0].split() if features is None else [pair[0]], pair[1].split()
    tally.lines += 1
    if features is not None and pair[0] in features.skipped:
        tally.dropped["no_image"] += 1
        return None
    tally.blank.update(side for side, side_words in zip(SIDES, words, strict=True) if not side_words)
    if split == "train":
        reason = drop_reason(len(words[0]), len(words[1]), settings.max_length, settings.max_ratio)
        if reason is not None:
            tally.dropped[reason] += 1
            return None
    tally.cleaned += 1
    home = split
    if settings.task == "iwslt14" and split == "train" and tally.cleaned % settings.dev_every == 0:
        tally.held_out += 1
        home = "dev"
    tallies[home].keep(pair[0])
    for counts, side_words in zip(tallies[home].counts, words, strict=True):
        counts.update(side_words)
    return home


def _spooled(path: Path) -> Iterator[tuple[str, str]]:
    with pa.OSFile(str(path), "rb") as spool:  # not mapped: the mapping would count as memory of this process
        reader = pa.ipc.open_file(spool)
        for k in range(reader.num_record_batches):
            batch = reader.get_batch(k)
            yield from zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # raysq run from its sources
        return "not installed"
