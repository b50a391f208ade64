import io
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysq.config import UserError
from raysq.data import shards
from raysq.data.corpus import GeneratedText
from raysq.data.prepare import PrepareSettings, prepare
from raysq.data.shards import Corpus
from raysq.data.split import SCHEMA, Split
from raysq.types import SPECIALS

TRAIN = [("a", "b"), ("a a", "c b"), ("a", "b d"), ("a a a", "b b"), ("x", "b")]
REMEDY = r"remove .*, then python workflows/prepare\.py --task TASK --output-dir"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three shards of at most two pairs for train, one pair in a record batch."""
    monkeypatch.setattr(shards, "ROWS_PER_BATCH", 1)
    text = GeneratedText("test", {"train": TRAIN, "dev": TRAIN[:1], "test": TRAIN[:2]})
    prepare(PrepareSettings(output_dir=tmp_path / "out", min_count=2, rows_per_shard=2, max_ratio=0), text)
    return tmp_path / "out"


def test_rows_across_shards_and_record_batches(folder):
    corpus = Corpus.load(folder)
    train = corpus.splits["train"]
    assert corpus.manifest.splits["train"].shards == tuple(f"train-0000{k}.arrow" for k in range(3))
    assert len(train) == 5
    assert [(train.source_text(i), train.target_text(i)) for i in range(5)] == TRAIN
    assert [train.source(i).tolist() for i in range(5)] == [[4], [4, 4], [4], [4, 4, 4], [3]]
    assert [train.target(i).tolist() for i in range(5)] == [[4], [3, 4], [4, 3], [4, 4], [4]]


def test_lengths(folder):
    train = Corpus.load(folder).splits["train"]
    assert train.source_lengths.tolist() == [1, 2, 1, 3, 1]
    assert train.target_lengths.tolist() == [1, 2, 2, 2, 1]
    assert train.source_lengths.dtype == train.target_lengths.dtype == np.int32


def test_rows_are_read_only_views(folder):
    train = Corpus.load(folder).splits["train"]
    row = train.source(3)
    assert row.dtype == np.int32
    assert not row.flags.owndata
    assert np.shares_memory(row, train.source(3))
    with pytest.raises(ValueError, match="read-only"):
        row[0] = 1


@pytest.mark.parametrize("i", [-1, 5])
def test_no_such_pair(folder, i):
    with pytest.raises(IndexError, match=f"example {i} of a split of 5"):
        Corpus.load(folder).splits["train"].source(i)


def test_empty_split():
    split = Split([], 5)
    assert len(split) == 0
    assert split.source_lengths.tolist() == []
    assert split.target_word_counts.tolist() == [0, 0, 0, 0, 0]


def test_missing_folder(tmp_path):
    with pytest.raises(
        UserError, match=r"no holds no prepared data: python workflows/prepare\.py --task TASK"
    ):
        Corpus.load(tmp_path / "no")


def test_foreign_manifest(tmp_path):
    (tmp_path / "manifest.json").write_text('{"name": "web app"}')
    with pytest.raises(UserError, match=rf"no manifest of this version \(format: Field required\): {REMEDY}"):
        Corpus.load(tmp_path)


def test_other_format(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format": 0}))
    with pytest.raises(UserError, match=f"has format 0, not 1: {REMEDY}"):
        Corpus.load(folder)


def test_missing_and_cut_files(folder):
    path = folder / "train-00001.arrow"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    size = len(content)
    with pytest.raises(UserError, match=rf"00001\.arrow is {size - 1} bytes instead of {size}: {REMEDY}"):
        Corpus.load(folder)
    path.unlink()
    with pytest.raises(UserError, match=rf"00001\.arrow is missing: {REMEDY}"):
        Corpus.load(folder)


def test_verify_finds_a_changed_byte(folder):
    Corpus.load(folder).verify()
    path = folder / "train-00002.arrow"
    content = path.read_bytes()
    assert content.count(b"x\0\0\0") == 1  # the source text
    path.write_bytes(content.replace(b"x\0\0\0", b"y\0\0\0"))
    with pytest.raises(UserError, match=rf"00002\.arrow was changed: {REMEDY}"):
        Corpus.load(folder).verify()


def test_shard_overwritten_with_zeros(folder):
    path = folder / "train-00002.arrow"
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(UserError, match=rf"train-00002\.arrow is damaged .*: {REMEDY}"):
        Corpus.load(folder)


def test_training_examples_are_pairs_and_others_are_sources(small_captions: Corpus) -> None:
    """13, 6 and 4 images with three captions each."""
    train, dev = small_captions.splits["train"], small_captions.splits["dev"]
    assert [len(split) for split in small_captions.splits.values()] == [39, 6, 4]
    texts = [train.target_text(i) for i in range(39)]
    for i in range(39):
        first = 3 * (i // 3)
        others = [texts[k] for k in range(first, first + 3) if k != i]
        assert train.reference_texts(i) == [texts[i], *others]
        words = small_captions.target_vocabulary
        assert [" ".join(words.decode(ids)) for ids in train.references(i)] == train.reference_texts(i)
    assert len(dev.target_lengths) == len(dev.source_lengths) == 6
    assert dev.target_lengths[2] == len(dev.target(2)) == len(dev.references(2)[0])
    assert len(dev.reference_texts(5)) == 3
    assert dev.source_text(2) == "dev 2.jpg"


def test_a_pair_is_its_sources_only_reference_where_none_are_grouped(small_corpus: Corpus) -> None:
    dev = small_corpus.splits["dev"]
    assert dev.reference_texts(3) == [dev.target_text(3)] == ["u q v w"]
    assert dev.references(3)[0].tolist() == dev.target(3).tolist()


def test_an_images_source_is_its_row(small_captions: Corpus) -> None:
    split = small_captions.splits["dev"]
    assert split.features is not None
    names = split.features.names
    for i in range(6):
        assert [names[row] for row in split.source(i)] == [split.source_text(i)]
    assert small_captions.source_vocabulary is None
    record = small_captions.manifest.features
    assert record is not None
    assert (record.size, record.digest) == (5, split.features.digest)
    assert small_captions.preparation.vocabulary_digests["source"] == split.features.encoder_digest


def test_references_beyond_a_shard(tmp_path: Path) -> None:
    """The captions of one image may lie in two files."""
    pairs = [("a", "x y"), ("a", "y"), ("a", "x"), ("b", "x"), ("b", "y y")]
    splits = {"train": pairs, "dev": pairs, "test": pairs}
    settings = PrepareSettings(output_dir=tmp_path / "data", min_count=1, max_ratio=0, rows_per_shard=2)
    prepare(settings, GeneratedText("test", splits, grouped=True))
    corpus = Corpus.load(tmp_path / "data")
    assert corpus.splits["dev"].reference_texts(0) == ["x y", "y", "x"]
    assert corpus.splits["dev"].reference_texts(1) == ["x", "y y"]
    assert corpus.splits["train"].reference_texts(2) == ["x", "x y", "y"]
    assert corpus.splits["dev"].target_word_counts.tolist() == [0, 0, 0, 0, 4, 3]


def test_verify_finds_changed_features(small_captions: Corpus, tmp_path: Path) -> None:
    """Of the same size, so that loading does not."""
    shutil.copytree(small_captions.folder, tmp_path / "data")
    corpus = Corpus.load(tmp_path / "data")
    corpus.verify()
    shard = tmp_path / "data" / "features" / "features-00000.npy"
    shard.write_bytes(shard.read_bytes()[:-1] + b"!")
    with pytest.raises(UserError, match=rf"{shard.parent} was changed: {REMEDY} {corpus.folder}$"):
        corpus.verify()


def rewritten(folder, name, content):
    """Another content of a file, with the manifest's size made right."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name]["bytes"] = len(content)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def shard(columns, schema=SCHEMA):
    written = io.BytesIO()
    with pa.ipc.new_file(written, schema) as writer:
        writer.write_batch(pa.record_batch(columns, schema=schema))
    return written.getvalue()


