"""Settings of prepared data: how text becomes words and ids, where the text lies and where the data goes."""

from __future__ import annotations

import os
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from raysq.addresses import Place
from raysq.config import Config, UserError, first_defect
from raysq.data.corpus import MAX_LINE_BYTES, SPLITS
from raysq.data.manifest import MANIFEST, Manifest

TaskName = Literal[
    "demo",
    "demo-captioning",
    "demo-headline",
    "multi30k",
    "europarl",
    "iwslt14",
    "tsv",
    "files",
    "headline",
    "captioning",
]
WITH_INPUT = ("multi30k", "europarl", "iwslt14", "captioning")
"""Tasks whose files lie in one place."""
OF_IMAGES = ("captioning", "demo-captioning")
TABBED = ("tsv", "headline")
"""Tasks whose text is in columns."""


class TextSettings(Config):
    """How text becomes words and ids; the manifest of prepared data records it."""

    task: TaskName = "demo"
    """demo: generated text; multi30k, europarl, iwslt14: their files, which input names; tsv: lines of a
    source, a tabulator and its target; files: a pair of files for each split; headline: articles and their
    headlines, as tsv or in Gigaword's layout; captioning: captions of images; demo-headline,
    demo-captioning: generated ones."""
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
    only_alphanumeric: bool = True
    """Task captioning: remove characters that are neither letters nor digits from captions."""
    min_count: int = Field(3, ge=1)
    """A word seen less often in the kept training text is unk. [times]"""
    max_length: int = Field(50, ge=1)
    """A training pair with a longer side is left out. [words]"""
    max_ratio: float = Field(1.5, ge=0)
    """A training pair with one side longer than this many times the other is left out; 0: none is."""
    dev_every: int = Field(23, ge=2)
    """Task iwslt14: of the training pairs that are not left out, every so many-th goes to dev. [pairs]"""
    mend_tedx: bool = False
    """Task iwslt14: align the misaligned stretch of TEDX.dev2012, as published numbers do not."""
    held_out: int = Field(50, ge=2)
    """Task tsv: of so many source sentences one goes to dev and one to test, unless these have files;
    sentences that differ only in case, spaces or punctuation stay together. [sentences]"""
    rows_per_shard: int = Field(100_000, ge=1)
    """Longest shard file. [pairs]"""

    @model_validator(mode="after")
    def _wording(self) -> TextSettings:
        languages = self.source_language, self.target_language
        if self.task == "demo" and languages != ("de", "en"):
            raise ValueError("`source_language` and `target_language` must be de and en with task demo")
        if self.of_images and self.tokeniser != "none":
            raise ValueError("`tokeniser` must be none with captions, which are cleaned as they are read")
        if self.task == "iwslt14" and sorted(languages) != ["de", "en"]:
            raise ValueError("`source_language` and `target_language` must be de and en, or en and de")
        if self.task in ("demo", "demo-headline") and self.tokeniser != "none":
            raise ValueError(f"`tokeniser` must be none with task {self.task}, whose text is tokenised")
        if self.normalise_punctuation and self.tokeniser == "none":
            raise ValueError("`normalise_punctuation` must be false unless `tokeniser` is moses")
        if 0 < self.max_ratio < 1:
            raise ValueError("`max_ratio` must be 0 or at least 1: below 1 no pair is left")
        if self.of_images and self.max_ratio:
            raise ValueError("`max_ratio` must be 0 with images, which have no words")
        return self

    @property
    def of_images(self) -> bool:
        """Whether sources are images."""
        return self.task in OF_IMAGES


