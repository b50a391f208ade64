import math
import statistics

import pytest

from raysq.metrics import bleu_by_order, caption_scores
from tests.metrics import plain


def test_golden_scores_of_the_coco_evaluation(golden) -> None:
    scores = caption_scores(golden.hypotheses, golden.references)
    assert scores["rouge_l"] == pytest.approx(100 * golden.scores["rouge_l"], rel=1e-12)
    assert scores["cider"] == pytest.approx(100 * golden.scores["cider"], rel=1e-12)
    of_bleu = [scores[f"bleu{n}"] for n in (1, 2, 3, 4)]
    assert of_bleu == pytest.approx([100 * score for score in golden.scores["bleu"]], rel=1e-8)
    assert "pycocoevalcap:" in scores["caption_signature"]


def test_the_plain_twin_agrees_with_the_coco_evaluation_on_every_image(golden) -> None:
    """Two who wrote them down apart: what the golden file holds follows from the definitions."""
    of_each = plain.cider(golden.hypotheses, golden.references)
    assert of_each == pytest.approx(golden.scores["cider_of_each"], abs=1e-12)
    assert statistics.fmean(of_each) == pytest.approx(golden.scores["cider"], rel=1e-12)
    pairs = zip(golden.hypotheses, golden.references, strict=True)
    assert [plain.coco_rouge_l(*pair) for pair in pairs] == pytest.approx(golden.scores["rouge_l_of_each"])
    assert min(of_each) == of_each[7] == 0.0  # the empty hypothesis
    assert max(of_each) > 1.9


def test_equals_its_plain_twin(random_texts) -> None:
    above_zero = 0
    for hypotheses, references in random_texts:
        scores = caption_scores(hypotheses, references)
        pairs = zip(hypotheses, references, strict=True)
        rouge_l = statistics.fmean(plain.coco_rouge_l(*pair) for pair in pairs)
        cider = statistics.fmean(plain.cider(hypotheses, references))
        assert scores["rouge_l"] == pytest.approx(100 * rouge_l, abs=1e-9)
        assert scores["cider"] == pytest.approx(100 * cider, abs=1e-9)
        assert [scores[f"bleu{n}"] for n in (1, 2, 3, 4)] == bleu_by_order(hypotheses, references)
        above_zero += cider > 0
    assert above_zero > 20


def test_rouge_l_literal() -> None:
    """P = 3/4 of the first reference, R = 2/2 of the second: one reference has not both."""
    scores = caption_scores(["a b x c"], [["a b c d e f", "a b"]])
    assert scores["rouge_l"] == pytest.approx(100 * (1 + 1.44) * 0.75 * 1 / (1 + 1.44 * 0.75))


def test_cider_literal() -> None:
    """Two images of one word each, both right: only n = 1 is there, 10 / 4 of it, times 100."""
    assert caption_scores(["boat", "tree"], [["boat"], ["tree"]])["cider"] == pytest.approx(250)
    assert caption_scores(["boat", "boat"], [["boat"], ["tree", "boat"]])["cider"] == 0.0  # in every image
    halves = caption_scores(["boat", "tree"], [["boat", "ship"], ["tree"]])["cider"]
    assert halves == pytest.approx((125 + 250) / 2)
    longer = caption_scores(["boat boat boat", "tree"], [["boat"], ["tree"]])["cider"]
    assert longer == pytest.approx((250 / 3 * math.exp(-(2**2) / 72) + 250) / 2)  # clipped, and too long


def test_one_image_alone_has_no_cider() -> None:
    assert caption_scores(["a boat"], [["a boat"]])["cider"] == 0.0


def test_an_empty_caption_is_no_match_for_an_empty_reference() -> None:
    scores = caption_scores(["", "a b"], [["", "a"], ["a b"]])
    assert scores["rouge_l"] == pytest.approx(50)
    nothing = caption_scores(["", "a"], [[""], ["", ""]])
    assert (nothing["rouge_l"], nothing["cider"], nothing["bleu1"]) == (0.0, 0.0, 0.0)


def test_an_empty_reference_leaves_the_weights_of_words_alone() -> None:
    """It is no unknown word: <unk>, in one image of two, weighs log 2 as boat does."""
    scores = caption_scores(["boat", ""], [["boat <unk>"], [""]])
    assert scores["cider"] == pytest.approx(1000 / 4 / math.sqrt(2) * math.exp(-1 / 72) / 2)


def test_unknown_words_match_nothing() -> None:
    scores = caption_scores(["<unk>", "a"], [["<unk>"], ["a"]])
    assert (scores["rouge_l"], scores["cider"], scores["bleu1"]) == pytest.approx((50, 125, 50))