def column(*rows):
    return pa.array(rows, pa.list_(pa.int32()))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (shard([column([4]), column([9]), pa.array(["a"]), pa.array(["b"])]), r"dev hold ids 9 to 9, of 5"),
        (
            shard([column([-1]), column([4]), pa.array(["a"]), pa.array(["b"])]),
            r"dev hold ids -1 to -1, of 5",
        ),
        (
            shard([column([4], [4]), column([4], [4]), *2 * [pa.array(["a", "b"])]]),
            r"dev hold 2 pairs, not 1",
        ),
        (
            shard([column([4]), column(None), pa.array(["a"]), pa.array(["b"])]),
            r"damaged \(values are missing\)",
        ),
        (
            shard([column([4])], pa.schema([SCHEMA[0]])),
            r"dev-00000.arrow is damaged \(its columns are source\)",
        ),
    ],
)
def test_a_shard_that_does_not_fit(folder, content, message):
    """Written whole, by another version or by hand."""
    rewritten(folder, "dev-00000.arrow", content)
    with pytest.raises(UserError, match=f"{message}: {REMEDY}"):
        Corpus.load(folder)


def test_offsets_that_lead_out_of_a_shard(folder):
    """Arrow takes them as they are: the text there would be read from beyond the file."""
    columns = [column([4], [4]), column([4], [4]), pa.array(["eins", "zwei"]), pa.array(["one", "two"])]
    content = shard(columns)
    offsets = np.array([0, 4, 8], np.int32).tobytes()
    assert content.count(offsets) == 1
    rewritten(
        folder, "train-00000.arrow", content.replace(offsets, np.array([0, 2**30, 8], np.int32).tobytes())
    )
    with pytest.raises(UserError, match=rf"train-00000\.arrow is damaged \(.*\): {REMEDY}"):
        Corpus.load(folder)


