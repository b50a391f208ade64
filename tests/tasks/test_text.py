import gzip
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from raysq.config import UserError
from raysq.data.prepare import prepare
from raysq.data.settings import PrepareSettings, task_defaults
from raysq.data.shards import Corpus
from raysq.images.store import EncoderRecord
from raysq.images.store_writer import StoreWriter
from raysq.tasks.text import given
from workflows.prepare import main as prepare_command


def settings(task: str, **more: object) -> PrepareSettings:
    return PrepareSettings.model_validate({"task": task, **task_defaults({"task": task}), **more})


def write_coco(folder: Path) -> None:
    """One image a split with one caption."""
    folder.mkdir()
    for split in ("train", "val", "test"):
        content = {
            "images": [{"id": 0, "file_name": f"{split}0.jpg"}],
            "annotations": [{"id": 0, "image_id": 0, "caption": f"Of {split}."}],
        }
        (folder / f"captions_{split}.json").write_text(json.dumps(content))


def write_features(place: Path, names: Sequence[str], skipped: dict[str, str]) -> None:
    """The folder ``features``: of each image 2 k and 2 k + 1."""
    for folder in ("features", "records"):
        (place / folder).mkdir()
    encoder = EncoderRecord(weights="w", weights_sha256="", architecture={}, preprocessing={}, feature_size=2)
    writer = StoreWriter(place / "features", place / "records", "plan", encoder)
    writer.write(0, names, np.arange(2 * len(names), dtype=np.float32).reshape(-1, 2), skipped)
    writer.finish({}, ())


def caption_settings(place: Path, annotations: str) -> PrepareSettings:
    if not (place / "features").exists():
        write_features(place, ["test0.jpg", "train0.jpg", "val0.jpg"], {})
    return settings(
        "captioning",
        input=str(place / annotations),
        features=place / "features",
        min_count=1,
        output_dir=place / "out",
    )


@pytest.fixture
def gigaword(tmp_path: Path) -> Path:
    """Two articles a split, test with two references, one file compressed."""
    folder = tmp_path / "gigaword"
    folder.mkdir()
    for name in ("train", "valid", "test"):
        (folder / f"{name}.article.txt").write_text("a long article\nanother one\n")
    for name in ("train.title", "valid.title", "test.title2"):
        (folder / f"{name}.txt").write_text(f"{name} a\n{name} b\n")
    (folder / "test.title1.txt.gz").write_bytes(gzip.compress(b"first a\nfirst b\n"))
    return folder


def test_gigawords_layout_with_several_references_of_test(gigaword: Path, tmp_path: Path) -> None:
    wanted = settings("headline", input=str(gigaword), min_count=1, output_dir=tmp_path / "out")
    found = given(wanted)
    assert found.features is None
    prepare(wanted, found.text)
    splits = Corpus.load(tmp_path / "out").splits
    assert [len(split) for split in splits.values()] == [2, 2, 2]
    assert splits["dev"].reference_texts(1) == ["valid.title b"]
    assert splits["test"].reference_texts(0) == ["first a", "test.title2 a"]
    assert splits["test"].source_text(1) == "another one"
    assert prepare(wanted, given(wanted).text).reused
    (gigaword / "test.title2.txt").rename(tmp_path / "away")
    with pytest.raises(UserError, match=r"was prepared from test\.target 2 too, which is not there now"):
        prepare(wanted, given(wanted).text)
    (tmp_path / "away").rename(gigaword / "test.title2.txt")
    (gigaword / "test.title3.txt").write_text("third a\nthird b\n")
    with pytest.raises(UserError, match=r"was prepared from another test\.target 3 than test\.title3\.txt"):
        prepare(wanted, given(wanted).text)


def test_a_layout_that_lacks_a_file_is_a_mistake(gigaword: Path) -> None:
    (gigaword / "valid.title.txt").unlink()
    with pytest.raises(UserError, match=r"neither valid\.title\.txt nor valid\.title\.txt\.gz is in"):
        given(settings("headline", input=str(gigaword)))


def test_lines_of_one_article_are_its_references(tmp_path: Path) -> None:
    table = tmp_path / "pairs.tsv"
    table.write_text("x y\ta\nx y\tb\nz\tc\nx y\td\n")
    wanted = settings(
        "headline", train=table, dev=table, test=table, min_count=1, output_dir=tmp_path / "out"
    )
    prepare(wanted, given(wanted).text)
    splits = Corpus.load(tmp_path / "out").splits
    assert len(splits["train"]) == 4
    assert [splits["test"].reference_texts(i) for i in range(3)] == [["a", "b"], ["c"], ["d"]]


def test_captions_of_images_that_could_not_be_read_are_left_out(tmp_path: Path) -> None:
    """Counted by split; the features are those of the store."""
    images = [
        {"filename": f"{split}{k}.jpg", "split": split, "sentences": [{"raw": "A dog."}, {"raw": "The dog"}]}
        for split in ("train", "val", "test")
        for k in range(3)
    ]
    (tmp_path / "captions.json").write_text(json.dumps({"images": images}))
    names = sorted(str(image["filename"]) for image in images if image["filename"] != "train1.jpg")
    write_features(tmp_path, names, {"train1.jpg": "damaged"})
    wanted = caption_settings(tmp_path, "captions.json")
    found = given(wanted)
    manifest = prepare(wanted, found.text, features=found.features).manifest
    assert manifest.splits["train"].dropped["no_image"] == 2
    assert (manifest.splits["train"].sources, manifest.splits["train"].pairs) == (2, 4)
    corpus = Corpus.load(tmp_path / "out")
    assert corpus.splits["train"].reference_texts(0) == ["a dog", "the dog"]
    rows = [names.index("train0.jpg"), names.index("train2.jpg")]
    assert manifest.features is not None
    assert manifest.features.mean == pytest.approx(np.arange(16).reshape(8, 2)[rows].mean(0))
    with pytest.raises(UserError, match="was prepared from other image features than --features"):
        prepare(wanted, found.text)


