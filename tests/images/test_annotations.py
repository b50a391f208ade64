import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysq.config import UserError
from raysq.images.annotations import CaptionText, clean, first_named, read_annotations

SHARED = Path(os.environ.get("RAYSQ_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))

KARPATHY = {
    "dataset": "made",
    "images": [
        {
            "filename": "one.jpg",
            "split": "train",
            "sentences": [
                {"tokens": ["a", "man's", "Dog"], "raw": "not this"},
                {"raw": "Two dogs, (one\tis small)!"},
            ],
        },
        {"filename": "two.jpg", "split": "restval", "sentences": [{"raw": "a T-shirt"}, {"raw": " ... "}]},
        {"filename": "three.jpg", "split": "val", "sentences": [{"raw": "Été à 9h30"}]},
        {"filename": "four.jpg", "split": "test", "sentences": [{"raw": "x"}]},
        {"filename": "five.jpg", "split": "test", "sentences": [{"raw": "?!"}]},
        {"filename": "six.jpg", "split": "test", "sentences": []},
    ],
}


def write(path, content):
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def changed(change):
    content = json.loads(json.dumps(KARPATHY))
    change(content["images"])
    return content


def coco(images, captions):
    return {
        "info": {},
        "images": [{"id": key, "file_name": name, "width": 3} for key, name in images.items()],
        "annotations": [
            {"id": 100 + k, "image_id": key, "caption": caption} for k, (key, caption) in enumerate(captions)
        ],
    }


@pytest.fixture
def coco_folder(tmp_path):
    folder = tmp_path / "coco"
    folder.mkdir()
    train = coco(
        {7: "train/one.jpg", 3: "two.jpg", 9: "nine.jpg"},
        [(3, "a T-shirt"), (7, "a man's Dog"), (4, "of nothing"), (7, "Two dogs, (one\tis small)!")],
    )
    write(folder / "captions_train2014.json.gz", train)
    write(folder / "captions_val2014.json", coco({1: "three.jpg"}, [(1, "Été à 9h30")]))
    write(folder / "captions_test.json", coco({1: "four.jpg"}, [(1, "x")]))
    return folder


def pairs(annotations):
    return {split: list(CaptionText(annotations).pairs(split)) for split in ("train", "dev", "test")}


def letters(annotations):
    return [
        (name, caption.replace(" ", "")) for split in pairs(annotations).values() for name, caption in split
    ]


EXPECTED = {
    "train": [("one.jpg", "a mans dog"), ("one.jpg", "two dogs one is small"), ("two.jpg", "a tshirt")],
    "dev": [("three.jpg", "été à 9h30")],
    "test": [("four.jpg", "x")],
}


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_karpathy(suffix, tmp_path):
    read = read_annotations(write(tmp_path / f"dataset.json{suffix}", KARPATHY))
    assert pairs(read) == EXPECTED
    assert read.empty_captions == ("two.jpg", "five.jpg")
    assert read.without_caption == ("five.jpg", "six.jpg")
    assert read.without_image == ()
    assert list(first_named(read.left_out)) == [
        "annotated image without caption: five.jpg",
        "annotated image without caption: six.jpg",
        "empty caption of image: two.jpg",
        "empty caption of image: five.jpg",
    ]
    assert read.image_names == ["four.jpg", "one.jpg", "three.jpg", "two.jpg"]


def test_coco_gives_the_same_and_prints_nothing(coco_folder, capsys):
    read = read_annotations(coco_folder)
    assert pairs(read) == EXPECTED
    assert read.without_image == ("caption 102 of image 4 in captions_train2014.json.gz",)
    assert read.without_caption == ("nine.jpg",)
    assert capsys.readouterr() == ("", "")


def test_cleaning_can_be_left_out(tmp_path):
    path = write(tmp_path / "dataset.json", KARPATHY)
    assert pairs(read_annotations(path, lower_case=False))["train"][0] == ("one.jpg", "a mans Dog")
    kept = read_annotations(path, only_alphanumeric=False)
    assert pairs(kept)["train"][:2] == [("one.jpg", "a man's dog"), ("one.jpg", "two dogs, (one is small)!")]
    assert clean("A man's T-shirt.") == "a mans tshirt"
    assert clean("a\u00a0 b_c\n") == "a bc"


def test_a_letters_marks_belong_to_it():
    assert clean("नमस्ते, दुनिया!") == "नमस्ते दुनिया"
    assert clean("Cafe\u0301 \u0301 x.\u0301") == "caf\u00e9 x"
    assert clean("I \u2764\ufe0f dogs") == "i dogs"
    assert clean("Cafe\u0301!", only_alphanumeric=False) == "caf\u00e9!"


def test_twenty_of_each_kind_are_named():
    lines = list(first_named({"a": [], "b": ["x\n"], "c": list(map(str, range(23)))}))
    assert lines == [r"b: x\n", *(f"c: {k}" for k in range(20)), "c: 3 more, 23 together"]


def test_fingerprints_tell_names_captions_and_cleaning_apart(tmp_path):
    path = write(tmp_path / "dataset.json", KARPATHY)
    before = CaptionText(read_annotations(path)).fingerprints()
    assert {print.name for print in before.values()} == {"dataset.json"}
    other_case = CaptionText(read_annotations(path, lower_case=False)).fingerprints()
    different = {role for role in before if before[role] != other_case[role]}
    assert different == {"train.target", "dev.target"}
    write(path, changed(lambda images: images[3].update(filename="4.jpg")))
    renamed = CaptionText(read_annotations(path)).fingerprints()
    assert {role for role in before if before[role] != renamed[role]} == {"test.source"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images: images[2].update(split="dev"), r"images\[2\].split is 'dev': must be train, restval"),
        (lambda images: images[1].pop("filename"), r"images\[1\].filename: Field required"),
        (lambda images: images[0]["sentences"][1].clear(), r"images\[0\].sentences\[1\] has neither tokens"),
        (lambda images: images[0]["sentences"][0].update(tokens="a b"), r"images\[0\].sentences\[0\].tokens"),
        (lambda images: images[3].update(filename="x/one.jpg"), r"lists image one.jpg twice"),
        (lambda images: images.__delitem__(slice(4)), r"has no caption with a word"),
    ],
)
def test_defects_of_karpathy_files_are_named(change, message, tmp_path):
    path = write(tmp_path / "dataset.json", changed(change))
    with pytest.raises(UserError, match=rf"dataset.json:? .*{message}"):
        read_annotations(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", b'{"images": [', "x.json is not in Karpathy's format: no JSON"),
        ("x.json", b"\xff\xfe", "x.json is not in Karpathy's format: no JSON"),
        ("x.json", b"[]", "x.json is not in Karpathy's format"),
        ("x.json", {"annotations": []}, "x.json is not in Karpathy's format: images: Field required"),
    ],
)
def test_files_of_another_form(name, content, message, tmp_path):
    path = write(tmp_path / name, content)
    with pytest.raises(UserError, match=message):
        read_annotations(path)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"x.json does not exist"):
        read_annotations(tmp_path / "x.json")
    path = write(tmp_path / "x.json.gz", KARPATHY)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"x.json.gz is a damaged .gz"):
        read_annotations(path)


