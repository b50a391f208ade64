import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from raysq.config import UserError
from raysq.data.prepare import prepare
from raysq.data.settings import PrepareSettings, task_defaults
from raysq.data.shards import Corpus
from raysq.images.store import EncoderRecord, StoreWriter
from raysq.tasks.text import given


def settings(task: str, **more: object) -> PrepareSettings:
    return PrepareSettings.model_validate({"task": task, **task_defaults({"task": task}), **more})


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
    for folder in ("features", "records"):
        (tmp_path / folder).mkdir()
    encoder = EncoderRecord(weights="w", weights_sha256="", architecture={}, preprocessing={}, feature_size=2)
    writer = StoreWriter(tmp_path / "features", tmp_path / "records", "plan", encoder)
    writer.write(0, names, np.arange(16, dtype=np.float32).reshape(8, 2), {"train1.jpg": "damaged"})
    writer.finish({}, ())
    wanted = settings(
        "captioning",
        input=str(tmp_path / "captions.json"),
        features=tmp_path / "features",
        min_count=1,
        output_dir=tmp_path / "out",
    )
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
