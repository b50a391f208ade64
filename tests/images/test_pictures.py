import gzip
import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from raysq.config import UserError
from raysq.images import pictures as module
from raysq.images.pictures import BadImage, Pictures, decoded


def encoded(form="PNG", size=(3, 2), colour=(10, 20, 30)):
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, form)
    return file.getvalue()


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


@pytest.mark.parametrize("compressed", [False, True])
def test_an_archive_is_read_in_place(compressed, folder, tmp_path):
    archive = tmp_path / ("images.tar.gz" if compressed else "images.tar")
    with tarfile.open(archive, "w:gz" if compressed else "w") as tar:
        tar.add(folder, "set")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    found = Pictures.find(archive, scratch)
    assert {name: found.read(name) for name in found.places} == {
        "a.png": (folder / "a.png").read_bytes(),
        "b.JPG": (folder / "more" / "b.JPG").read_bytes(),
    }
    assert len(list(scratch.iterdir())) == compressed


def test_a_compressed_archive_is_decompressed_once(folder, tmp_path, monkeypatch):
    archive = tmp_path / "images.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, "set")
    first = Pictures.find(archive, tmp_path)
    monkeypatch.setattr(gzip, "open", None)
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
    bomb.write_bytes(gzip.compress(bytes(50_000_000)))
    with pytest.raises(UserError, match=r"bomb.tar.gz decompresses to more than 200 times its size"):
        Pictures.find(bomb, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["bomb.tar.gz"]


def test_an_archive_of_too_many_members_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_MEMBERS", 2)
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


def test_what_holds_no_images(tmp_path):
    (tmp_path / "x.txt").write_text("text")
    with pytest.raises(UserError, match="holds no image"):
        Pictures.find(tmp_path, tmp_path)
    with pytest.raises(UserError, match="is no folder and no archive"):
        Pictures.find(tmp_path / "y", tmp_path)
    with pytest.raises(UserError, match="no sound tar archive"):
        Pictures.find(tmp_path / "x.txt", tmp_path)


def test_two_images_of_one_name(folder, tmp_path):
    (folder / "more" / "a.png").write_bytes(encoded())
    with pytest.raises(UserError, match=r"two images a.png"):
        Pictures.find(folder, tmp_path)


def test_images_of_any_mode_become_rgb():
    file = io.BytesIO()
    Image.new("L", (1, 1), 7).save(file, "PNG")
    assert np.asarray(decoded(file.getvalue())).tolist() == [[[7, 7, 7]]]


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
