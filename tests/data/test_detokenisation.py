import pytest
from sacrebleu.metrics.bleu import BLEU

from raysq.data.corpus import moses_tokeniser
from raysq.data.detokenisation import moses_detokeniser


@pytest.mark.parametrize(
    "line",
    [
        "He said: \"hello\" (yes), it's the dogs' house & 5% of $5.",
        "a [b] c | d < e",
        "",
    ],
)
def test_detokenising_undoes_the_tokeniser(line: str) -> None:
    assert moses_detokeniser("en")(moses_tokeniser("en")(line)) == line


def test_what_the_language_says() -> None:
    words = ["l&apos;", "homme", "&quot;", "bleu", "&quot;", "!"]
    assert moses_detokeniser("fr")(words) == 'l\'homme "bleu" !'
    assert moses_detokeniser("xx")(words) == 'l\' homme "bleu"!'


def test_an_unknown_word_is_one_word_to_a_scorer() -> None:
    text = moses_detokeniser("en")(["a", "<unk>", "man", ",", "<unk>", "."])
    assert text == "a ⁇ man, ⁇."
    score = BLEU().corpus_score([text], [["a tall man, walking."]])
    assert (score.sys_len, score.ref_len) == (6, 6)
    assert score.counts[0] == 4
