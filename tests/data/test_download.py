import hashlib
import http.server
import io
import random
import tarfile
import threading
from contextlib import contextmanager

import fsspec
import pytest

from raysq.claim import claim
from raysq.config import UserError
from raysq.data.download import check, fetch, unpacked

CONTENT = b"ein Hund\ta dog\n" * 200_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def url(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "pairs.tsv").write_bytes(CONTENT)
    return f"file://{tmp_path}/there/pairs.tsv"


@contextmanager
def served(content: bytes, sent: int | None = None):
    """A web server on this machine that promises ``content`` and sends so many bytes of it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:sent])

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/sets/pairs.tsv?version=2"
    server.shutdown()
    server.server_close()


def files_in(folder):
    return {path.name for path in folder.iterdir()} - {"claim"}


def test_fetched_once_and_found_by_its_digest(tmp_path, url):
    path = fetch(url, SHA256, tmp_path / "downloads")
    assert path == tmp_path / "downloads" / f"{SHA256[:16]}-pairs.tsv"
    assert path.read_bytes() == CONTENT
    assert fetch("nosuch://host/pairs.tsv", SHA256, tmp_path / "downloads") == path
    path.write_bytes(CONTENT[:-1])
    assert fetch(url, SHA256, tmp_path / "downloads").read_bytes() == CONTENT


def test_from_memory(tmp_path):
    with fsspec.open("memory://sets/pairs.tsv", "wb") as file:
        file.write(CONTENT)
    assert fetch("memory://sets/pairs.tsv", SHA256, tmp_path).read_bytes() == CONTENT


def test_from_a_web_server(tmp_path):
    with served(CONTENT) as url:
        assert fetch(url, SHA256, tmp_path).name == f"{SHA256[:16]}-pairs.tsv"


def test_broken_off(tmp_path):
    with (
        served(CONTENT, sent=1000) as url,
        pytest.raises(UserError, match=r"cannot be read \(ContentLengthError: "),
    ):
        fetch(url, SHA256, tmp_path / "downloads")
    assert list(tmp_path.iterdir()) == []


def test_another_file_is_refused_and_not_kept(tmp_path, url):
    wrong = "0" * 64
    with pytest.raises(UserError, match=rf"pairs\.tsv has sha256 {SHA256}, not {wrong}: give"):
        fetch(url, wrong, tmp_path / "downloads")
    assert not (tmp_path / "downloads").exists()
    fetch(url, SHA256, tmp_path / "downloads")
    with pytest.raises(UserError, match="has sha256"):
        fetch(url, wrong, tmp_path / "downloads")
    assert files_in(tmp_path / "downloads") == {f"{SHA256[:16]}-pairs.tsv"}


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nosuch://host/file", "Protocol not known: nosuch"),
        ("file:///no/such/file", "No such file or directory"),
        ("http://127.0.0.1:9/file", "Cannot connect to host 127.0.0.1:9"),
    ],
)
def test_what_cannot_be_reached(tmp_path, place, message):
    with pytest.raises(UserError, match=f"{place} cannot be read .*{message}.*: check the URL"):
        fetch(place, SHA256, tmp_path / "downloads")
    assert list(tmp_path.iterdir()) == []


def test_one_command_at_a_time(tmp_path, url):
    with claim(tmp_path, "", ""), pytest.raises(UserError, match=r"the download folder in .* is in use by"):
        fetch(url, SHA256, tmp_path)


def test_check(tmp_path, url):
    check(tmp_path / "there" / "pairs.tsv", SHA256)
    with pytest.raises(UserError, match=rf"pairs\.tsv has sha256 {SHA256}, not 00: give the file"):
        check(tmp_path / "there" / "pairs.tsv", "00")


def packed(path, *names):
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(name)
            tar.addfile(member, io.BytesIO(name.encode()))
    return path


@pytest.mark.parametrize(("names", "inside"), [(("a", "b"), ""), (("set/a", "set/b"), "set"), (("a",), "")])
def test_unpacked(tmp_path, names, inside):
    archive = packed(tmp_path / "a.tgz", *names)
    folder = unpacked(archive, tmp_path / "downloads")
    assert folder.name == (inside or folder.name)
    assert files_in(folder) == {name.removeprefix("set/") for name in names}
    (folder / "a").write_text("not unpacked again")
    assert unpacked(archive, tmp_path / "downloads") == folder
    assert (folder / "a").read_text() == "not unpacked again"


def test_archive_that_is_none_or_damaged(tmp_path):
    (tmp_path / "text").write_text("ein Hund\n")
    damaged = packed(tmp_path / "damaged.tgz", *(f"{k}" * 90 for k in range(99)))
    damaged.write_bytes(damaged.read_bytes()[:400])
    for archive in (tmp_path / "text", damaged):
        with pytest.raises(
            UserError, match=rf"{archive} is no sound tar archive \(.*\): fetch or make it again"
        ):
            unpacked(archive, tmp_path / "downloads")
    assert not (tmp_path / "downloads").exists()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"name": "../outside"}, "leads out of the archive"),
        ({"name": "set/../../outside"}, "leads out of the archive"),
        ({"name": "/TMP/outside"}, "leads out of the archive"),
        ({"type": tarfile.SYMTYPE, "linkname": "/etc"}, "is a link or another special file"),
        ({"type": tarfile.LNKTYPE, "linkname": "first"}, "is a link or another special file"),
        ({"type": tarfile.FIFOTYPE}, "is a link or another special file"),
        ({"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5}, "is a link or another special file"),
        ({"name": "first/inner"}, "cannot be a file"),
    ],
)
def test_what_no_corpus_has_is_not_unpacked(fields, why, tmp_path):
    """Of an archive with such a member nothing is kept, not even what came before it."""
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for member in (tarfile.TarInfo("first"), tarfile.TarInfo("second")):
            for name, value in fields.items() if member.name == "second" else ():
                setattr(member, name, value.replace("/TMP", str(tmp_path)) if name == "name" else value)
            tar.addfile(member)
    with pytest.raises(UserError, match=rf"a\.tar: \S+ {why}.*: unpack what you trust"):
        unpacked(tmp_path / "a.tar", tmp_path / "downloads")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_content_alone_is_unpacked(tmp_path):
    """No mode: a file that its owner may not read, or that anybody may run, is a file like others."""
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, mode in (("secret", 0o000), ("program", 0o6777)):
            member = tarfile.TarInfo(name)
            member.mode = mode
            tar.addfile(member)
    folder = unpacked(tmp_path / "a.tar", tmp_path / "downloads")
    (tmp_path / "mine").touch()
    mine = (tmp_path / "mine").stat().st_mode
    assert {path.stat().st_mode for path in folder.iterdir()} == {mine}


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz"])
def test_archive_with_a_damaged_middle(tmp_path, compression):
    """The start is sound, so that each compression finds the damage in its own way."""
    archive = tmp_path / f"a.tar.{compression}"
    content = random.Random(1).randbytes(10**6).hex().encode()  # compressible, or it would be stored as it is
    member = tarfile.TarInfo("a")
    member.size = len(content)
    with tarfile.open(archive, f"w:{compression}") as tar:
        tar.addfile(member, io.BytesIO(content))
    packed_bytes = archive.read_bytes()
    middle = len(packed_bytes) * 3 // 4
    archive.write_bytes(packed_bytes[:middle] + b"\xff" * 1000 + packed_bytes[middle + 1000 :])
    with pytest.raises(UserError, match=rf"a\.tar\.{compression} is no sound tar archive \("):
        unpacked(archive, tmp_path / "downloads")
    assert list(tmp_path.iterdir()) == [archive]
