import math

import pytest

from raysq.metrics import bleu_by_order, corpus_bleu, detokenised_bleu
from tests.metrics import plain


def test_corpus_bleu_literal() -> None:
    score = corpus_bleu(["the cat sat on the mat"], [["the cat sat on a mat"]])
    assert score.bleu == pytest.approx(100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25)  # 53.73
    assert (score.brevity_penalty, score.length_ratio) == (1.0, 1.0)
    assert "nrefs:1|" in score.signature
    assert "tok:none|smooth:none" in score.signature
    assert score.row().keys() == {"bleu", "signature", "brevity_penalty", "length_ratio"}


def test_counts_are_the_corpus_not_the_sentences() -> None:
    """Clipped counts add up over sentences: 8 of 9 words, 3 of 7 pairs, 2 of 5 triples, 1 of 3 quadruples."""
    score = corpus_bleu(["a b c d", "e f g h i"], [["a b c d"], ["f e h g j"]])
    assert score.bleu == pytest.approx(100 * (8 / 9 * 3 / 7 * 2 / 5 * 1 / 3) ** 0.25)


def test_several_references_literal() -> None:
    """Papineni et al. (2002), section 2.1: clipped at the larger count of "the", not at their sum."""
    references = ["the cat is on the mat", "there is a cat on the mat"]
    assert bleu_by_order(["the the the the the the the"], [references]) == pytest.approx([200 / 7, 0, 0, 0])
    orders = bleu_by_order(["the cat on the mat is there"], [references])
    expected = [1, 4 / 6, 1 / 5 + 1 / 5, 1 / 4]  # the cat, on the, the mat, cat on | cat on the, on the mat
    products = [math.prod(expected[:n]) ** (1 / n) for n in (1, 2, 3, 4)]
    assert orders == pytest.approx([100 * product for product in products])


def test_sources_may_have_different_numbers_of_references() -> None:
    hypotheses = ["a b c d", "e f g h", "i j k l"]
    score = corpus_bleu(hypotheses, [["a b x d", "x b c d"], ["e f g h"], ["i", "j", "i j k l m"]])
    assert score.bleu == pytest.approx(
        100 * (12 / 12 * 9 / 9 * 5 / 6 * 2 / 3) ** 0.25 * math.exp(1 - 13 / 12)
    )
    assert "nrefs:var|" in score.signature
    every = corpus_bleu(hypotheses, [[text] * 3 for text in hypotheses])
    assert (every.bleu, "nrefs:3|" in every.signature) == (pytest.approx(100), True)


def test_an_empty_reference_is_a_reference() -> None:
    """Of 0 and 4 words 0 are closer to 1: no brevity penalty; a missing reference has no length."""
    assert corpus_bleu(["a"], [["", "a b c d"]]).length_ratio == 1.0
    assert corpus_bleu(["a", "b"], [["a b c d"], ["b", "b"]]).length_ratio == pytest.approx(2 / 5)


def test_the_closest_length_counts_ties_to_the_shorter() -> None:
    assert corpus_bleu(["a b c"], [["a b c d", "a b"]]).length_ratio == pytest.approx(3 / 2)
    assert corpus_bleu(["a b c"], [["a b", "a b c d"]]).length_ratio == pytest.approx(3 / 2)
    assert corpus_bleu(["a b c"], [["a b c d e", "a b c d"]]).length_ratio == pytest.approx(3 / 4)


def test_brevity_penalty_literal() -> None:
    short = corpus_bleu(["a b c d"], [["a b c d e"]])
    assert short.brevity_penalty == pytest.approx(math.exp(1 - 5 / 4))
    assert short.bleu == pytest.approx(77.8800783)
    assert short.length_ratio == pytest.approx(0.8)
    long = corpus_bleu(["a b c d e"], [["a b c d"]])
    assert (long.brevity_penalty, long.length_ratio) == (1.0, 1.25)


