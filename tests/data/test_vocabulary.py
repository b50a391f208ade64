import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysq.config import UserError
from raysq.data.vocabulary import Vocabulary

COUNTS = {"hund": 2, "der": 5, "ein": 5, "katze": 1, "<unk>": 9, "<eos>": 9, "<pad>": 9}
WORDS = ("<pad>", "<bos>", "<eos>", "<unk>", "der", "ein", "hund")


def test_words_by_falling_count_ties_by_word():
    assert Vocabulary.build(COUNTS, min_count=2).words == WORDS
    assert Vocabulary.build({"b": 1, "a": 1, "c": 2}).words[4:] == ("c", "a", "b")


def test_encode_literal():
    ids = Vocabulary(WORDS).encode(["der", "hund", "und", "ein", "hund"])
    assert ids.dtype == np.int32
    assert ids.tolist() == [4, 6, 3, 5, 6]
    assert Vocabulary(WORDS).encode([]).dtype == np.int32


@pytest.mark.parametrize("word", ["<pad>", "<bos>", "<eos>", "<unk>"])
def test_text_that_looks_like_a_special_is_unk(word):
    assert Vocabulary(WORDS).encode([word, "der"]).tolist() == [3, 4]


def test_decode_literal():
    assert Vocabulary(WORDS).decode(np.array([4, 3, 6, 2])) == ["der", "<unk>", "hund", "<eos>"]
    assert Vocabulary(WORDS).decode([]) == []


@pytest.mark.parametrize("i", [-1, 7])
def test_decode_refuses_ids_of_no_word(i):
    with pytest.raises(ValueError, match=r"ids lie in \[0, 7\)"):
        Vocabulary(WORDS).decode([4, i])


@pytest.mark.parametrize(
    "words", [("der",), (*WORDS, "der"), (*WORDS, "<eos>"), (*WORDS, ""), (*WORDS, "a b")], ids=str
)
def test_malformed_vocabularies(words):
    with pytest.raises(ValueError, match=r"starts with|twice|no word"):
        Vocabulary(words)


def test_save_and_load(tmp_path):
    vocabulary = Vocabulary((*WORDS, "straße", "a\u200bb"))
    vocabulary.save(tmp_path / "v.txt")
    assert (tmp_path / "v.txt").read_bytes().startswith(b"<pad>\n<bos>\n<eos>\n<unk>\nder\n")
    assert Vocabulary.load(tmp_path / "v.txt") == vocabulary
    assert [path.name for path in tmp_path.iterdir()] == ["v.txt"]


def test_digest_depends_on_order():
    swapped = Vocabulary((*WORDS[:4], "ein", "der", "hund"))
    assert Vocabulary(WORDS).digest == Vocabulary(tuple(WORDS)).digest != swapped.digest


@pytest.mark.parametrize("content", [b"der\nein\n", b"<pad>\n<bos>\n<eos>\n<unk>\n\xff\n", None])
def test_load_refuses_what_is_no_vocabulary(tmp_path, content):
    if content is not None:
        (tmp_path / "v.txt").write_bytes(content)
    with pytest.raises(UserError, match=r"v\.txt is no vocabulary .*: prepare the data again"):
        Vocabulary.load(tmp_path / "v.txt")


@given(st.dictionaries(st.text().map(lambda text: "".join(text.split())).filter(bool), st.integers(1, 9)))
def test_any_words_are_saved_and_loaded(tmp_path_factory, counts):
    built = Vocabulary.build(counts)
    path = tmp_path_factory.mktemp("words") / "words.txt"
    built.save(path)
    loaded = Vocabulary.load(path)
    assert loaded == built
    known = [word for word in counts if word not in WORDS[:4]]
    assert loaded.decode(loaded.encode(known)) == known


@given(st.binary() | st.text().map(lambda text: f"<pad>\n<bos>\n<eos>\n<unk>\n{text}".encode()))
def test_any_bytes_are_a_vocabulary_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("words") / "words.txt"
    path.write_bytes(content)
    refusal = None
    try:
        loaded = Vocabulary.load(path)
    except UserError as error:
        refusal = str(error)
    if refusal is None:
        assert "\n".join(loaded.words).encode() == content.removesuffix(b"\n")
    else:
        assert refusal.startswith(f"{path} is no vocabulary (")


def test_a_word_that_occurs_twice_is_named(tmp_path):
    (tmp_path / "words.txt").write_text("\n".join((*WORDS, "ein", "")))
    with pytest.raises(
        UserError, match=r"is no vocabulary \('ein' occurs twice in the vocabulary\): prepare"
    ):
        Vocabulary.load(tmp_path / "words.txt")
