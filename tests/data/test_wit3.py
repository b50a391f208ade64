import os
import random
import re
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysq.config import UserError
from raysq.data.corpus import drop_reason, moses_tokeniser, read_lines
from raysq.data.wit3 import Wit3Text, mended, segments, training_sentences
from tests.benchmarks.iwslt14_agreement import reading, tokenising
from tests.data.wit3_miniature import DROPPED, TRAINING_PAIRS, pack, segments_xml, write_miniature

SHARED = Path(os.environ.get("RAYSQ_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
EVALUATION = SHARED / "iwslt14_eval"
real = pytest.mark.skipif(not EVALUATION.is_dir(), reason="the real IWSLT files are not at hand")


@pytest.fixture
def release(tmp_path):
    return write_miniature(tmp_path)


def edit(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def test_training_lines_by_the_recipe():
    lines = [
        "<url>http://www.example.org</url>",
        "<keywords>talks</keywords>",
        "<talkid>7</talkid>",
        "<title>Anna: Ein Baum</title>",
        "<description>Über Bäume &amp; mehr.</description>",
        "Hier ist <url> nicht am Anfang.",
        "",
        "So geht’s.",
    ]
    sentences = ["Anna: Ein Baum", "Über Bäume &amp; mehr.", "", "So geht’s."]
    assert list(training_sentences("train.tags.de-en.de", lines)) == sentences


@pytest.mark.parametrize("tag", ["doc", "reviewer", "translator", "speaker"])
def test_training_lines_of_a_later_release(tag):
    lines = ["Ein Satz.", f'<{tag} href="x">Anna</{tag}>']
    message = f"train.tags.de-en.de: line 2 is a <{tag}> line, .* give that release, or remove"
    with pytest.raises(UserError, match=message):
        list(training_sentences("train.tags.de-en.de", lines))


def test_segments_as_written_but_for_the_apostrophe():
    lines = [
        "<doc>",
        "<title>No sentence</title>",
        '<seg id="1">  It’s R&amp;D.  </seg>',
        ' <seg id="2"></seg> \r',
    ]
    assert list(segments("a.xml", lines)) == ["It's R&amp;D.", ""]


@pytest.mark.parametrize("line", ['<seg id="1">Two', "<seg>Two</seg>", '<seg id="1">Two</seg> and more'])
def test_segment_that_is_none(line):
    with pytest.raises(UserError, match=r"a\.xml: line 2 is no whole <seg .*: fetch the archive again"):
        list(segments("a.xml", ['<seg id="1">One</seg>', line]))


def test_miniature_train(release):
    pairs = list(Wit3Text(release).pairs("train"))
    assert len(pairs) == TRAINING_PAIRS == 416
    assert pairs[:3] == [
        ("Anna: Ein Vortrag über Hund", "Anna: A talk about the dog"),
        ("Ein Vortrag über Hund: Anna 1000", "A talk about the dog: Anna 1000"),
        ("Anna sieht den Hund.", "Anna sees the dog."),
    ]
    assert ("Anna sieht den Baum, so geht’s.", "Anna sees the tree, that’s how.") in pairs
    tokenise = moses_tokeniser("de"), moses_tokeniser("en")
    lengths = [[len(side(line)) for side, line in zip(tokenise, pair, strict=True)] for pair in pairs]
    reasons = Counter(drop_reason(*both, max_length=50, max_ratio=1.5) for both in lengths)
    assert {reason: n for reason, n in reasons.items() if reason} == DROPPED


def test_miniature_test_sets_in_the_historic_order(release):
    pairs = list(Wit3Text(release).pairs("test"))
    assert len(pairs) == 42
    assert [pairs[k] for k in (0, 8, 20, 26, 33)] == [
        ("Anna malt den Hund, so geht's.", "Anna paints the dog, that's how."),
        ("Anna findet den Hund, so geht's.", "Anna finds the dog, that's how."),
        ("Anna sieht den Hund bei R&amp;D.", "Anna sees the dog at R&amp;D."),
        ('Anna malt den Hund und ruft: "Ja!"', 'Anna paints the dog and calls: "Yes!"'),
        ("Anna findet den Hund und 1,5 Meter Holz.", "Anna finds the dog and 1.5 metres of wood."),
    ]
    assert not any("’" in line for pair in pairs for line in pair)


def test_there_is_no_development_text(release):
    assert list(Wit3Text(release).pairs("dev")) == []


def test_folder_archive_and_parent_are_the_same_text(release):
    text = Wit3Text(release)
    for other in (Wit3Text(release.parent), Wit3Text(pack(release))):
        assert list(other.pairs("train")) == list(text.pairs("train"))
        assert list(other.pairs("test")) == list(text.pairs("test"))
        assert other.fingerprints() == text.fingerprints()


def test_other_direction(release):
    text = Wit3Text(release, source_language="en", target_language="de")
    forth = list(Wit3Text(release).pairs("test"))
    assert [(target, source) for source, target in text.pairs("test")] == forth
    assert text.fingerprints()["train.source"].name == "train.tags.de-en.en"


def test_fingerprints_follow_the_sentences(release):
    before = Wit3Text(release).fingerprints()
    assert list(before) == ["train.source", "train.target", "test.source", "test.target"]
    assert before["train.source"].name == "train.tags.de-en.de"
    edit(release / "IWSLT14.TED.tst2012.de-en.en.xml", b"Anna", b"Anne")
    edit(release / "train.tags.de-en.en", b"<talkid>3", b"<talkid>4")
    after = Wit3Text(release).fingerprints()
    assert [key for key in before if before[key] != after[key]] == ["test.target"]


@pytest.mark.parametrize("packed", [False, True])
def test_missing_member_is_named(release, packed):
    (release / "IWSLT14.TEDX.dev2012.de-en.en.xml").unlink()
    text = Wit3Text(pack(release) if packed else release)
    with pytest.raises(UserError, match=r"holds no IWSLT14\.TEDX\.dev2012\.de-en\.en\.xml: give the 2014-01"):
        text.fingerprints()
    without = Wit3Text(text.archive, test_sets=("TED.dev2010", "TED.tst2010"))
    assert len(list(without.pairs("test"))) == 14


def test_missing_archive(tmp_path):
    with pytest.raises(UserError, match=r"none\.tgz: No such file or directory: check the path"):
        Wit3Text(tmp_path / "none.tgz").fingerprints()


@pytest.mark.parametrize("damage", [lambda b: b"no archive", lambda b: b[: len(b) // 2], lambda b: b""])
def test_damaged_archive(release, damage):
    archive = pack(release)
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(
        UserError, match=r"de-en\.tgz is no sound tar archive \([^\n]*\): fetch or make it again"
    ):
        Wit3Text(archive).fingerprints()


@pytest.mark.parametrize("compression", ["bz2", "xz"])
def test_archive_with_a_damaged_middle(release, compression):
    """Such an archive opens; the damage shows while lines are read."""
    archive = release.with_name(f"de-en.tar.{compression}")
    with (release / "train.tags.de-en.de").open("a") as file:
        file.write(random.Random(1).randbytes(10**6).hex(" ", 8))
    with tarfile.open(archive, f"w:{compression}") as tar:
        tar.add(release, "de-en")
    content = archive.read_bytes()
    middle = len(content) * 3 // 4
    archive.write_bytes(content[:middle] + b"\xff" * 1000 + content[middle + 1000 :])
    with pytest.raises(UserError, match=rf"de-en\.tar\.{compression} is no sound tar archive \("):
        Wit3Text(archive, max_line_bytes=10**7).fingerprints()


def test_a_line_over_the_bound(release):
    """A file without line ends would fill the memory."""
    text = Wit3Text(release, max_line_bytes=60)
    with pytest.raises(UserError, match=r"^train\.tags\.de-en\.de: line 13 has more than 60 bytes: "):
        text.fingerprints()


@pytest.mark.parametrize("language", ["de", "en"])
def test_sides_of_different_length(release, language):
    other = {"de": "en", "en": "de"}[language]
    edit(release / f"train.tags.de-en.{language}", b"\n<url>http://www.example.org/talks/3", b"\nA\nB\n<url>")
    message = f"train.tags.de-en.{other} has 416 sentences but train.tags.de-en.{language} has 418: "
    with pytest.raises(UserError, match=re.escape(message)):
        Wit3Text(release).fingerprints()


def test_test_sets_of_different_length(release):
    edit(release / "IWSLT14.TED.tst2010.de-en.en.xml", b'<seg id="6">', b'<seg id="6">x</seg>\n<seg id="7">')
    message = r"TED\.tst2010\.de-en\.de\.xml has 6 sentences but .*TED\.tst2010\.de-en\.en\.xml has 7: "
    with pytest.raises(UserError, match=message):
        list(Wit3Text(release).pairs("test"))


def test_files_without_a_sentence(release):
    for language in ("de", "en"):
        (release / f"IWSLT14.TED.tst2011.de-en.{language}.xml").write_text("<mteval>\n</mteval>\n")
    with pytest.raises(UserError, match=r"tst2011\.de-en\.en\.xml hold no sentence: fetch the archive again"):
        Wit3Text(release).fingerprints()


def test_invalid_utf8_names_file_line_and_byte(release):
    edit(release / "train.tags.de-en.de", "über".encode(), "über".encode("latin-1"))
    message = r"train\.tags\.de-en\.de: line 4, byte 26 of the line \(0xfc\) is not UTF-8: mend"
    with pytest.raises(UserError, match=message):
        Wit3Text(release).fingerprints()


def test_mended_joins_what_was_split():
    sentences = [str(k) for k in range(1, 1166)]
    german, english = mended(sentences, "de"), mended(sentences, "en")
    assert len(german) == len(english) == 1164
    pairs = list(zip(german, english, strict=True))
    assert pairs[905:908] == [("906", "906"), ("907 908", "907"), ("909", "908")]
    assert pairs[975:978] == [("977", "976"), ("978", "977 978"), ("979", "979")]


def test_mending_is_asked_for(release):
    with pytest.raises(UserError, match=r"TEDX\.dev2012 has 12 sentences, not the 1,165"):
        list(Wit3Text(release, mend_tedx=True).pairs("test"))
    for side, language in enumerate(("de", "en")):
        sentences = [f"{language} {k}" for k in range(1, 1166)]
        xml = segments_xml("TEDX.dev2012", side, sentences)
        (release / f"IWSLT14.TEDX.dev2012.de-en.{language}.xml").write_text(xml)
    assert len(list(Wit3Text(release).pairs("test"))) == 8 + 1165 + 22
    assert list(Wit3Text(release, mend_tedx=True).pairs("test"))[8 + 906] == ("de 907 de 908", "en 907")
    backward = Wit3Text(release, "en", "de", mend_tedx=True)
    assert list(backward.pairs("test"))[8 + 906] == ("en 907", "de 907 de 908")


@real
def test_mended_prepared_lines_translate_each_other():
    german, english = (
        mended(list(read_lines(EVALUATION / f"ranzato.test.{language}.gz"))[887 : 887 + 1165], language)
        for language in ("de", "en")
    )
    words = {
        906: ("feuerwehr", "fire brigade"),
        908: ("feuerlöschen", "putting out fires"),
        972: ("glücklich", "happy"),
        976: ("jahrhundert", "century"),
        978: ("esel", "ass"),
    }
    for k, (source, target) in words.items():
        assert source in german[k], k
        assert target in english[k], k


@real
@pytest.mark.parametrize(("language", "equal"), [("de", 5399), ("en", 5311)])
def test_agreement_with_the_prepared_test_set(language, equal):
    result = reading(EVALUATION, language)
    assert result["lines"] == 5589
    assert result["equal"] >= equal
    for test_set in ("tst2011", "tst2012"):
        assert result["sets"][test_set]["equal"] == result["sets"][test_set]["lines"]
    assert result["equal"] + sum(entry["xml_lines"] for entry in result["classes"].values()) == 5589
    assert not {"tokenisation", "entities"} & set(result["classes"])


@real
@pytest.mark.parametrize("language", ["de", "en"])
def test_tokenising_prepared_lines_again_changes_none(language):
    result = tokenising(EVALUATION, language)
    assert result["lines"] == 6750 + 6969
    assert result["unchanged, or so with the capitals of abbreviations"] == result["lines"]
    assert result["marks treated otherwise"] == []


@given(
    st.lists(
        st.text() | st.sampled_from(['<seg id="1"> a </seg>', "<seg>", "<doc>", "<url>", "<title>x</title>"])
    )
)
def test_any_lines_are_sentences_or_refused(lines):
    for read in (training_sentences, segments):
        refusal = None
        try:
            sentences = list(read("here", lines))
        except UserError as error:
            refusal = str(error)
        if refusal is None:
            assert len(sentences) <= len(lines)
        else:
            assert refusal.startswith("here: line ")
