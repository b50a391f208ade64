import bz2
import gzip
import io
import lzma
import tarfile

import pytest

from raysq.config import UserError
from raysq.data import archive as module
from raysq.data.archive import is_archive, opened


def header(name="a", size=0, kind=tarfile.REGTYPE):
    """512 bytes that begin a member; a negative size or one of terabytes is written in base 256."""
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def names_in(path):
    with opened(path) as tar:
        return [member.name for member in tar]


def test_members_one_after_another(tmp_path):
    """Read from the archive each time: none but the last is kept in memory."""
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for k in range(9):
            member = tarfile.TarInfo(f"{k}")
            member.size = 700
            tar.addfile(member, io.BytesIO(bytes([k]) * 700))
    content = {}
    with opened(tmp_path / "a.tar") as tar:
        for member in tar:
            content[member.name] = tar.extractfile(member).read()
            assert len(tar.members) <= 1
    assert content == {f"{k}": bytes([k]) * 700 for k in range(9)}


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_zeros_without_end_are_not_read(compress, tmp_path, monkeypatch):
    """As one member of a sound archive, or after the end of one."""
    monkeypatch.setattr(module, "ALWAYS_READ", 10**6)
    bomb = tmp_path / "bomb.tar"
    bomb.write_bytes(compress(header(size=20_480_000) + bytes(20_480_000)))
    said = r"bomb\.tar unpacks to more than [0-9,]{9} bytes, 200 times its size, .*: unpack it yourself"
    with pytest.raises(UserError, match=said):
        names_in(bomb)
    monkeypatch.setattr(module, "ALWAYS_READ", 30_000_000)
    assert names_in(bomb) == ["a"]


def test_what_a_header_promises_is_not_waited_for(tmp_path):
    """A plain file of a few bytes that says it has exabytes."""
    (tmp_path / "a.tar").write_bytes(header(size=2**60) + bytes(1024))
    with pytest.raises(UserError, match="unpacks to more than 67,108,864 bytes"):
        names_in(tmp_path / "a.tar")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("size", [2**30, -1024])
def test_headers_of_any_size_are_not_read_into_memory(kind, size, tmp_path):
    """-1024 bytes would be all that there is."""
    (tmp_path / "a.tar").write_bytes(header("long", size, kind) + bytes(4096))
    with pytest.raises(UserError, match=rf"a\.tar has a header of {size:,} bytes: fetch or make it again"):
        names_in(tmp_path / "a.tar")


def test_an_archive_that_goes_backwards_ends(tmp_path):
    (tmp_path / "a.tar").write_bytes(header("a") + header("b", -1024) + bytes(1024))
    with pytest.raises(UserError, match=r"no sound tar archive \(a member of -1024 bytes\)"):
        names_in(tmp_path / "a.tar")


def test_headers_of_headers_end(tmp_path):
    """tarfile follows each by a call of itself."""
    (tmp_path / "a.tar").write_bytes(header("long", 0, tarfile.GNUTYPE_LONGNAME) * 5000 + bytes(1024))
    with pytest.raises(UserError, match=r"no sound tar archive \(maximum recursion depth exceeded"):
        names_in(tmp_path / "a.tar")


def test_too_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_MEMBERS", 3)
    (tmp_path / "three.tar").write_bytes(header() * 3 + bytes(1024))
    (tmp_path / "four.tar").write_bytes(header() * 4 + bytes(1024))
    assert len(names_in(tmp_path / "three.tar")) == 3
    with pytest.raises(UserError, match=r"four\.tar has more than 3 members: divide it"):
        names_in(tmp_path / "four.tar")


def test_an_archive_by_its_name_or_by_how_it_begins(tmp_path):
    """A URL's file may have any name; a damaged archive is one, so that what reads it says so."""
    (tmp_path / "download").write_bytes(gzip.compress(header() + bytes(1024)))
    for name, content in (
        ("a.tsv", b"a\tb\n"),
        ("cut.tgz", b"\x1f\x8b"),
        ("cut.gz", b"\x1f\x8b"),
        ("0", b""),
    ):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "pairs.tsv.gz").write_bytes(gzip.compress(b"a\tb\n"))
    (tmp_path / "folder.tar").mkdir()
    assert {path.name for path in tmp_path.iterdir() if is_archive(path)} == {"download", "cut.tgz"}
    assert not is_archive(tmp_path / "missing.tar")
