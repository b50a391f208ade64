import itertools
import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor

import pytest

from raysq.config import UserError
from raysq.data import tokenisation
from raysq.data.settings import TextSettings
from raysq.data.tokenisation import line_tokeniser, tokenised

MOSES = TextSettings(task="files", tokeniser="moses")
LINES = [(f"Der {k}. Hund, z.B. ÜBER & so.", f'Dog {k}\'s "OVER" there.') for k in range(25)]


@pytest.fixture
def submitted(monkeypatch):
    """Parts of 4 lines, workers from 8 on; lists the part that each was given, by its first line."""
    parts = []

    class Pool(ProcessPoolExecutor):
        def submit(self, function, settings, lines):
            parts.append(lines[0][0])
            return super().submit(function, settings, lines)

    monkeypatch.setattr(tokenisation, "PART", 4)
    monkeypatch.setattr(tokenisation, "FEW", 8)
    monkeypatch.setattr(tokenisation, "ProcessPoolExecutor", Pool)
    return parts


def words_of(lines, settings, num_workers):
    parts = list(tokenised(iter(lines), settings, num_workers))
    assert [line for part, _ in parts for line in part] == list(lines)
    assert all(len(part) == len(words) for part, words in parts)
    return [pair for _, words in parts for pair in words]


def test_line_tokeniser_tokenises_then_lower_cases():
    assert line_tokeniser(MOSES, "source")("Das ist z.B. ÜBER.") == ["das", "ist", "z.b.", "über", "."]
    assert line_tokeniser(MOSES, "target")("It's Mr. X") == ["it", "&apos;s", "mr.", "x"]
    cased = MOSES.model_copy(update={"lower_case": False})
    assert line_tokeniser(cased, "target")("It's Mr. X") == ["It", "&apos;s", "Mr.", "X"]


def test_line_tokeniser_of_tokenised_text_splits_it():
    assert line_tokeniser(TextSettings(), "source")(" A,  B.\u2028c ") == ["a,", "b.", "c"]


def test_line_tokeniser_normalises_where_the_data_was():
    plain = line_tokeniser(MOSES, "source")("„Hallo“")
    settings = MOSES.model_copy(update={"normalise_punctuation": True})
    assert (plain, line_tokeniser(settings, "source")("„Hallo“")) == (
        ["„", "hallo", "“"],
        ["&quot;", "hallo", "&quot;"],
    )


def test_workers_give_what_one_process_gives_in_order(submitted):
    alone = words_of(LINES, MOSES, num_workers=0)
    assert submitted == []
    assert alone[3] == ("der 3. hund , z.b. über &amp; so .", "dog 3 &apos;s &quot; over &quot; there .")
    assert words_of(LINES, MOSES, num_workers=2) == alone
    assert len(submitted) == 7


def test_short_text_and_split_words_need_no_worker(submitted):
    assert len(words_of(LINES[:7], MOSES, num_workers=2)) == 7
    assert words_of([("A  b", "C")] * 9, TextSettings(), num_workers=2) == [("a b", "c")] * 9
    assert words_of([], MOSES, num_workers=2) == []
    assert submitted == []


def test_text_is_read_no_further_than_workers_need(submitted):
    read = itertools.count()
    lines = ((f"a {next(read)}", "b") for _ in range(1000))
    parts = tokenised(lines, MOSES, num_workers=1)
    next(parts)
    assert next(read) == 2 * 4  # the parts of one worker: the one asked for, and one that lies ready
    parts.close()


def test_defect_further_on_is_the_readers(submitted):
    def lines():
        yield from LINES[:9]
        raise UserError("line 10 is not UTF-8")

    with pytest.raises(UserError, match="line 10"):
        list(tokenised(lines(), MOSES, num_workers=1))


def test_killed_worker_is_one_line(submitted):
    parts = tokenised(iter(LINES * 40), MOSES, num_workers=1)
    next(parts)
    (worker,) = multiprocessing.active_children()
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(UserError, match=r"a process that tokenises was killed, .* --num-workers"):
        list(parts)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_language_without_rules(submitted, num_workers):
    settings = MOSES.model_copy(update={"target_language": "xx"})
    with pytest.raises(UserError, match="Moses has no rules for 'xx'"):
        next(tokenised(iter(LINES), settings, num_workers))