class PrepareSettings(TextSettings):
    """What to prepare, and how; `task_defaults` says where a task departs from these defaults."""

    output_dir: Place | None = None
    """Folder to write, a path or an address, as s3://bucket/data/demo; none: data/TASK, in a job of a cluster
    ~/raysq/data/TASK."""
    input: str | None = None
    """Folder of the task's files, a .tar, .tar.gz or .tgz of it, or the URL of such an archive, any that
    fsspec opens. multi30k: train, val and test_2016_flickr, ``.lc.norm.tok.LANGUAGE`` for tokeniser none,
    ``.LANGUAGE`` (raw) for moses. europarl: NAME.train, NAME.validation and NAME.test, ``.LANGUAGE``. Either
    with or without ``.gz``. iwslt14: WIT3's de-en.tgz. tsv: the training file or its URL, no archive, instead
    of train. headline: that, or a folder with train.article.txt, train.title.txt, likewise valid and test,
    whose several references are test.title*.txt. captioning: captions_{train,val,test}*.json as COCO's, or a
    file in Karpathy's split format, by itself or in an archive."""
    input_sha256: str | None = None
    """sha256 of the file that input names, compared before it is read; a URL needs it. [hexadecimal]"""
    train: Path | None = None
    """Task files: prefix of the training text, PREFIX.LANGUAGE or PREFIX.LANGUAGE.gz of both sides. Task tsv:
    the file with it, plain or ``.gz``."""
    dev: Path | None = None
    """The development text, likewise."""
    test: Path | None = None
    """The test text, likewise."""
    features: Place | None = None
    """Task captioning: the images' features, the folder that workflows/extract_features.py wrote; path or
    address."""
    max_line_bytes: int = Field(MAX_LINE_BYTES, ge=1)
    """A longer line is an error; a file without line ends would fill the memory. [bytes]"""
    num_workers: int | None = Field(None, ge=0)
    """Processes that tokenise; the data does not depend on it. none: as many as there are cores; 0: this
    process does it, as it does a text of fewer than 5000 lines and words that only need splitting."""
    quiet: bool = False
    """Show no progress."""

    @field_validator("input_sha256")
    @classmethod
    def _sha256(cls, value: str | None) -> str | None:
        if value is not None and not (len(value) == 64 and set(value) <= set(string.hexdigits)):
            raise ValueError("must be 64 hexadecimal digits")
        return value and value.lower()

    @model_validator(mode="after")
    def _places(self) -> PrepareSettings:
        given = [name for name in SPLITS if getattr(self, name) is not None]
        if self.task in WITH_INPUT and self.input is None:
            raise ValueError(f"`input` must be given with task {self.task}")
        if self.input is not None and self.task.startswith(("demo", "files")):
            raise ValueError(f"`input` must be left out with task {self.task}")
        if self.task == "files" and len(given) < len(SPLITS):
            raise ValueError("`train`, `dev` and `test` must all be given with task files")
        if given and self.task not in ("files", *TABBED):
            raise ValueError(f"`{given[0]}` must be left out with task {self.task}")
        if self.task in TABBED and (self.train is None) == (self.input is None):
            raise ValueError(f"`train` or else `input` must be given with task {self.task}")
        if (self.features is not None) != (self.task == "captioning"):
            raise ValueError("`features` must be given with task captioning, and with no other")
        if self.input_sha256 is not None and self.input is None:
            raise ValueError("`input_sha256` must be left out without `input`")
        if self.input_sha256 is None and is_url(self.input or ""):
            raise ValueError("`input_sha256` must be given when `input` is a URL")
        return self

    @property
    def folder(self) -> Path:
        """Where the prepared data goes."""
        return (self.output_dir or Path("data") / self.task).expanduser()

    @property
    def content(self) -> dict[str, Any]:
        """The settings that shape the data, which `TextSettings` has."""
        return self.model_dump(mode="json", include=set(TextSettings.model_fields))

    @property
    def workers(self) -> int:
        """Processes that tokenise, 0 for none."""
        return len(os.sched_getaffinity(0)) if self.num_workers is None else self.num_workers


def task_defaults(given: Mapping[str, object]) -> dict[str, object]:
    """Where a task departs from the defaults of `PrepareSettings`, from the settings given so far.

    Lengths 1 to 50, ratio 1.5 and min_count 3 are the recipe of iwslt14. Published Multi30k numbers do
    without a ratio, generated text needs none, and 9 is what Moses' clean-corpus-n takes if nothing is said.
    """
    match given.get("task"):
        case "demo":
            return {"min_count": 1, "max_ratio": 0.0}
        case "multi30k":
            return {"max_ratio": 0.0, "normalise_punctuation": given.get("tokeniser") == "moses"}
        case "europarl":
            return {"tokeniser": "moses", "max_ratio": 9.0}
        case "iwslt14":
            return {"tokeniser": "moses"}
        case "tsv":
            return {"max_ratio": 9.0}
        case "headline":  # a headline is short, whatever it sums up
            return {"max_ratio": 0.0, "max_length": 100}
        case "demo-headline":
            return {"min_count": 1, "max_ratio": 0.0, "max_length": 100}
        case "captioning":  # Dai et al. 2018, section 6.1: words seen five times
            return {"min_count": 5, "max_ratio": 0.0}
        case "demo-captioning":
            return {"min_count": 1, "max_ratio": 0.0}
        case _:
            return {}


def settings_of(manifest: Manifest) -> TextSettings:
    """The settings that prepared data was made with; one that is younger than the data has its default.

    Raises:
        UserError: the data is of a version that had other settings.
    """
    try:
        return TextSettings.model_validate(manifest.settings)
    except ValidationError as error:
        what = f"{MANIFEST}: settings.{first_defect(error)}"
        raise UserError(f"the data was prepared by another version ({what}): prepare it again") from error


def is_url(place: str) -> bool:
    """Whether a place is meant for fsspec rather than for this machine's file system."""
    return "://" in place
