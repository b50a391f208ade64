import gzip
import itertools
import re

import pytest

from raysq.config import UserError
from raysq.data.corpus import FileText, GeneratedText, drop_reason, moses_tokeniser, read_lines, read_pairs


def write(path, content):
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["a.de", "a.de.gz"])
def test_lines_end_at_newline_only(tmp_path, name):
    content = "\ufeffein\u2028hund\n\nzwei\x0bdrei\x0cvier\x85\r\n über".encode()
    lines = list(read_lines(write(tmp_path / name, content)))
    assert lines == ["ein\u2028hund", "", "zwei\x0bdrei\x0cvier\x85\r", " über"]


@pytest.mark.parametrize("name", ["a.de", "a.de.gz"])
def test_invalid_utf8_names_file_line_and_byte(tmp_path, name):
    path = write(tmp_path / name, "grün\ngrün".encode() + b" caf\xe9 x\n")
    message = re.escape(f"{path}: line 2, byte 10 of the line (0xe9) is not UTF-8: ") + ".*iconv"
    with pytest.raises(UserError, match=message):
        list(read_lines(path))


@pytest.mark.parametrize("name", ["a.de", "a.de.gz"])
def test_empty_file(tmp_path, name):
    path = write(tmp_path / name, b"")
    with pytest.raises(UserError, match=re.escape(f"{path}: line 1 is missing, the file is empty: give")):
        list(read_lines(path))


@pytest.mark.parametrize("name", ["a.de", "a.de.gz"])
def test_missing_file(tmp_path, name):
    with pytest.raises(UserError, match=rf"{name}: No such file or directory: check the path"):
        list(read_lines(tmp_path / name))


def test_truncated_gz(tmp_path):
    path = tmp_path / "a.de.gz"
    path.write_bytes(gzip.compress(bytes(range(97, 123)) * 100 + b"\n")[:-12])
    with pytest.raises(UserError, match=r"a\.de\.gz: damaged \.gz after line 0 .*fetch or compress it again"):
        list(read_lines(path))


def test_what_is_no_gz(tmp_path):
    (tmp_path / "a.de.gz").write_bytes(b"plain text\n")
    with pytest.raises(UserError, match=r"damaged \.gz after line 0 \(Not a gzipped file"):
        list(read_lines(tmp_path / "a.de.gz"))


@pytest.mark.parametrize(("long", "short"), [("de", "en"), ("en", "de")])
def test_files_of_different_length(tmp_path, long, short):
    write(tmp_path / f"a.{long}", b"1\n2\n3\n4\n5\n")
    write(tmp_path / f"a.{short}", b"1\n2\n")
    message = f"{tmp_path}/a.{short} ends before line 3 but {tmp_path}/a.{long} has 5 lines: "
    with pytest.raises(UserError, match=re.escape(message) + ".*align"):
        list(read_pairs(tmp_path / "a.de", tmp_path / "a.en"))


def test_blank_lines_stay_aligned(tmp_path):
    write(tmp_path / "a.de", b"eins\n\nzwei\n \n")
    write(tmp_path / "a.en", b"one\n\n\nthree\n")
    pairs = list(read_pairs(tmp_path / "a.de", tmp_path / "a.en"))
    assert pairs == [("eins", "one"), ("", ""), ("zwei", ""), (" ", "three")]


def test_reading_streams(tmp_path):
    # A defect further on does not keep the lines before it from coming out.
    write(tmp_path / "a.de", b"1\n2\n\xff\n")
    assert list(itertools.islice(read_lines(tmp_path / "a.de"), 2)) == ["1", "2"]


def test_fingerprints_of_files_are_of_their_bytes(tmp_path):
    path = write(tmp_path / "a.de", b"abc")
    prints = FileText(dict.fromkeys(("train", "dev", "test"), (path, path))).fingerprints()
    assert prints.keys() == {f"{s}.{side}" for s in ("train", "dev", "test") for side in ("source", "target")}
    assert prints["dev.target"].name == "a.de"
    assert (
        prints["dev.target"].sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )  # NIST's for abc


def test_fingerprints_of_generated_text_tell_sides_and_splits_apart():
    splits = {"train": [("a", "b")], "dev": [("a", "b"), ("a", "b")], "test": [("b", "a")]}
    prints = GeneratedText("g", splits).fingerprints()
    assert prints["train.source"] == prints["test.target"]
    assert len({p.sha256 for p in prints.values()}) == 4


def test_moses_tokeniser_literal():
    english, german = moses_tokeniser("en"), moses_tokeniser("de")
    assert " ".join(english("Mr. Smith's dog (a \"boxer\") isn't here, is it?")) == (
        "Mr. Smith &apos;s dog ( a &quot; boxer &quot; ) isn &apos;t here , is it ?"
    )
    assert " ".join(german("Das ist z.B. Peters Hund & Katze, bzw. 3.50 Euro.")) == (
        "Das ist z.B. Peters Hund &amp; Katze , bzw. 3.50 Euro ."
    )
    assert english(" ") == []


def test_moses_normalisation():
    assert moses_tokeniser("de")("„Hallo“") == ["„", "Hallo", "“"]
    assert moses_tokeniser("de", normalise_punctuation=True)("„Hallo“") == ["&quot;", "Hallo", "&quot;"]


def test_moses_refuses_languages_it_would_treat_as_english():
    with pytest.raises(UserError, match=r"Moses has no rules for 'xx': .* --tokeniser none"):
        moses_tokeniser("xx")


@pytest.mark.parametrize(
    ("lengths", "reason"),
    [
        ((0, 3), "empty"),
        ((3, 0), "empty"),
        ((0, 51), "empty"),
        ((50, 50), None),
        ((51, 50), "too_long"),
        ((50, 51), "too_long"),
        ((51, 1), "too_long"),
        ((3, 2), None),
        ((2, 3), None),
        ((4, 2), "ratio"),
        ((5, 8), "ratio"),
    ],
)
def test_drop_reason(lengths, reason):
    assert drop_reason(*lengths, max_length=50, max_ratio=1.5) == reason


def test_ratio_of_zero_is_off():
    assert drop_reason(1, 50, max_length=50, max_ratio=0) is None
