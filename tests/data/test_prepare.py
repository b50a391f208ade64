import gzip
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError

from raysq.config import UserError
from raysq.data.corpus import GeneratedText
from raysq.data.prepare import PrepareSettings, file_text, prepare, task_defaults
from raysq.data.shards import Corpus

GERMAN = ["Ein Hund", "", "ein ein ein", "hund " * 51, "ein hund", " \u2028", "Der hund <eos> ein"]
ENGLISH = ["a Dog", "empty", "a", "dog " * 51, "a dog", "", "The dog <eos> a"]
DEV = {"de": "ein vogel\n\nhund\n", "en": "a bird\nnothing\n\n"}
SHARED = Path(os.environ.get("RAYSQ_SHARED_DATA", Path(__file__).parents[2] / "../shared/data"))


def write_files(folder: Path, train: Mapping[str, list[str]] | None = None) -> None:
    folder.mkdir(exist_ok=True)
    for language, lines in (train or {"de": GERMAN, "en": ENGLISH}).items():
        text = "".join(f"{line}\n" for line in lines).encode()
        (folder / f"train.{language}.gz").write_bytes(gzip.compress(text, mtime=0))
        (folder / f"dev.{language}").write_text(DEV[language])
        (folder / f"test.{language}").write_text(DEV[language])


def settings_of(folder: Path, **changes: object) -> PrepareSettings:
    prefixes = {split: folder / "in" / split for split in ("train", "dev", "test")}
    return PrepareSettings.model_validate(
        {"task": "files", "output_dir": folder / "out", "min_count": 2, **prefixes, **changes}
    )


def prepare_files(folder: Path, **changes: object):
    settings = settings_of(folder, **changes)
    return prepare(settings, file_text(settings))


def texts(split):
    return [(split.source_text(i), split.target_text(i)) for i in range(len(split))]


@pytest.fixture
def folder(tmp_path):
    write_files(tmp_path / "in")
    return tmp_path


def test_counts_and_drops_by_reason(folder):
    train = prepare_files(folder).manifest.splits["train"]
    assert (train.lines, train.pairs) == (7, 3)
    assert train.dropped == {"empty": 2, "too_long": 1, "ratio": 1}
    assert train.blank == {"source": 2, "target": 1}
    assert train.words == {"source": 8, "target": 8}
    assert train.unknown == {"source": 2, "target": 2}  # der, <eos>; the, <eos>


def test_vocabulary_is_of_the_kept_lower_cased_training_text(folder):
    prepare_files(folder)
    corpus = Corpus.load(folder / "out")
    assert corpus.source_vocabulary.words[4:] == ("ein", "hund")
    assert corpus.target_vocabulary.words[4:] == ("a", "dog")
    assert corpus.manifest.vocabulary_sizes == {"source": 6, "target": 6}


def test_text_and_ids(folder):
    prepare_files(folder)
    train = Corpus.load(folder / "out").splits["train"]
    assert texts(train) == [
        ("ein hund", "a dog"),
        ("ein hund", "a dog"),
        ("der hund <eos> ein", "the dog <eos> a"),
    ]
    assert train.source(2).tolist() == [3, 5, 3, 4]


def test_dev_and_test_keep_every_line(folder):
    manifest = prepare_files(folder).manifest
    corpus = Corpus.load(folder / "out")
    for name in ("dev", "test"):
        split = corpus.splits[name]
        assert texts(split) == [("ein vogel", "a bird"), ("", "nothing"), ("hund", "")]
        assert split.source_lengths.tolist() == [2, 0, 1]
        assert split.source(0).tolist() == [4, 3]
        assert manifest.splits[name].blank == {"source": 1, "target": 1}
        assert sum(manifest.splits[name].dropped.values()) == 0


def test_lower_case_and_limits_are_settings(folder):
    manifest = prepare_files(folder, lower_case=False, max_ratio=0, max_length=60, min_count=1).manifest
    assert manifest.splits["train"].dropped == {"empty": 2, "too_long": 0, "ratio": 0}
    vocabulary = Corpus.load(folder / "out").source_vocabulary
    assert set(vocabulary.words[4:]) == {"hund", "ein", "Ein", "Hund", "Der"}


