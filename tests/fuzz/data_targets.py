"""Readers of text: parallel files, tables, archives, TED talks."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from raysq.data.corpus import SPLITS
from raysq.data.prepare import prepare
from raysq.data.settings import PrepareSettings
from raysq.images.annotations import first_named
from raysq.tasks.text import given
from tests.fuzz.harness import Target

SIDES = (
    ("Ein Hund läuft .", "Zwei Männer sitzen im Café .", "Ein Kind spielt mit 3 Bällen", "ja"),
    ("A dog runs .", "Two men sit in the café .", "A child plays with 3 balls", "yes"),
)


def prepared(folder: Path, **settings: object) -> None:
    """Text as workflows/prepare.py reads it, and all that it does with it."""
    if "input" in settings:
        settings["input"] = str(settings["input"])
    chosen = PrepareSettings.model_validate(
        {"output_dir": folder.with_name("data"), "min_count": 1, "max_ratio": 0, "num_workers": 0} | settings
    )
    text = given(chosen)
    prepare(chosen, text.text, features=text.features)
    list(first_named(text.left_out))


def write_lines(path: Path, lines: Iterable[str]) -> None:
    text = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)


def write_tar(path: Path, files: Mapping[str, bytes]) -> None:
    """An archive, the same every time."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    plain = packed.getvalue()
    path.write_bytes(gzip.compress(plain, mtime=0) if path.suffix in (".gz", ".tgz") else plain)


def make_files(folder: Path) -> None:
    for split in SPLITS:
        for lines, language in zip(SIDES, ("de", "en"), strict=True):
            write_lines(folder / f"{split}.{language}{'.gz' if split == 'dev' else ''}", lines)


def read_files(folder: Path) -> None:
    prepared(folder, task="files", **{split: folder / split for split in SPLITS})


def make_multi30k(folder: Path) -> None:
    names = ("train", "val", "test_2016_flickr")
    write_tar(
        folder / "multi30k.tar.gz",
        {
            f"data/{name}.lc.norm.tok.{language}": "\n".join((*lines, "")).encode()
            for name in names
            for lines, language in zip(SIDES, ("de", "en"), strict=True)
        },
    )


def read_multi30k(folder: Path) -> None:
    prepared(folder, task="multi30k", input=folder / "multi30k.tar.gz")


def make_tabbed(folder: Path) -> None:
    pairs = [f"{source} {k}\t{target} {k}" for k in range(3) for source, target in zip(*SIDES, strict=True)]
    write_lines(folder / "train.tsv", pairs)
    write_lines(folder / "dev.tsv.gz", pairs[:3])


def read_tabbed(folder: Path) -> None:
    prepared(folder, task="tsv", train=folder / "train.tsv", dev=folder / "dev.tsv.gz", held_out=4)


def make_headlines(folder: Path) -> None:
    for name in ("train", "valid", "test"):
        write_lines(folder / f"{name}.article.txt", SIDES[0])
        for title in ("title1", "title2") if name == "test" else ("title",):
            write_lines(folder / f"{name}.{title}.txt{'.gz' if name == 'valid' else ''}", SIDES[1])


def read_headlines(folder: Path) -> None:
    prepared(folder, task="headline", input=folder)


TEST_SETS = ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012")
WIT3_WORDS = (
    b"<seg",
    b'<seg id="1">',
    b"</seg>",
    b"<doc>",
    b"<url>",
    b"<title>",
    b"&amp;",
    b"&#10;",
    b"&lol;",
)
WIT3_WORDS += (b'<!DOCTYPE x [<!ENTITY lol SYSTEM "file:///etc/passwd">]>',)


def wit3_files() -> dict[str, bytes]:
    files = {}
    for lines, language in zip(SIDES, ("de", "en"), strict=True):
        head = "<url>http://example.org/1</url>\n<title>Hunde &amp; Bälle</title>\n"
        files[f"train.tags.de-en.{language}"] = (head + "\n".join((*lines, ""))).encode()
        for name in TEST_SETS:
            body = "".join(f'<seg id="{k}"> {line} </seg>\n' for k, line in enumerate(lines[:2], 1))
            text = f'<?xml version="1.0" encoding="UTF-8"?>\n<mteval>\n{body}</mteval>\n'
            files[f"IWSLT14.{name}.de-en.{language}.xml"] = text.encode()
    return files


def make_wit3(folder: Path) -> None:
    for name, content in wit3_files().items():
        (folder / name).write_bytes(content)


def read_wit3(folder: Path) -> None:
    prepared(folder, task="iwslt14", input=folder, dev_every=2)


def make_wit3_archive(folder: Path) -> None:
    write_tar(folder / "de-en.tgz", {f"de-en/{name}": content for name, content in wit3_files().items()})


def read_wit3_archive(folder: Path) -> None:
    prepared(folder, task="iwslt14", input=folder / "de-en.tgz", dev_every=2)


TEXT = ("raysq.data.corpus", "raysq.tasks.text", "raysq.tasks.translation")
ARCHIVES = ("raysq.data.download", "raysq.data.archive")
TALKS = ("raysq.data.wit3", *ARCHIVES)
TARGETS = (
    Target("files", TEXT, make_files, read_files),
    Target("multi30k", (*TEXT, *ARCHIVES), make_multi30k, read_multi30k),
    Target("tsv", TEXT, make_tabbed, read_tabbed, (b"\t\t",)),
    Target("headlines", TEXT, make_headlines, read_headlines),
    Target("wit3", TALKS, make_wit3, read_wit3, WIT3_WORDS),
    Target(
        "wit3-archive", TALKS, make_wit3_archive, read_wit3_archive, WIT3_WORDS, inside=tuple(wit3_files())
    ),
)