def test_some_splits_alone(coco_folder, tmp_path):
    """As for captioning test images; only preparing needs all."""
    of_test = read_annotations(write(tmp_path / "test.json", {"images": KARPATHY["images"][3:4]}))
    assert pairs(of_test) == {"train": [], "dev": [], "test": [("four.jpg", "x")]}
    (coco_folder / "captions_test.json").unlink()
    assert pairs(read_annotations(coco_folder)) == EXPECTED | {"test": []}


def test_defects_of_coco_folders(coco_folder, tmp_path):
    (tmp_path / "captions_validation.json").write_bytes((coco_folder / "captions_val2014.json").read_bytes())
    with pytest.raises(UserError, match=r"holds none of captions_train\*.json, captions_val\*.json, capt"):
        read_annotations(tmp_path)
    for year in (2014, 2017):
        write(coco_folder / f"captions_val{year}.json", coco({1: "three.jpg"}, [(1, "x")]))
    with pytest.raises(UserError, match=r"not captions_val2014.json, captions_val2017.json"):
        read_annotations(coco_folder)
    (coco_folder / "captions_val2017.json").unlink()
    twice = coco({1: "three.jpg"}, [(1, "x")])
    twice["images"] *= 2
    write(coco_folder / "captions_val2014.json", twice)
    with pytest.raises(UserError, match=r"captions_val2014.json has two images with id 1"):
        read_annotations(coco_folder)


@pytest.mark.skipif(
    not (SHARED / "rsicd").is_dir(),
    reason="no RSICD: RAYSQ_SHARED_DATA must name the folder that holds rsicd/",
)
def test_both_formats_of_rsicd_say_the_same():
    karpathy = read_annotations(SHARED / "rsicd" / "dataset_rsicd.json.gz")
    assert {split: len(images) for split, images in karpathy.splits.items()} == {
        "train": 7862,
        "dev": 1966,
        "test": 1093,
    }
    coco = read_annotations(SHARED / "rsicd")
    assert (
        karpathy.empty_captions
        == coco.empty_captions
        == (
            "parking_211.jpg",
            "bridge_218.jpg",
            "bridge_59.jpg",
        )
    )
    # its tokens have "fan shaped" for the raw fan-shaped, which cleaning makes one word
    assert letters(karpathy) == letters(coco)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["images", "filename", "split", "sentences", "raw"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(
    JSON.map(lambda tree: json.dumps({"images": tree}).encode())
    | JSON.map(json.dumps).map(str.encode)
    | st.binary()
)
def test_any_file_holds_captions_or_is_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("captions") / "dataset.json"
    path.write_bytes(content)
    refusal = None
    try:
        read_annotations(path)
    except UserError as error:
        refusal = str(error)
    assert refusal is None or refusal.startswith(str(path))


@given(st.text())
def test_clean_captions_stay_as_they_are(caption):
    for lower_case in (True, False):
        once = clean(caption, lower_case=lower_case)
        assert clean(once, lower_case=lower_case) == once
        assert " ".join(once.split()) == once


def test_a_small_file_of_a_gigabyte_is_not_decompressed(tmp_path):
    path = tmp_path / "dataset.json.gz"
    path.write_bytes(gzip.compress(bytes(2**24)) * 64)
    with pytest.raises(
        UserError, match=r"dataset\.json\.gz unpacks to more than [\d,]+ bytes, 200 times its size"
    ):
        read_annotations(path)


def test_a_pipe_among_captions_is_refused(tmp_path):
    os.mkfifo(tmp_path / "captions_train2014.json")
    with pytest.raises(UserError, match=r"captions_train2014\.json: it is no regular file: check the path"):
        read_annotations(tmp_path)


def test_a_file_that_is_no_object_says_so(tmp_path):
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(
        UserError, match="not in Karpathy's format: the whole: Input should be an object: mend"
    ):
        read_annotations(tmp_path / "dataset.json")
