"""Translation: where its text comes from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from raysq.config import UserError
from raysq.data.corpus import SPLITS, FileText, GeneratedText, ParallelText, SplitName, TabbedText
from raysq.data.download import check, fetch, unpacked
from raysq.data.settings import PrepareSettings, is_url, task_defaults
from raysq.data.shards import MANIFEST, read_manifest
from raysq.data.wit3 import Wit3Text

MULTI30K: Mapping[SplitName, str] = {"train": "train", "dev": "val", "test": "test_2016_flickr"}
EUROPARL: Mapping[SplitName, str] = {"train": "train", "dev": "validation", "test": "test"}
"""File names, as far as they do not depend on the language."""


def translation_text(settings: PrepareSettings) -> ParallelText:
    """The text that the settings ask for; what a URL names is fetched, archives unpacked, beside the output.

    Raises:
        UserError: a file is missing, cannot be fetched or is another than its sha256 says.
    """
    if settings.task == "demo":
        return demo_text()
    if settings.task == "iwslt14":
        languages = settings.source_language, settings.target_language
        bound = settings.max_line_bytes
        return Wit3Text(_input(settings), *languages, mend_tedx=settings.mend_tedx, max_line_bytes=bound)
    if settings.task == "tsv":
        files = {split: getattr(settings, split) for split in SPLITS if getattr(settings, split) is not None}
        if settings.input is not None:
            files["train"] = _input(settings)
        return TabbedText(files, settings.held_out, settings.max_line_bytes)
    languages = settings.source_language, settings.target_language
    return FileText(
        {
            split: (_existing(prefix, languages[0]), _existing(prefix, languages[1]))
            for split, prefix in _prefixes(settings).items()
        },
        settings.max_line_bytes,
    )


def demo_settings(output_dir: Path) -> PrepareSettings:
    """How the demo's text is prepared when nothing else is said."""
    return PrepareSettings.model_validate(
        {"task": "demo", "output_dir": output_dir, **task_defaults({"task": "demo"})}
    )


def demo_text() -> GeneratedText:
    """The generated German-English text of the task demo, tokenised and lower-cased."""
    from raysq.tasks.grammar import generate

    splits = generate()
    return GeneratedText(
        _generator(), {"train": splits["train"], "dev": splits["dev"], "test": splits["test"]}
    )


def holds_demo(folder: Path) -> bool:
    """Whether a folder was prepared from the demo's text by the sources that would generate it now.

    Told from the manifest alone: to generate the text, and compare it, takes a second.
    """
    if not (folder / MANIFEST).is_file():
        return False
    manifest = read_manifest(folder)
    names = {text.name for text in manifest.inputs.values()}
    return names == {_generator()} and manifest.settings == demo_settings(folder).content


def _generator() -> str:
    """What generates the demo's text, with a digest of its sources."""
    root = Path(__file__).parent
    sources = hashlib.sha256()
    for path in (root / "grammar.py", *sorted((root / "demo_grammar").glob("*.py"))):
        sources.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return f"raysq.tasks.grammar {sources.hexdigest()[:16]}"


def _input(settings: PrepareSettings) -> Path:
    """The file or folder that ``settings.input`` names, on this machine and compared with its sha256."""
    place, sha256 = str(settings.input), settings.input_sha256
    if is_url(place):
        return fetch(place, str(sha256), _downloads(settings))
    path = Path(place).expanduser()
    if not path.exists():
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
    folder = _input(settings)
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
