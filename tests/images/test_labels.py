import json

import numpy as np
import pytest

from raysq.config import UserError
from raysq.images.labels import labelled_images, read_labels
from raysq.images.pictures import Pictures
from tests.images.made import write_images

IMAGES = [
    {"filename": "a.png", "split": "train", "scene": "pond"},
    {"filename": "x/b.png", "split": "restval", "scene": "beach"},
    {"filename": "c.png", "split": "train", "scene": None},
    {"filename": "d.png", "split": "val", "scene": "pond"},
    {"filename": "e.png", "split": "test"},
]


def written(path, images=IMAGES):
    path.write_text(json.dumps({"images": images}))
    return path


def with_label(number, label):
    return [image | ({"scene": label} if k == number else {}) for k, image in enumerate(IMAGES)]


def test_one_label_each(tmp_path):
    labels = read_labels(written(tmp_path / "x.json"), "scene")
    assert labels.splits == {
        "train": {"a.png": ("pond",), "b.png": ("beach",)},
        "dev": {"d.png": ("pond",)},
        "test": {},
    }
    assert labels.names == ["beach", "pond"]
    assert labels.unlabelled == 2


def test_several_labels_each(tmp_path):
    labels = read_labels(written(tmp_path / "x.json", with_label(0, ["pond", "boat"])), "scene")
    assert labels.splits["train"]["a.png"] == ("pond", "boat")
    assert labels.names == ["beach", "boat", "pond"]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (with_label(1, 3), r"images\[1\].scene must be a text, a list of texts or null"),
        (with_label(3, "desert"), "no training image has scene 'desert'"),
        (with_label(3, None), "no image of dev has a scene: name the right --label-key"),
        ([{"split": "train", "scene": "pond"}], r"images\[0\] lacks filename or split"),
        ([IMAGES[0] | {"split": "x"}], r"images\[0\].split is 'x'"),
        ([*IMAGES, IMAGES[0]], r"lists image a.png twice: images go by names, remove or rename one"),
        ([*IMAGES, IMAGES[1] | {"filename": "b.png", "split": "val"}], r"lists image b.png twice"),
    ],
)
def test_defects(images, message, tmp_path):
    with pytest.raises(UserError, match=message):
        read_labels(written(tmp_path / "x.json", images), "scene")


def test_images_as_arrays(tmp_path):
    write_images(tmp_path / "images", ["a.png", "b.png"], size=32)
    (tmp_path / "images" / "c.png").write_bytes(b"no image")
    pictures = Pictures.find(tmp_path / "images", tmp_path)
    wanted = {"b.png": ("pond",), "c.png": ("pond",), "a.png": ("pond", "boat"), "d.png": ("boat",)}
    bad = {}
    made = labelled_images(pictures, wanted, ["boat", "pond"], 32, bad.__setitem__)
    assert made.labels.tolist() == [[0, 1], [1, 1]]
    assert not made.exclusive
    whole = np.asarray(pictures.image("b.png"))
    assert (made.pixels[0].transpose(1, 2, 0) == whole[:, 2:34]).all()
    assert bad == {"c.png": "no image that can be decoded (cannot identify image file)", "d.png": "missing"}
    with pytest.raises(UserError, match="none of the labelled images can be used"):
        labelled_images(pictures, {"d.png": ("boat",)}, ["boat", "pond"], 32, bad.__setitem__)
