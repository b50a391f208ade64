import re
from html.parser import HTMLParser

import pytest

from raysq.report.page import page
from raysq.report.papers import TABLES
from raysq.report.section import section_of
from raysq.report.tables import quoted_table
from raysq.sweep.space import Arm
from tests.report.made import results, stage, trial

VOID = {"meta", "link", "img", "br", "source"}


class Reader(HTMLParser):
    """What a page refers to, and whether its elements are closed in order."""

    def __init__(self):
        super().__init__()
        self.references, self.open, self.ids, self.names = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.names.append(tag)
        for name, value in attributes:
            if name in ("href", "src", "xlink:href", "srcset", "data"):
                self.references.append(value)
            if name == "id":
                self.ids.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()


@pytest.fixture(scope="module")
def text():
    stages = [stage("mle", scores=[(10, 1.0, 0, 5.0), (20, 2.0, 0, 9.0)])]
    trials = [trial(arm, s, 9.0 + s, stages=stages) for arm in ("<MLE> & co", "ERAC") for s in (1, 2)]
    found = results(trials, title="Less < more", baseline="<MLE> & co")
    found.notes = ["a <note>"]
    return page(
        "Sweeps of <x>", "Made & done.", [section_of(found)], [quoted_table(TABLES["dai2018-table2"])]
    )


def test_it_needs_nothing_else(text):
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    assert all(reference.startswith(("#", "data:image/png;base64,")) for reference in reader.references)
    assert set(re.findall(r"https?://[^\"<]+", text)) <= {
        "http://www.w3.org/1999/xlink",  # names of formats, which nobody fetches
        "http://www.w3.org/2000/svg",
    }
    assert {"script", "iframe", "object", "link"} & set(reader.names) == set()
    assert "url(" not in re.sub(r"url\(#\w+\)", "", text)
    local = {reference.removeprefix("#") for reference in reader.references if reference.startswith("#")}
    assert local <= set(reader.ids)


def test_words_are_escaped(text):
    for written in (
        "Sweeps of &lt;x&gt;",
        "Made &amp; done.",
        "Less &lt; more",
        "&lt;MLE&gt; &amp; co",
        "a &lt;note&gt;",
    ):
        assert written in text
    assert "<MLE>" not in text.replace("<!-- <MLE>", "")


def test_sections_papers_and_figures_are_there(text):
    assert 'href="#small-demo"' in text
    assert 'id="small-demo"' in text
    assert "BSO (Wiseman and Rush 2016)</td><td>quoted, not in raysq</td>" in text
    assert text.count("<figure") == 2


def test_figures_take_the_colours_of_the_page(text):
    figures = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    assert "var(--ink)" in figures
    assert "var(--paper)" in figures
    for colour in ("#ffffff", "#1f2328", "#6b7480", "#dde1e6"):
        assert colour not in figures
    assert "@media (prefers-color-scheme: dark)" in text


def test_without_papers_there_is_no_section_of_them():
    section = section_of(results([trial("MLE", 1, 5.0)], (Arm("MLE", "mle"),)))
    assert "not-run" not in page("t", "m", [section], [])