def test_the_plain_one_of_two_spellings_of_a_file_is_read(gigaword: Path) -> None:
    (gigaword / "test.title1.txt").write_text("plain a\nplain b\n")
    text = given(settings("headline", input=str(gigaword))).text
    assert [title for _, title in text.pairs("test")] == [
        "plain a",
        "test.title2 a",
        "plain b",
        "test.title2 b",
    ]


def test_headlines_in_an_archive(gigaword: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "gw.tgz", "w:gz") as tar:
        tar.add(gigaword, "gw")
    expected = given(settings("headline", input=str(gigaword))).text
    text = given(settings("headline", input=str(tmp_path / "gw.tgz"), output_dir=tmp_path / "out")).text
    for split in ("train", "dev", "test"):
        assert list(text.pairs(split)) == list(expected.pairs(split))
    (tmp_path / "pairs.tsv.gz").write_bytes(gzip.compress(b"an article\ta title\n"))
    compressed = given(settings("headline", input=str(tmp_path / "pairs.tsv.gz"))).text
    pairs = [pair for split in ("train", "dev", "test") for pair in compressed.pairs(split)]
    assert pairs == [("an article", "a title")]


def test_captions_in_an_archive(tmp_path: Path) -> None:
    coco = tmp_path / "coco"
    write_coco(coco)
    listed = [
        {"filename": f"{split}0.jpg", "split": split, "sentences": [{"raw": f"of {split}"}]}
        for split in ("train", "val", "test")
    ]
    (tmp_path / "karpathy.json").write_text(json.dumps({"images": listed}))
    for name, content in (("a.tar", coco), ("b.tar.gz", tmp_path / "karpathy.json")):
        with tarfile.open(tmp_path / name, "w:gz" if name.endswith("gz") else "w") as tar:
            tar.add(content, content.name)
        found = given(caption_settings(tmp_path, name)).text
        assert list(found.pairs("dev")) == [("val0.jpg", "of val")]
        assert list(found.pairs("test")) == [("test0.jpg", "of test")]


def test_captions_of_every_split_are_needed(tmp_path: Path) -> None:
    write_coco(tmp_path / "coco")
    (tmp_path / "coco" / "captions_test.json").unlink()
    with pytest.raises(UserError, match=r"coco has no caption for test: add captions_test\*\.json to COCO's"):
        given(caption_settings(tmp_path, "coco"))
    (tmp_path / "coco" / "captions_val.json").unlink()
    with pytest.raises(UserError, match="coco has no caption for dev"):
        given(caption_settings(tmp_path, "coco"))


def test_what_is_left_out_is_named_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_coco(tmp_path / "coco")
    train = json.loads((tmp_path / "coco" / "captions_train.json").read_text())
    train["images"] += [{"id": 1, "file_name": "train1.jpg"}, {"id": 2, "file_name": "two.jpg"}]
    train["annotations"] += [
        {"id": 7, "image_id": 1, "caption": "x"},
        {"id": 8, "image_id": 1, "caption": "?"},
        {"id": 9, "image_id": 3, "caption": "y"},
    ]
    (tmp_path / "coco" / "captions_train.json").write_text(json.dumps(train))
    write_features(tmp_path, ["test0.jpg", "train0.jpg", "val0.jpg"], {"train1.jpg": "damaged", "z": "?"})
    monkeypatch.setenv("COLUMNS", "200")
    prepare_command(caption_settings(tmp_path, "coco"))
    assert capsys.readouterr().out.splitlines()[:4] == [
        "image without features: train1.jpg (damaged)",
        "annotated image without caption: two.jpg",
        "annotation without image: caption 9 of image 3 in captions_train.json",
        "empty caption of image: train1.jpg",
    ]


def test_of_a_feature_store_only_its_own_files_are_taken_and_checked(tmp_path: Path) -> None:
    write_coco(tmp_path / "coco")
    wanted = caption_settings(tmp_path, "coco")
    (tmp_path / "features" / "results").mkdir()
    (tmp_path / "features" / "notes.txt").write_text("mine")
    found = given(wanted)
    folder = prepare(wanted, found.text, features=found.features).folder
    assert sorted(path.name for path in (folder / "features").iterdir()) == [
        "features-00000.npy",
        "manifest.json",
    ]
    assert prepare(wanted, found.text, features=found.features).reused
    shard = tmp_path / "features" / "features-00000.npy"
    shard.write_bytes(shard.read_bytes()[:-1] + b"!")
    with pytest.raises(UserError, match=rf"{folder}/features was changed"):  # the same file
        prepare(wanted, found.text, features=found.features)
    with pytest.raises(UserError, match=rf"{shard} was changed"):
        prepare(wanted.model_copy(update={"output_dir": tmp_path / "b"}), found.text, features=found.features)
