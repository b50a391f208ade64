import dataclasses
import os
import tarfile

import numpy as np
import pytest

from raysq.config import UserError
from raysq.images.encoder import ImageEncoder
from raysq.images.extraction import Extraction, encode_shard, encoding_here, extract
from raysq.images.pictures import Pictures
from raysq.images.store import FeatureStore
from raysq.workplace import workplace
from tests.images.made import save_weights, write_images

NAMES = [f"{k:03d}.png" for k in range(23)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return ImageEncoder.load(save_weights(tmp_path_factory.mktemp("weights") / "tiny"))


@pytest.fixture
def images(tmp_path):
    write_images(tmp_path / "images", NAMES)
    return tmp_path / "images"


def extraction_of(images, wanted=None, batches_per_shard=2):
    return Extraction.of(Pictures.find(images, images), wanted, 4, batches_per_shard)


def run(extraction, encoder, folder, encode=None):
    encode = encode or encoding_here(extraction, encoder)
    with workplace(folder, "the extraction") as hidden:
        return extract(extraction, encoder.record, hidden, folder, encode)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_features_of_all_images_in_the_order_of_their_names(images, encoder, tmp_path):
    store = run(extraction_of(images), encoder, tmp_path / "out")
    assert store.names == NAMES
    assert [len(shard.names) for shard in store.manifest.shards] == [8, 8, 7]
    pictures = Pictures.find(images, images)
    batch = [encoder.pixels(pictures.image(name)) for name in NAMES[8:12]]
    rows = np.array([store.row(name) for name in NAMES[8:12]])
    assert store.read(rows).tobytes() == encoder.features(batch).tobytes()


def test_neither_order_nor_interruptions_nor_shards_change_the_features(images, encoder, tmp_path):
    extraction = extraction_of(images)
    once = run(extraction, encoder, tmp_path / "once")

    def two_then_killed(numbers):
        yield encode_shard(extraction, encoder, numbers[2])
        yield encode_shard(extraction, encoder, numbers[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(extraction, encoder, tmp_path / "twice", two_then_killed)
    left = []

    def the_rest(numbers):
        left.extend(numbers)
        return (encode_shard(extraction, encoder, number) for number in numbers)

    run(extraction, encoder, tmp_path / "twice", the_rest)
    assert left == [1]
    assert content(tmp_path / "twice") == content(once.folder)
    larger = run(extraction_of(images, batches_per_shard=5), encoder, tmp_path / "larger")
    assert len(larger.manifest.shards) == 2
    assert larger.digest == once.digest


def test_images_that_cannot_be_used_are_named_and_left_out(images, encoder, tmp_path):
    many = [f"x{k:03d}.png" for k in range(300)]
    write_images(images, many, size=4)
    (images / "005.png").write_bytes((images / "005.png").read_bytes()[:60])
    store = run(extraction_of(images, [*NAMES, *many[:280], "not there.png"]), encoder, tmp_path / "out")
    assert list(store.skipped) == ["005.png", "not there.png"]
    assert "truncated" in store.skipped["005.png"]
    assert store.skipped["not there.png"] == "missing"
    assert len(store) == 302
    assert store.manifest.without_caption == tuple(many[280:])
    whole = run(extraction_of(images, [*NAMES[6:], *many[:280]]), encoder, tmp_path / "whole")
    assert "005.png" not in store.names
    assert whole.skipped == {}


def test_more_than_one_in_a_hundred_is_an_error(images, encoder, tmp_path):
    (images / "003.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"1 of 23 images cannot be used, more than 1%, as 003.png: no image"):
        run(extraction_of(images), encoder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match=r"2 of 23 images cannot be used, more than 1%, as .*g1.png: missing"):
        run(extraction_of(images, [*NAMES[:21], "g1.png", "g2.png"]), encoder, tmp_path / "other")


def test_refused_members_count_as_images_that_cannot_be_used(images, encoder, tmp_path):
    pictures = dataclasses.replace(Pictures.find(images, images), refused={"../x.png": "it is a link"})
    with pytest.raises(UserError, match=r"1 of 24 images cannot be used, .* as ../x.png: it is a link"):
        run(Extraction.of(pictures, None, 4), encoder, tmp_path / "out")
    wanted = Extraction.of(pictures, [*NAMES[1:], "x.png", "gone.png"], 4)
    assert wanted.skipped == {"x.png": "it is a link", "gone.png": "missing"}
    assert run(Extraction.of(pictures, NAMES, 4), encoder, tmp_path / "out").skipped == {}


def test_fetched_or_mended_images_make_a_new_beginning(images, encoder, tmp_path):
    """The remedy that the error names, and then the same command."""
    wanted = [*NAMES, "late.png"]
    with pytest.raises(UserError, match=r"as late.png: missing"):
        run(extraction_of(images, wanted), encoder, tmp_path / "out")
    late = images / "late.png"  # of the last shard
    late.write_bytes(b"no image")
    with pytest.raises(UserError, match=r"as late.png: no image"):
        run(extraction_of(images, wanted), encoder, tmp_path / "out")
    late.write_bytes((images / "000.png").read_bytes())
    store = run(extraction_of(images, wanted), encoder, tmp_path / "out")
    assert store.names == sorted(wanted)
    assert (store.read(np.array([store.row("late.png")])) == store.read(np.array([0]))).all()


def test_names_in_errors_break_no_line(images, encoder, tmp_path):
    with pytest.raises(UserError, match=r"as a\\nb.png: missing"):
        run(extraction_of(images, [*NAMES, "a\nb.png"]), encoder, tmp_path / "out")


def test_the_plan_is_of_all_that_can_change_the_outcome(images, encoder, tmp_path):
    plans = [extraction_of(images).plan(encoder.record)]
    assert extraction_of(images).plan(encoder.record) == plans[0]
    plans += [
        extraction_of(images, NAMES[1:]).plan(encoder.record),
        extraction_of(images, batches_per_shard=1).plan(encoder.record),
        Extraction.of(Pictures.find(images, images), None, 2, 2).plan(encoder.record),
        extraction_of(images).plan(encoder.record.model_copy(update={"weights_sha256": "0"})),
    ]
    write_images(images, NAMES[:1], size=9)
    plans.append(extraction_of(images).plan(encoder.record))
    assert len(set(plans)) == 6


@pytest.mark.parametrize("archive", [False, True])
def test_images_replaced_by_others_of_equal_size_are_others(archive, encoder, tmp_path):
    def plan():
        for path in (tmp_path / "images").iterdir():
            os.utime(path, (7, 7))
        os.utime(tmp_path / "images" / "a.bmp", (7, seconds))
        place = tmp_path / "images"
        if archive:
            place = tmp_path / "images.tar"
            with tarfile.open(place, "w") as tar:
                tar.add(tmp_path / "images")
        return extraction_of(place).plan(encoder.record)

    write_images(tmp_path / "images", ["a.bmp", "b.bmp"])
    seconds = 7
    before = plan()
    assert plan() == before
    write_images(tmp_path / "images", ["b.bmp", "a.bmp"])
    seconds = 8
    assert plan() != before


def test_a_whole_batch_of_bad_images(images, encoder, tmp_path):
    extraction = extraction_of(images)
    for name in NAMES[4:8]:
        (images / name).write_bytes(bytes(extraction.pictures.places[name].size))
    shard = encode_shard(extraction, encoder, 0)
    assert shard.names == tuple(NAMES[:4])
    assert list(shard.skipped) == NAMES[4:8]
    assert shard.features.shape == (4, 8)
    assert isinstance(run(extraction_of(images, NAMES[8:]), encoder, tmp_path / "out"), FeatureStore)
