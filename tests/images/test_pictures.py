import bz2
import gzip
import io
import os
import tarfile
import warnings
import zipfile

import numpy as np
import pytest
from PIL import Image

from raysq.config import UserError
from raysq.data import archive as archives
from raysq.images import pictures as module
from raysq.images.pictures import BadImage, Pictures, decoded


def saved(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def encoded(form="PNG", size=(3, 2), colour=(10, 20, 30)):
    return saved(Image.new("RGB", size, colour), form)


def add(tar, name, data=b"", **fields):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for key, value in fields.items():
        setattr(member, key, value)
    tar.addfile(member, io.BytesIO(data))


@pytest.fixture
def folder(tmp_path):
    inner = tmp_path / "images" / "more"
    inner.mkdir(parents=True)
    (tmp_path / "images" / "a.png").write_bytes(encoded(colour=(1, 2, 3)))
    (inner / "b.JPG").write_bytes(encoded("JPEG"))
    (inner / "README.txt").write_text("no image")
    (inner / "._b.jpg").write_bytes(b"what another system leaves beside files")
    return tmp_path / "images"


def test_a_folder_and_the_folders_in_it(folder, tmp_path):
    found = Pictures.find(folder, tmp_path)
    assert sorted(found.places) == ["a.png", "b.JPG"]
    assert np.asarray(found.image("a.png")).tolist() == [[[1, 2, 3]] * 3] * 2
    with pytest.raises(KeyError):
        found.image("c.png")


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
def test_an_archive_is_read_in_place(compression, folder, tmp_path):
    archive = tmp_path / f"images.tar.{compression}".rstrip(".")
    with tarfile.open(archive, f"w:{compression}") as tar:
        tar.add(folder, "set")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    found = Pictures.find(archive, scratch)
    assert {name: found.read(name) for name in found.places} == {
        "a.png": (folder / "a.png").read_bytes(),
        "b.JPG": (folder / "more" / "b.JPG").read_bytes(),
    }
    assert len(list(scratch.iterdir())) == bool(compression)


def test_a_compressed_archive_is_decompressed_once(folder, tmp_path, monkeypatch):
    archive = tmp_path / "images.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, "set")
    first = Pictures.find(archive, tmp_path)
    monkeypatch.setattr(module, "decompressed", None)
    assert Pictures.find(archive, tmp_path) == first


def test_members_that_lead_elsewhere_are_refused_by_name(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        add(tar, "good.png", encoded())
        add(tar, "../above.png", encoded())
        add(tar, "/root.png", encoded())
        add(tar, "link.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(tar, "hard.png", type=tarfile.LNKTYPE, linkname="good.png")
    found = Pictures.find(tmp_path / "x.tar", tmp_path)
    assert list(found.places) == ["good.png"]
    assert found.refused == {
        "../above.png": "its path leads out of the archive",
        "/root.png": "its path leads out of the archive",
        "link.png": "it is a link or another special file",
        "hard.png": "it is a link or another special file",
    }


def test_an_archive_that_grows_without_bound_is_refused(tmp_path):
    bomb = tmp_path / "bomb.tar.gz"
    bomb.write_bytes(gzip.compress(bytes(70_000_000)))
    with pytest.raises(
        UserError, match=r"bomb\.tar\.gz unpacks to more than 67,108,864 bytes, 200 times its"
    ):
        Pictures.find(bomb, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["bomb.tar.gz"]


def test_an_archive_of_too_many_members_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 2)
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for k in range(3):
            add(tar, f"{k}.png", encoded())
    with pytest.raises(UserError, match="more than 2 members"):
        Pictures.find(tmp_path / "x.tar", tmp_path)


@pytest.mark.parametrize("kept", [0.3, 0.8])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_damaged_archive(kept, suffix, tmp_path):
    path = tmp_path / f"x.tar{suffix}"
    with tarfile.open(path, f"w:{suffix[1:]}") as tar:
        for k in range(20):
            noise = np.random.default_rng(k).bytes(3000)
            add(tar, f"{k}.png", noise)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(UserError, match="again"):
        Pictures.find(path, tmp_path)


def test_pipes_are_no_images(folder, tmp_path):
    """Opening one waits for somebody to write into it."""
    os.mkfifo(folder / "c.png")
    found = Pictures.find(folder, tmp_path)
    assert "c.png" not in found.places
    assert found.refused == {"c.png": "it is a pipe or another special file"}


@pytest.mark.parametrize("time", ["inf", "nan", "-1e300"])
def test_times_that_no_clock_shows(time, tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        add(tar, "a.png", encoded(), pax_headers={"mtime": time})
    assert Pictures.find(tmp_path / "x.tar", tmp_path).image("a.png").size == (3, 2)


def test_what_holds_no_images(tmp_path):
    (tmp_path / "x.txt").write_text("text")
    with pytest.raises(UserError, match="holds no image"):
        Pictures.find(tmp_path, tmp_path)
    with pytest.raises(UserError, match=r"y does not exist: give a folder of images, a \.tar or a \.tar\.gz"):
        Pictures.find(tmp_path / "y", tmp_path)


@pytest.mark.parametrize("name", ["x.zip", "x.bz2", "x.png"])
def test_what_is_no_tar_archive_says_what_is_taken(name, folder, tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(folder, "set")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        made.writestr("a.png", encoded())
    (tmp_path / "x.bz2").write_bytes(bz2.compress(b"BM, no bitmap"))
    (tmp_path / "x.png").write_bytes(encoded())
    with pytest.raises(UserError, match=rf"{name} is no tar archive: give a folder of images, a \.tar or a"):
        Pictures.find(tmp_path / name, tmp_path)


def test_two_images_of_one_name(folder, tmp_path):
    (folder / "more" / "a.png").write_bytes(encoded())
    said = "two images a.png, in different folders or at one path of an archive: .*rename or remove one"
    with pytest.raises(UserError, match=said):
        Pictures.find(folder, tmp_path)
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        add(tar, "set/a.png", encoded())
        add(tar, "set/a.png", encoded())
    with pytest.raises(UserError, match=said):
        Pictures.find(tmp_path / "x.tar", tmp_path)


def test_names_that_are_no_utf_8_are_refused(folder, tmp_path):
    """In folder and archive; a folder's name may be."""
    (folder / "more" / "caf\udce9.png").write_bytes(encoded())
    os.rename(folder / "more", folder / "m\udce9")
    found = Pictures.find(folder, tmp_path)
    assert sorted(found.places) == ["a.png", "b.JPG"]
    assert found.refused == {r"m\udce9/caf\udce9.png": "its name is no UTF-8: rename it"}
    assert len(found.read("b.JPG")) == len(encoded("JPEG"))
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        add(tar, "set/caf\udce9.png", encoded())
        add(tar, "../caf\udce9.png", encoded())
        add(tar, "set/a.png", encoded())
    assert Pictures.find(tmp_path / "x.tar", tmp_path).refused == {
        r"set/caf\udce9.png": "its name is no UTF-8: rename it",
        r"../caf\udce9.png": "its path leads out of the archive",
    }


WIDE = np.array([[0, 256, 257, 32896, 65535]])
PALETTE = [10, 20, 30, 40, 50, 60]


def from_palette(pixels):
    image = Image.fromarray(np.array([pixels], np.uint8)).convert("P")
    image.putdata(pixels)
    image.putpalette(PALETTE)
    return image


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (saved(Image.new("L", (1, 1), 7)), [[7, 7, 7]]),
        (saved(Image.new("1", (1, 1), 1)), [[255, 255, 255]]),
        (saved(Image.new("CMYK", (1, 1), (255, 0, 0, 0)), "TIFF"), [[0, 255, 255]]),
        (saved(Image.fromarray(WIDE.astype(np.uint16))), [[v] * 3 for v in (0, 0, 1, 128, 255)]),
        (saved(Image.fromarray(WIDE.astype(np.uint16)), "TIFF"), [[v] * 3 for v in (0, 0, 1, 128, 255)]),
        (saved(Image.new("RGBA", (1, 1), (200, 0, 0, 0))), [[255, 255, 255]]),
        (saved(Image.new("RGBA", (1, 1), (200, 0, 100, 51))), [[244, 204, 224]]),
        (saved(Image.new("LA", (1, 1), (0, 0))), [[255, 255, 255]]),
        (saved(from_palette([0, 1])), [[10, 20, 30], [40, 50, 60]]),
        (saved(from_palette([0, 1]), transparency=bytes([0, 255])), [[255, 255, 255], [40, 50, 60]]),
        (saved(from_palette([0, 1]), "GIF", transparency=1), [[10, 20, 30], [255, 255, 255]]),
        (saved(Image.new("RGB", (1, 1), (1, 2, 3)), transparency=(1, 2, 3)), [[255, 255, 255]]),
    ],
    ids=["L", "1", "CMYK", "16 png", "16 tiff", "clear", "fifth", "LA", "P", "P clear", "GIF", "one colour"],
)
def test_images_of_any_mode_become_rgb(data, expected):
    """16 bits are scaled, not cut off; what is transparent lies on white."""
    image = decoded(data)
    assert (image.mode, np.asarray(image).tolist()) == ("RGB", [expected])


@pytest.mark.parametrize(("kind", "mode"), [(np.int32, "I"), (np.float32, "F")])
def test_numbers_of_no_known_range_are_refused(kind, mode):
    data = saved(Image.fromarray(np.ones((2, 2), kind)), "TIFF")
    with pytest.raises(BadImage, match=f"mode {mode} does not say which numbers are black and white"):
        decoded(data)


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    return saved(Image.fromarray(pixels), exif=exif)


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [(1, [[0, 1, 2], [3, 4, 5]]), (3, [[5, 4, 3], [2, 1, 0]]), (6, [[3, 0], [4, 1], [5, 2]])],
)
def test_images_are_turned_as_the_camera_was_held(orientation, expected):
    assert np.asarray(decoded(turned(orientation)))[:, :, 0].tolist() == expected


def test_what_a_camera_says_may_be_damaged():
    image = decoded(saved(Image.new("RGB", (3, 2), (9, 9, 9)), exif=b"no tags"))
    assert np.asarray(image).tolist() == [[[9, 9, 9]] * 3] * 2


def test_images_much_longer_than_wide_are_refused():
    assert decoded(encoded(size=(100, 2))).size == (100, 2)
    with pytest.raises(BadImage, match="2 x 101 pixels: one side is more than 50 times the other"):
        decoded(encoded(size=(2, 101)))


def test_warnings_without_a_file_s_name_are_not_printed():
    with warnings.catch_warnings(record=True, action="always") as said:
        with pytest.raises(BadImage, match="10000 x 10000 pixels are more than"):
            decoded(saved(Image.new("1", (10_000, 10_000))))
        decoded(saved(from_palette([0, 1]), transparency=bytes([0, 255])))
    assert said == []


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no image that can be decoded"),
        (b"text", "no image that can be decoded"),
        (encoded("PNG", (64, 64))[:60], "truncated"),
        (encoded("JPEG", (64, 64))[:-40], "truncated"),
        (encoded()[:40] + b"\0" * 20 + encoded()[60:], "no image that can be decoded"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image that can be decoded"),
    ],
    ids=["empty", "text", "png", "jpeg", "checksum", "postscript"],
)
def test_damaged_images_say_why(data, why):
    with pytest.raises(BadImage, match=why):
        decoded(data)


def test_images_that_say_they_are_huge_are_not_decoded(monkeypatch):
    monkeypatch.setattr(module, "MAX_PIXELS", 5)
    with pytest.raises(BadImage, match="3 x 2 pixels are more than 5"):
        decoded(encoded())


def test_files_out_of_bounds_and_files_that_change(folder, tmp_path, monkeypatch):
    found = Pictures.find(folder, tmp_path)
    (folder / "a.png").write_bytes(b"short")
    with pytest.raises(BadImage, match="5 bytes instead of"):
        found.read("a.png")
    (folder / "a.png").unlink()
    with pytest.raises(BadImage, match="No such file"):
        found.read("a.png")
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 10)
    with pytest.raises(BadImage, match="are more than 10"):
        found.read("b.JPG")
