"""Translation: where its text comes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from raysq.config import UserError
from raysq.data.archive import is_archive
from raysq.data.corpus import SPLITS, FileText, ParallelText, SplitName, TabbedText
from raysq.data.download import check, fetch, unpacked
from raysq.data.settings import PrepareSettings, is_url
from raysq.data.wit3 import Wit3Text

MULTI30K: Mapping[SplitName, str] = {"train": "train", "dev": "val", "test": "test_2016_flickr"}
EUROPARL: Mapping[SplitName, str] = {"train": "train", "dev": "validation", "test": "test"}
"""File names, as far as they do not depend on the language."""


def translation_text(settings: PrepareSettings) -> ParallelText:
    """The text that the settings ask for; what a URL names is fetched, archives unpacked, beside the output.

    Raises:
        UserError: a file is missing, cannot be fetched or is another than its sha256 says.
    """
    if settings.task == "iwslt14":
        languages = settings.source_language, settings.target_language
        bound = settings.max_line_bytes
        return Wit3Text(input_place(settings), *languages, mend_tedx=settings.mend_tedx, max_line_bytes=bound)
    if settings.task == "tsv":
        files = {split: getattr(settings, split) for split in SPLITS if getattr(settings, split) is not None}
        if settings.input is not None:
            files["train"] = input_place(settings)
        return TabbedText(files, settings.held_out, settings.max_line_bytes)
    languages = settings.source_language, settings.target_language
    return FileText(
        {
            split: (_existing(prefix, languages[0]), _existing(prefix, languages[1]))
            for split, prefix in _prefixes(settings).items()
        },
        settings.max_line_bytes,
    )


def input_folder(settings: PrepareSettings) -> Path:
    """As `input_place`; instead of an archive, which is unpacked, the folder that it holds."""
    place = input_place(settings)
    return unpacked(place, _downloads(settings)) if is_archive(place) else place


def input_place(settings: PrepareSettings) -> Path:
    """The file or folder that ``settings.input`` names, on this machine and compared with its sha256."""
    place, sha256 = str(settings.input), settings.input_sha256
    if is_url(place):
        return fetch(place, str(sha256), _downloads(settings))
    path = Path(place).expanduser()
    if not (path.is_file() or path.is_dir()):
        raise UserError(f"--input {place}: no such file or folder: check the path")
    if sha256 is not None:
        check(path, sha256)
    return path


def _downloads(settings: PrepareSettings) -> Path:
    return settings.folder.parent / "downloads"


def _prefixes(settings: PrepareSettings) -> dict[SplitName, Path]:
    """Paths of both files of each split, without their languages."""
    if settings.task == "files":
        return {split: getattr(settings, split).expanduser() for split in SPLITS}
    folder = input_place(settings)
    if folder.is_file():
        folder = unpacked(folder, _downloads(settings))
    if settings.task == "europarl":
        name = _europarl_name(folder, settings.source_language)
        return {split: folder / f"{name}.{EUROPARL[split]}" for split in SPLITS}
    tail = ".lc.norm.tok" if settings.tokeniser == "none" else ""
    return {split: folder / f"{MULTI30K[split]}{tail}" for split in SPLITS}


def _europarl_name(folder: Path, language: str) -> str:
    """NAME of the one NAME.train.LANGUAGE or NAME.train.LANGUAGE.gz of a folder."""
    tail = f".{EUROPARL['train']}.{language}"
    names = {path.name.removesuffix(".gz").removesuffix(tail) for path in folder.glob(f"*{tail}*")}
    if len(names) != 1:
        raise UserError(
            f"{folder} holds {len(names)} files NAME{tail} or NAME{tail}.gz, not one: check --input and "
            "--source-language, or name the files with --task files"
        )
    return names.pop()


def _existing(prefix: Path, language: str) -> Path:
    """The file PREFIX.LANGUAGE or PREFIX.LANGUAGE.gz; the plain one, if both exist."""
    plain = prefix.with_name(f"{prefix.name}.{language}")
    compressed = prefix.with_name(f"{plain.name}.gz")
    for path in (plain, compressed):
        if path.is_file():
            return path
    raise UserError(
        f"neither {plain} nor {compressed.name} beside it exists: check the path and the language"
    )
