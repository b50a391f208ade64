import gzip
import json
import os
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from raysq.claim import claim
from raysq.config import UserError
from raysq.data.corpus import FileText, GeneratedText, sha256_of
from raysq.data.prepare import prepare
from raysq.data.settings import PrepareSettings, task_defaults
from raysq.data.shards import Corpus
from raysq.images.store import FeatureStore
from raysq.tasks.translation import translation_text

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


def file_settings(folder: Path, **changes: object) -> PrepareSettings:
    prefixes = {split: folder / "in" / split for split in ("train", "dev", "test")}
    return PrepareSettings.model_validate(
        {"task": "files", "output_dir": folder / "out", "min_count": 2, **prefixes, **changes}
    )


def prepare_files(folder: Path, **changes: object):
    settings = file_settings(folder, **changes)
    files = {split: prefix_files(getattr(settings, split)) for split in ("train", "dev", "test")}
    return prepare(settings, FileText(files))


def prefix_files(prefix: Path) -> tuple[Path, Path]:
    tail = ".gz" if prefix.name == "train" else ""
    return Path(f"{prefix}.de{tail}"), Path(f"{prefix}.en{tail}")


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


def test_damaged_data_is_not_reused(folder):
    prepare_files(folder)
    shard = folder / "out" / "test-00000.arrow"
    shard.write_bytes(shard.read_bytes().replace(b"ein vogel", b"ein hagel"))  # of the same size
    with pytest.raises(UserError, match=r"test-00000\.arrow was changed: remove .*out, then python"):
        prepare_files(folder)


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
        (["", "", ""], r"train has no pair left \(of .*\): check the files, --max-length and --max-ratio"),
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


def test_generated_text(tmp_path):
    pairs = [("ein hund", "a dog")]
    text = GeneratedText("here", {"train": pairs * 3, "dev": pairs, "test": pairs})
    settings = PrepareSettings(output_dir=tmp_path / "demo", min_count=1)
    assert prepare(settings, text).manifest.inputs["train.source"].name == "here"
    assert len(Corpus.load(tmp_path / "demo").splits["train"]) == 3
    assert prepare(settings, text).reused


def test_folder_that_a_live_preparation_writes_is_refused(folder):
    held = claim(folder / ".out.partial", "the preparation", "wait")
    (folder / ".out.partial" / "data").mkdir()
    with pytest.raises(
        UserError, match=r"the preparation of .*out in .*partial is in use by process \d+ on .*: wait"
    ):
        prepare_files(folder)
    assert (folder / ".out.partial" / "data").is_dir()
    held.close()
    (folder / ".out.partial" / "data" / "left over").write_text("by the killed")
    assert not prepare_files(folder).reused
    assert {path.name for path in folder.iterdir()} == {"in", "out"}


def test_who_waits_finds_what_another_has_prepared(tmp_path):
    settings = PrepareSettings(output_dir=tmp_path / "demo", min_count=1)
    reused = []
    waiting = threading.Thread(target=lambda: reused.append(prepare(settings, text, patience=30).reused))

    class SlowText(GeneratedText):
        def pairs(self, split):
            if split == "train" and not waiting.is_alive():
                waiting.start()
                time.sleep(0.1)  # the other finds the folder claimed; it would find it written a little later
            return super().pairs(split)

    text = GeneratedText("here", dict.fromkeys(("train", "dev", "test"), (("ein hund", "a dog"),)))
    assert not prepare(settings, SlowText("here", text.splits)).reused
    waiting.join(30)
    assert reused == [True]
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_demo_folder_of_another_grammar_is_to_be_removed(tmp_path):
    settings = PrepareSettings(output_dir=tmp_path / "data-demo", min_count=1)
    for word in ("hund", "katze"):
        text = GeneratedText("grammar", dict.fromkeys(("train", "dev", "test"), ((word, "dog"),)))
        if word == "hund":
            prepare(settings, text)
    with pytest.raises(
        UserError,
        match=r"data-demo was prepared from another train\.source than grammar: remove .*-demo, it is gen",
    ):
        prepare(settings, text)


def test_data_of_before_a_setting_existed_is_reused(folder):
    prepare_files(folder)
    path = folder / "out" / "manifest.json"
    manifest = json.loads(path.read_text())
    for younger in ("held_out", "dev_every", "mend_tedx"):
        del manifest["settings"][younger]
    for record in manifest["splits"].values():
        del record["held_out"]
    path.write_text(json.dumps(manifest))
    assert prepare_files(folder).reused
    with pytest.raises(UserError, match="prepared with held_out 50, not 40"):
        prepare_files(folder, held_out=40)


def test_raw_references_are_the_target_lines_before_tokenisation(folder):
    (folder / "in" / "test.en").write_text("A bird's \u201cnest\u201d.\n\n It  flew &amp; \n")
    digest = prepare_files(folder, tokeniser="moses").manifest.digest
    corpus = Corpus.load(folder / "out")
    assert corpus.raw_references("dev") == ["a bird", "nothing", ""]
    assert corpus.raw_references("test") == ["A bird's \u201cnest\u201d.", "", " It  flew &amp; "]
    assert corpus.raw_references("train") is None
    assert corpus.splits["test"].target_text(0) == "a bird &apos;s \u201c nest \u201d ."
    (folder / "in" / "test.en").write_text("A bird's \u201cnest\u201d.\n\nIt flew &amp;\n")
    assert prepare_files(folder, tokeniser="moses", output_dir=folder / "other").manifest.digest == digest
    prepare_files(folder, output_dir=folder / "untokenised")
    assert Corpus.load(folder / "untokenised").raw_references("test") is None