def test_moses_then_clean_then_lower_case(tmp_path):
    # White space makes 3 words of the second pair's source, Moses 8; "Mr." is one to him in upper case only.
    write_files(
        tmp_path / "in", {"de": ["Das ist, Herr X", "Gut. (So?) Ja!"], "en": ["It's Mr. X", "Well then!"]}
    )
    manifest = prepare_files(tmp_path, tokeniser="moses", max_length=5).manifest
    assert manifest.splits["train"].dropped == {"empty": 0, "too_long": 1, "ratio": 0}
    train = Corpus.load(tmp_path / "out").splits["train"]
    assert texts(train) == [("das ist , herr x", "it &apos;s mr. x")]


def test_digest_is_of_the_data_not_of_its_storage(folder):
    first = prepare_files(folder)
    cut = prepare_files(folder, output_dir=folder / "cut", rows_per_shard=2)
    assert cut.manifest.splits["train"].shards == ("train-00000.arrow", "train-00001.arrow")
    assert texts(Corpus.load(folder / "cut").splits["train"]) == texts(
        Corpus.load(folder / "out").splits["train"]
    )
    assert cut.manifest.digest == first.manifest.digest
    other = prepare_files(folder, output_dir=folder / "other", min_count=1)
    assert other.manifest.digest != first.manifest.digest


def test_same_text_and_settings_write_the_same_bytes(folder):
    first = prepare_files(folder).manifest
    again = prepare_files(folder, output_dir=folder / "again").manifest
    assert again == first
    assert (folder / "again" / "manifest.json").read_bytes() == (
        folder / "out" / "manifest.json"
    ).read_bytes()


def test_manifest_lists_inputs_files_and_versions(folder):
    prepare_files(folder)
    manifest = json.loads((folder / "out" / "manifest.json").read_text())
    assert manifest["inputs"]["train.target"]["name"] == "train.en.gz"
    assert manifest["versions"].keys() == {"raysq", "sacremoses", "pyarrow"}
    assert {*manifest["files"], "manifest.json"} == {path.name for path in (folder / "out").iterdir()}
    Corpus.load(folder / "out").verify()


def test_reuse(folder):
    assert not prepare_files(folder).reused
    before = (folder / "out" / "manifest.json").stat().st_mtime_ns
    again = prepare_files(folder)
    assert again.reused
    assert (folder / "out" / "manifest.json").stat().st_mtime_ns == before


def test_reuse_wherever_the_text_lies(folder):
    prepare_files(folder)
    write_files(folder / "moved")
    moved = {split: folder / "moved" / split for split in ("train", "dev", "test")}
    assert prepare_files(folder, **moved).reused


def test_other_settings_are_refused(folder):
    prepare_files(folder)
    with pytest.raises(
        UserError, match=r"out was prepared with max_length 50, not 40: give another --output-dir"
    ):
        prepare_files(folder, max_length=40)


def test_other_text_is_refused(folder):
    prepare_files(folder)
    (folder / "in" / "dev.en").write_text("another\ntext\nhere\n")
    with pytest.raises(
        UserError, match=r"out was prepared from another dev\.target than dev\.en: give another"
    ):
        prepare_files(folder)


def test_foreign_folder_is_refused_and_left_alone(folder):
    (folder / "out").mkdir()
    (folder / "out" / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match=r"out exists and holds no prepared data: give another --output-dir"):
        prepare_files(folder)
    assert [path.name for path in (folder / "out").iterdir()] == ["thesis.tex"]


def test_empty_folder_is_filled(folder):
    (folder / "out").mkdir()
    assert not prepare_files(folder).reused
    assert len(Corpus.load(folder / "out").splits["train"]) == 3