def test_no_match_of_four_words_anywhere_is_no_score() -> None:
    assert corpus_bleu(["a b c x"], [["a b c d"]]).bleu == 0.0
    assert corpus_bleu(["a b c"], [["a b c"]]).bleu == 0.0  # not even a place for one
    assert bleu_by_order(["a b c"], [["a b c"]]) == pytest.approx([100, 100, 100, 0])
    assert corpus_bleu(["a b c", "u v w x"], [["a b c"], ["u v w x"]]).bleu == pytest.approx(100.0)


def test_unknown_words_match_nothing() -> None:
    score = corpus_bleu(["a <unk> b c d e f"], [["a <unk> b c d e f", "<unk>"]])
    assert score.bleu == pytest.approx(100 * (6 / 7 * 4 / 6 * 3 / 5 * 2 / 4) ** 0.25)
    assert bleu_by_order(["<unk> a"], [["<unk> a"]])[0] == pytest.approx(50.0)


def test_empty_hypotheses() -> None:
    nothing = corpus_bleu(["", ""], [["a b c d"], ["e"]])
    assert (nothing.bleu, nothing.brevity_penalty, nothing.length_ratio) == (0.0, 0.0, 0.0)
    one = corpus_bleu(["a b c d", ""], [["a b c d"], ["e f g h"]])
    assert one.bleu == pytest.approx(100 * math.exp(1 - 8 / 4))


def test_equals_its_plain_twin(random_texts) -> None:
    above_zero = 0
    for hypotheses, references in random_texts:
        expected = [100 * plain.bleu(hypotheses, references, order) for order in (1, 2, 3, 4)]
        assert bleu_by_order(hypotheses, references) == pytest.approx(expected, abs=1e-9)
        assert corpus_bleu(hypotheses, references).bleu == pytest.approx(expected[-1], abs=1e-9)
        above_zero += expected[-1] > 0
    assert above_zero > 20


def test_golden_scores_of_the_coco_evaluation(golden) -> None:
    """It adds 1e-9 to each divisor, hence the tolerance."""
    orders = bleu_by_order(golden.hypotheses, golden.references)
    assert orders == pytest.approx([100 * score for score in golden.scores["bleu"]], rel=1e-8)
    score = corpus_bleu(golden.hypotheses, golden.references)
    assert score.bleu == pytest.approx(orders[-1], rel=1e-15)
    assert score.brevity_penalty < 0.97
    twin = [100 * plain.bleu(golden.hypotheses, golden.references, order) for order in (1, 2, 3, 4)]
    assert orders == pytest.approx(twin, rel=1e-12)


def test_detokenised_bleu_literal() -> None:
    """13a splits the full stop off: 6 of 7 words, 4 of 6 pairs, 2 of 5 triples, 1 of 4 quadruples."""
    hypotheses, references = ["the cat sat on the mat."], [["The cat sat on a mat."]]
    score = detokenised_bleu(hypotheses, references, ignore_case=True)
    assert score.bleu == pytest.approx(100 * (6 / 7 * 4 / 6 * 2 / 5 * 1 / 4) ** 0.25)
    assert "nrefs:1|case:lc|eff:no|tok:13a|smooth:exp" in score.signature
    cased = detokenised_bleu(hypotheses, references, ignore_case=False)
    assert cased.bleu == pytest.approx(100 * (5 / 7 * 3 / 6 * 1 / 5 * 1 / 8) ** 0.25)
    assert "case:mixed" in cased.signature
    both = detokenised_bleu(hypotheses, [["The cat sat on a mat.", "the Mat."]], ignore_case=False)
    assert both.bleu == pytest.approx(100 * (6 / 7 * 3 / 6 * 1 / 5 * 1 / 8) ** 0.25)


def test_detokenised_bleu_counts_blank_lines_as_sentences() -> None:
    score = detokenised_bleu(["a b c d", "", "e"], [["a b c d"], ["x"], [""]], ignore_case=False)
    assert score.length_ratio == pytest.approx(5 / 5)
