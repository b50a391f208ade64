import gzip
import io
import itertools
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysq.config import UserError
from raysq.data.corpus import (
    FileText,
    GeneratedText,
    TabbedText,
    decoded_lines,
    drop_reason,
    moses_tokeniser,
    read_columns,
    read_lines,
    read_pairs,
    sha256_of,
)

SHARED = Path(os.environ.get("RAYSQ_SHARED_DATA", Path(__file__).parents[2] / "../shared/data"))


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


@pytest.mark.parametrize("name", ["a.de", "a.de.gz"])
@pytest.mark.parametrize("end", [b"\n", b"", b"\nvier\n"])
def test_over_long_line_names_file_and_line(tmp_path, name, end):
    path = write(tmp_path / name, "eins\nzwölf\n".encode() + 2**21 * b"x" + end)
    message = f"{path}: line 3 has more than 6 bytes: a line is a sentence, mend the file or allow"
    with pytest.raises(UserError, match=re.escape(message)):
        list(read_lines(path, max_bytes=6))


def test_line_may_be_just_as_long_as_allowed(tmp_path):
    path = write(tmp_path / "a.de", "zwölf\n\nzwölf".encode())
    assert list(read_lines(path, max_bytes=6)) == ["zwölf", "", "zwölf"]
    pairs = FileText({"dev": (path, path)}, max_line_bytes=5).pairs("dev")
    with pytest.raises(UserError, match="line 1 has more than 5 bytes"):
        next(pairs)


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


def test_columns(tmp_path):
    path = write(tmp_path / "a.tsv.gz", b"ein Hund\ta dog\n\n\tblank\nblank\t\n")
    assert list(read_columns(path)) == [("ein Hund", "a dog"), ("", ""), ("", "blank"), ("blank", "")]


@pytest.mark.parametrize(("line", "number"), [(b"ein Hund", "1 column"), (b"a\tb\tCC-BY", "3 columns")])
def test_other_than_two_columns(tmp_path, line, number):
    path = write(tmp_path / "a.tsv", b"a\tb\n\n" + line + b"\n")
    message = (
        f"{path}: line 3 has {number}, not 2: a line is a source, a tabulator and its target; choose two"
    )
    with pytest.raises(UserError, match=re.escape(message)):
        list(read_columns(path))


def tabbed_text(tmp_path, sources, **files):
    path = write(tmp_path / "train.tsv", "".join(f"{s}\tx{n}\n" for n, s in enumerate(sources)).encode())
    return TabbedText({"train": path, **files}, held_out=4)


def test_sentences_are_held_out_by_their_source(tmp_path):
    sources = [f"Satz {n}" for n in range(400)]
    changed = [source.upper().replace(" ", "  ") + "!" for source in sources]
    text = tabbed_text(tmp_path, sources + changed)
    splits = {split: list(text.pairs(split)) for split in ("train", "dev", "test")}
    assert {split: len(pairs) for split, pairs in splits.items()} == {"train": 390, "dev": 208, "test": 202}
    homes = {target: split for split, pairs in splits.items() for _, target in pairs}
    assert [homes[f"x{n}"] for n in range(400)] == [homes[f"x{n + 400}"] for n in range(400)]
    assert [target for _, target in splits["train"]] == sorted(
        (target for _, target in splits["train"]), key=lambda target: int(target[1:])
    )


def test_nothing_is_held_out_for_a_split_with_a_file(tmp_path):
    sources = [f"Satz {n}" for n in range(400)]
    other = write(tmp_path / "other.tsv", b"Satz 1\tx\n")
    text = tabbed_text(tmp_path, sources, test=other)
    assert list(text.pairs("test")) == [("Satz 1", "x")]
    assert list(text.pairs("dev")) == list(tabbed_text(tmp_path, sources).pairs("dev"))
    assert len(list(text.pairs("train"))) + len(list(text.pairs("dev"))) == 400
    assert len(list(tabbed_text(tmp_path, sources, dev=other, test=other).pairs("train"))) == 400


def test_fingerprints_of_tabbed_text(tmp_path):
    other = write(tmp_path / "other.tsv", b"Satz 1\tx\n")
    prints = tabbed_text(tmp_path, ["a"], test=other).fingerprints()
    assert {role: print.name for role, print in prints.items() if role.endswith("source")} == {
        "train.source": "train.tsv",
        "dev.source": "train.tsv",
        "test.source": "other.tsv",
    }
    assert prints["train.target"] == prints["dev.source"] != prints["test.source"]


@pytest.mark.skipif(
    not (SHARED / "tatoeba").is_dir(),
    reason="no Tatoeba: RAYSQ_SHARED_DATA must name the folder that holds tatoeba/",
)
def test_no_sentence_of_tatoeba_is_in_two_splits():
    text = TabbedText({"train": SHARED / "tatoeba" / "tatoeba_union.de_en.tsv.gz"}, held_out=50)
    splits = [[re.sub(r"\W", "", s.lower()) for s, _ in text.pairs(n)] for n in ("train", "dev", "test")]
    assert [len(sentences) for sentences in splits] == [63465, 1326, 1351]
    assert len(set().union(*splits)) == sum(len(set(sentences)) for sentences in splits)


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


LINES = st.lists(st.text(st.characters(exclude_characters="\n\ufeff", exclude_categories=["Cs"])))


@given(LINES)
def test_lines_come_back_as_they_were_written(lines):
    file = io.BytesIO("".join(f"{line}\n" for line in lines).encode())
    assert list(decoded_lines(file, "here")) == lines


@given(st.binary() | st.text().map(lambda text: text.encode("utf-16")))
def test_any_bytes_are_lines_or_refused(content):
    refusal = None
    try:
        lines = list(decoded_lines(io.BytesIO(content), "here", 20))
    except UserError as error:
        refusal = str(error)
    if refusal is None:
        assert "\n".join(lines).encode() == content.removeprefix(b"\xef\xbb\xbf").removesuffix(b"\n")
    else:
        assert re.match(
            r"here: line \d+(, byte \d+ of the line .* is not UTF-8| has more than 20 bytes): ", refusal
        )


@given(LINES.map("\n".join).map(str.encode) | st.binary())
def test_any_table_is_pairs_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("table") / "a.tsv"
    path.write_bytes(content)
    refusal = None
    try:
        pairs = list(read_columns(path))
    except UserError as error:
        refusal = str(error)
    if refusal is None:
        assert all("\t" not in side and "\n" not in side for pair in pairs for side in pair)
    else:
        assert refusal.startswith(f"{path}: line ")


@pytest.mark.parametrize("name", ["a.de", "a.de.gz"])
def test_a_pipe_is_refused_before_anybody_waits(tmp_path, name):
    os.mkfifo(tmp_path / name)
    for read in (lambda path: list(read_lines(path)), sha256_of):
        with pytest.raises(UserError, match=rf"{name}: it is no regular file: check the path"):
            read(tmp_path / name)
