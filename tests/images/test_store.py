import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysq.config import UserError
from raysq.images.store import EncoderRecord, FeatureStore
from raysq.images.store_writer import StoreWriter

ENCODER = EncoderRecord(
    weights="made",
    weights_sha256="0" * 64,
    architecture={"depths": [1]},
    preprocessing={"size": {"shortest_edge": 4}},
    feature_size=3,
)
NAMES = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]
FEATURES = np.arange(15, dtype=np.float32).reshape(5, 3)


def writer(place, encoder=ENCODER, plan="plan"):
    for folder in (place / "data", place / "records"):
        folder.mkdir(parents=True, exist_ok=True)
    return StoreWriter(place / "data", place / "records", plan, encoder)


def made(place, cuts=(2, 4), names=NAMES, features=FEATURES, encoder=ENCODER, order=None):
    """A store of shards that end at these rows, written in this order."""
    writing = writer(place, encoder)
    bounds = [0, *cuts, len(names)]
    for k in order or range(len(bounds) - 1):
        rows = slice(bounds[k], bounds[k + 1])
        writing.write(k, names[rows], features[rows], {f"bad{k}.jpg": "damaged"})
    writing.finish({"gone.jpg": "missing"}, ["other.jpg"])
    return FeatureStore.load(place / "data")


@pytest.fixture
def store(tmp_path):
    return made(tmp_path)


def test_rows_in_any_order(store):
    assert len(store) == 5
    assert store.names == NAMES
    assert [store.row(name) for name in ("e.jpg", "a.jpg", "c.jpg")] == [4, 0, 2]
    rows = np.array([4, 0, 2, 0, 3])
    assert store.read(rows).tolist() == FEATURES[rows].tolist()
    assert store.read(np.array([], np.int64)).shape == (0, 3)
    for row in (-1, 5):
        with pytest.raises(IndexError, match=rf"rows .*{row}.* of 5"):
            store.read(np.array([0, row] if row > 0 else [row, 0]))


def test_what_is_read_is_a_copy_and_no_file_stays_mapped(store):
    features = store.read(np.array([1]))
    features[:] = 7
    assert store.read(np.array([1])).tolist() == [[3, 4, 5]]
    assert str(store.folder) not in Path("/proc/self/maps").read_text()


def test_images_without_features_are_named_with_the_reason(store):
    assert store.skipped == {
        "bad0.jpg": "damaged",
        "bad1.jpg": "damaged",
        "bad2.jpg": "damaged",
        "gone.jpg": "missing",
    }
    for name, why in (("gone.jpg", "missing"), ("new.jpg", "not among the images")):
        with pytest.raises(UserError, match=rf"no features of image {name} \(.*{why}"):
            store.row(name)


def test_the_digest_is_of_names_features_and_encoder(tmp_path, store):
    same = made(tmp_path / "1", cuts=(1, 2, 3), order=[3, 0, 2, 1])
    assert same.digest == store.digest
    assert made(tmp_path / "2", cuts=()).digest == store.digest
    moved = ENCODER.model_copy(update={"weights": "elsewhere"})
    assert made(tmp_path / "3", encoder=moved).digest == store.digest
    others = [
        made(tmp_path / "4", names=[*NAMES[:4], "f.jpg"]),
        made(tmp_path / "5", features=FEATURES + np.float32(1e-6)),
        made(tmp_path / "6", encoder=ENCODER.model_copy(update={"weights_sha256": "1" * 64})),
        made(tmp_path / "7", encoder=ENCODER.model_copy(update={"preprocessing": {}})),
    ]
    assert len({store.digest, *(other.digest for other in others)}) == 5
    assert [other.encoder_digest == store.encoder_digest for other in others] == [True, True, False, False]


def test_an_interrupted_writer_goes_on(tmp_path, store):
    place = tmp_path / "again"
    first = writer(place)
    first.write(2, NAMES[4:], FEATURES[4:], {"bad2.jpg": "damaged"})
    first.write(0, NAMES[:2], FEATURES[:2], {"bad0.jpg": "damaged"})
    (place / "data" / "features-00001.npy").write_bytes(b"its record was not written")
    second = writer(place)
    assert second.written == {0, 2}
    assert second.skipped == {"bad0.jpg": "damaged", "bad2.jpg": "damaged"}
    second.write(1, NAMES[2:4], FEATURES[2:4], {"bad1.jpg": "damaged"})
    second.finish({"gone.jpg": "missing"}, ["other.jpg"])
    files = {path.name: path.read_bytes() for path in store.folder.iterdir()}
    assert {path.name: path.read_bytes() for path in (place / "data").iterdir()} == files