def test_a_manifest_without_a_split(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["splits"]["dev"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=rf"manifest\.json has no dev in splits: {REMEDY}"):
        Corpus.load(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff\n", r"is damaged \('utf-8' codec .*\)"), (b"b\nb\n", "has 2 lines, not 1")],
)
def test_raw_references_that_are_damaged(tmp_path, content, message):
    settings = PrepareSettings(
        task="files",
        train="a",
        dev="b",
        test="c",
        output_dir=tmp_path / "out",
        min_count=1,
        tokeniser="moses",
    )
    prepare(settings, GeneratedText("test", {split: [("a", "b")] for split in ("train", "dev", "test")}))
    rewritten(tmp_path / "out", "raw.dev.target.txt", content)
    corpus = Corpus.load(tmp_path / "out")
    assert corpus.raw_references("test") == ["b"]
    with pytest.raises(UserError, match=rf"raw\.dev\.target\.txt {message}: {REMEDY}"):
        corpus.raw_references("dev")


def test_features_of_another_store(small_captions, tmp_path):
    shutil.copytree(small_captions.folder, tmp_path / "data")
    path = tmp_path / "data" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["features"]["digest"] = "0" * 64
    path.write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=f"features holds other features: {REMEDY}"):
        Corpus.load(tmp_path / "data")


WORD = st.text(min_size=1).map(lambda text: "".join(text.split())).filter(bool)
PAIR = st.tuples(*2 * [st.lists(WORD, min_size=1, max_size=4).map(" ".join)])


@settings(max_examples=15)
@given(st.lists(PAIR, min_size=1, max_size=5))
def test_any_text_comes_back_from_its_shards(tmp_path_factory, pairs):
    chosen = PrepareSettings(
        output_dir=tmp_path_factory.mktemp("text") / "data",
        min_count=1,
        max_ratio=0,
        lower_case=False,
        rows_per_shard=2,
    )
    prepare(chosen, GeneratedText("text", {"train": pairs, "dev": pairs, "test": pairs}))
    corpus = Corpus.load(chosen.folder)
    corpus.verify()
    words = corpus.source_vocabulary, corpus.target_vocabulary
    for split in corpus.splits.values():
        assert [(split.source_text(i), split.target_text(i)) for i in range(len(split))] == pairs
        for i, pair in enumerate(pairs):
            ids = split.source(i), split.target(i)
            known = [["<unk>" if w in SPECIALS else w for w in side.split()] for side in pair]
            assert [one.decode(row) for one, row in zip(words, ids, strict=True)] == known