def test_iwslt14_development_text_is_every_nth_kept_training_pair(tmp_path):
    train = [(f"Wort{k}", f"Word{k}") for k in range(9)] + [("", "x"), ("a b", "c")]
    train[1:1] = [("drei drei drei", "three")]  # dropped, so it does not count
    text = GeneratedText("ted", {"train": train, "dev": [], "test": [("Ende.", "The&#10;&amp;.")]})
    settings = PrepareSettings(
        task="iwslt14",
        input="de-en.tgz",
        output_dir=tmp_path / "out",
        tokeniser="moses",
        dev_every=4,
        min_count=1,
    )
    manifest = prepare(settings, text).manifest
    corpus = Corpus.load(tmp_path / "out")
    assert texts(corpus.splits["dev"]) == [("wort3", "word3"), ("wort7", "word7")]
    assert [source for source, _ in texts(corpus.splits["train"])] == [
        f"wort{k}" for k in (0, 1, 2, 4, 5, 6, 8)
    ]
    assert corpus.raw_references("dev") == ["Word3", "Word7"]
    assert (corpus.raw_references("test"), texts(corpus.splits["test"])) == (
        ["The &."],
        [("ende .", "the &amp; # 10 ; &amp; amp ; .")],
    )
    assert "wort3" not in corpus.source_vocabulary.words
    record = manifest.splits["train"]
    assert (record.lines, record.pairs, record.held_out, sum(record.dropped.values())) == (12, 7, 2, 3)
    assert (manifest.splits["dev"].lines, manifest.splits["dev"].pairs) == (0, 2)


def test_split_without_a_pair(tmp_path):
    text = GeneratedText("here", {"train": [("a", "b")], "dev": [], "test": [("a", "b")]})
    with pytest.raises(
        UserError, match=r"dev has no pair left \(of .*\): give a longer text, a smaller --held-out"
    ):
        prepare(PrepareSettings(output_dir=tmp_path / "out"), text)


def test_progress_counts_the_lines_read(folder):
    shown = []
    settings = file_settings(folder)
    files = FileText({split: prefix_files(getattr(settings, split)) for split in ("train", "dev", "test")})
    prepare(settings, files, lambda split, lines: shown.append((split, lines)))
    assert shown == [("train", 7), ("dev", 3), ("test", 3)]


@pytest.mark.skipif(
    not (SHARED / "multi30k").is_dir(),
    reason="no Multi30k: RAYSQ_SHARED_DATA must name the folder that holds multi30k/",
)
def test_multi30k(tmp_path):
    given = {"task": "multi30k", "input": str(SHARED / "multi30k"), "output_dir": tmp_path / "out"}
    settings = PrepareSettings.model_validate(given | task_defaults(given))
    manifest = prepare(settings, translation_text(settings)).manifest
    assert [record.pairs for record in manifest.splits.values()] == [29000, 1014, 1000]
    assert manifest.splits["train"].words == {"source": 360706, "target": 377534}
    assert manifest.vocabulary_sizes == {"source": 5382, "target": 4568}
    assert Corpus.load(tmp_path / "out").splits["test"].source_text(0) == (
        "ein mann mit einem orangefarbenen hut , der etwas anstarrt ."
    )


def test_features_are_described_by_the_training_images(small_captions):
    """Mean and deviation over 13 images, however many captions each has."""
    split, record = small_captions.splits["train"], small_captions.manifest.features
    rows = np.array([split.source(i)[0] for i in range(0, 39, 3)]).astype(np.int64)
    features = split.features.read(rows).astype(np.float64)
    assert record.mean == pytest.approx(features.mean(0), abs=1e-12)
    assert record.deviation == pytest.approx(features.std(0), abs=1e-12)


def test_features_that_are_no_numbers(small_captions, tmp_path):
    shutil.copytree(small_captions.folder / "features", tmp_path / "features")
    shard = tmp_path / "features" / "features-00000.npy"
    features = np.load(shard)
    features[:, 2] = np.nan
    np.save(shard, features)
    manifest = json.loads((tmp_path / "features" / "manifest.json").read_text())
    manifest["shards"][0]["sha256"] = sha256_of(shard)
    (tmp_path / "features" / "manifest.json").write_text(json.dumps(manifest))
    store = FeatureStore.load(tmp_path / "features")
    pairs = {split: [(f"{split} 0.jpg", "u v")] for split in ("train", "dev", "test")}
    settings = PrepareSettings(task="demo-captioning", output_dir=tmp_path / "data", min_count=1, max_ratio=0)
    with pytest.raises(UserError, match=r"features holds features that are no numbers: extract them again"):
        prepare(settings, GeneratedText("captions", pairs, grouped=True), features=store)
    assert not (tmp_path / "data").exists()