@pytest.mark.parametrize(
    ("german", "message"),
    [
        (["ein", "zwei"], r"train\.de\.gz ends before line 3"),
        (["ein", "zwei", "\udcff"], r"train\.de\.gz: line 3, byte 1 of the line \(0xff\) is not UTF-8"),
        (["", "", ""], "no training pair is left after cleaning"),
    ],
)
def test_nothing_half_written(tmp_path, german, message):
    write_files(tmp_path / "in", {"en": ["a", "b", "c"], "de": []})
    text = "".join(f"{line}\n" for line in german).encode(errors="surrogateescape")
    (tmp_path / "in" / "train.de.gz").write_bytes(gzip.compress(text))
    (tmp_path / "in" / "dev.de").write_text(DEV["de"])
    with pytest.raises(UserError, match=message):
        prepare_files(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_missing_file_names_both_spellings(folder):
    (folder / "in" / "dev.en").unlink()
    with pytest.raises(UserError, match=r"neither .*dev\.en nor dev\.en\.gz beside it exists"):
        prepare_files(folder)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task": "files", "train": "a", "dev": "b"}, "`train`, `dev` and `test` must all be given"),
        ({"task": "demo", "train": "a"}, "`train` must be left out unless `task` is files"),
        ({"task": "multi30k"}, "`input_dir` must be given with task multi30k"),
        ({"task": "demo", "input_dir": "a"}, "`input_dir` must be left out unless"),
        ({"task": "demo", "source_language": "fr"}, "must be de and en with task demo"),
        ({"task": "demo", "tokeniser": "moses"}, "`tokeniser` must be none with task demo"),
        ({"normalise_punctuation": True}, "`normalise_punctuation` must be false unless"),
        ({"max_ratio": 0.5}, "`max_ratio` must be 0 or at least 1"),
        ({"min_count": 0}, "greater than or equal to 1"),
    ],
    ids=str,
)
def test_impossible_combinations(given, message):
    with pytest.raises(ValidationError, match=message):
        PrepareSettings.model_validate(given)


def test_task_defaults():
    assert task_defaults({"task": "demo"}) == {"min_count": 1, "max_ratio": 0.0}
    assert task_defaults({"task": "files"}) == {}
    multi30k = task_defaults({"task": "multi30k", "tokeniser": "moses"})
    assert multi30k == {"max_ratio": 0.0, "normalise_punctuation": True}


def test_generated_text(tmp_path):
    pairs = [("ein hund", "a dog")]
    text = GeneratedText("here", {"train": pairs * 3, "dev": pairs, "test": pairs})
    settings = PrepareSettings(output_dir=tmp_path / "demo", min_count=1)
    assert prepare(settings, text).manifest.inputs["train.source"].name == "here"
    assert len(Corpus.load(tmp_path / "demo").splits["train"]) == 3
    assert prepare(settings, text).reused


def test_another_process_was_faster(tmp_path):
    pairs = [("ein hund", "a dog")]
    settings = PrepareSettings(output_dir=tmp_path / "demo", min_count=1)

    class OvertakenText(GeneratedText):
        def pairs(self, split):
            if split == "test" and not settings.folder.exists():
                prepare(settings, GeneratedText("here", self.splits))
            return super().pairs(split)

    assert prepare(settings, OvertakenText("here", dict.fromkeys(("train", "dev", "test"), pairs))).reused
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


@pytest.mark.skipif(
    not (SHARED / "multi30k").is_dir(),
    reason="no Multi30k: RAYSQ_SHARED_DATA must name the folder that holds multi30k/",
)
def test_multi30k(tmp_path):
    given = {"task": "multi30k", "input_dir": SHARED / "multi30k", "output_dir": tmp_path / "out"}
    settings = PrepareSettings.model_validate(given | task_defaults(given))
    manifest = prepare(settings, file_text(settings)).manifest
    assert [record.pairs for record in manifest.splits.values()] == [29000, 1014, 1000]
    assert manifest.splits["train"].words == {"source": 360706, "target": 377534}
    assert manifest.vocabulary_sizes == {"source": 5382, "target": 4568}
    assert Corpus.load(tmp_path / "out").splits["test"].source_text(0) == (
        "ein mann mit einem orangefarbenen hut , der etwas anstarrt ."
    )