def test_another_plan_does_not_go_on(tmp_path):
    writer(tmp_path)
    with pytest.raises(UserError, match="begun extraction of other images"):
        writer(tmp_path, plan="another")


def test_a_shard_without_images(tmp_path):
    made(tmp_path, cuts=(0, 5))
    store = FeatureStore.load(tmp_path / "data")
    assert store.read(np.array([4, 0])).tolist() == FEATURES[[4, 0]].tolist()


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def transposed(path):
    path.write_bytes(path.read_bytes().replace(b"False", b"True ", 1))


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("features-00001.npy", Path.unlink, "features-00001.npy is missing: remove"),
        ("features-00001.npy", cut, "features-00001.npy is 151 bytes instead of 152: remove"),
        ("features-00001.npy", transposed, "features-00001.npy holds float32 .*, not its features: remove"),
        ("features-00001.npy", lambda path: path.write_bytes(bytes(152)), "features-00001.npy is damaged"),
        ("manifest.json", Path.unlink, "holds no image features .*: extract them"),
        (
            "manifest.json",
            cut,
            r"manifest.json is no manifest of .* \(no JSON \(EOF .*\)\): remove",
        ),
    ],
)
def test_damage_is_found_when_a_store_is_opened(file, damage, message, store):
    damage(store.folder / file)
    with pytest.raises(UserError, match=message):
        FeatureStore.load(store.folder)


def test_another_format(store):
    path = store.folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(UserError, match="has format 2, not 1: remove"):
        FeatureStore.load(store.folder)


def test_verify_reads_the_files_through(store):
    store.verify()
    path = store.folder / "features-00002.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(UserError, match=r"features-00002.npy was changed: remove"):
        FeatureStore.load(store.folder).verify()


def test_a_file_that_is_cut_while_it_is_open(store):
    cut(store.folder / "features-00002.npy")
    with pytest.raises(UserError, match=r"features-00002.npy was cut short: remove"):
        store.read(np.array([0, 4]))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("features-00001.json", b"{}", r"features-00001\.json is damaged \(shard: Field required\): remove"),
        ("features-00001.json", b"\xff", r"features-00001\.json is damaged \(no JSON .*\): remove"),
        ("plan.json", b"\xff", "holds the begun extraction of other images"),
    ],
)
def test_what_was_begun_and_is_damaged(tmp_path, name, content, message):
    made(tmp_path)
    (tmp_path / "records" / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        writer(tmp_path)


def test_pipes_in_place_of_files(tmp_path):
    made(tmp_path)
    for name in ("records/features-00001.json", "data/manifest.json"):
        (tmp_path / name).unlink()
        os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=r"features-00001\.json: it is no regular file: remove"):
        writer(tmp_path)
    with pytest.raises(UserError, match=r"holds no image features \(it is no regular file\): extract them"):
        FeatureStore.load(tmp_path / "data")


@pytest.mark.parametrize("header", [b"{'descr': '<f4', 'fortran_order': (((", b"(" * 90, b"\x00" * 90])
def test_a_header_that_no_parser_takes(store, header):
    """numpy's parser of headers raises what Python's own parsers do."""
    path = store.folder / "features-00001.npy"
    path.write_bytes((path.read_bytes()[:10] + header).ljust(152, b" "))
    with pytest.raises(UserError, match=r"features-00001\.npy is damaged, its header at least: remove"):
        FeatureStore.load(store.folder)


NAMES_AND_ROWS = st.dictionaries(st.text(min_size=1), st.tuples(*3 * [st.floats(width=32)]), min_size=1)


@settings(max_examples=15)
@given(NAMES_AND_ROWS)
def test_any_features_come_back(tmp_path_factory, rows):
    features = np.array(list(rows.values()), np.float32)
    store = made(tmp_path_factory.mktemp("store"), cuts=(), names=list(rows), features=features)
    order = np.array([store.row(name) for name in sorted(rows)])
    expected = np.array([rows[name] for name in sorted(rows)], np.float32)
    assert store.read(order).tobytes() == expected.tobytes()
    store.verify()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "features-00000.npy"}, "shards: must name every file and every image once"),
        ({"names": ["a.jpg"]}, "shards: must name every file and every image once"),
        ({"file": "../../features-00000.npy"}, r"shards\[1\]\.file: String should match pattern .*"),
        ({"file": "x" * 100_000}, r"shards\[1\]\.file: String should match pattern .*"),
    ],
)
def test_a_manifest_that_names_twice_or_elsewhere(store, change, message):
    path = store.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["shards"][1] |= change
    path.write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=rf"is no manifest of this version \({message}\): remove"):
        FeatureStore.load(store.folder)
