import math
import statistics

import numpy as np
import pytest

from raysq.config import UserError
from raysq.metrics import rouge_scores
from raysq.rewards import Rouge, pack
from raysq.types import UNK
from tests.metrics import plain

KINDS = ("rouge1", "rouge2", "rougeL")


def of_kinds(scores) -> list[float]:
    return [scores[kind] for kind in KINDS]


@pytest.mark.parametrize("over", ["best", "mean"])
@pytest.mark.parametrize("stemmer", [False, True])
def test_golden_scores_of_rouge_score(golden, over, stemmer) -> None:
    scores = rouge_scores(golden.hypotheses, golden.references, over=over, stemmer=stemmer)
    expected = golden.scores["rouge"][f"{over}{' stemmed' * stemmer}"]
    assert of_kinds(scores) == pytest.approx([100 * expected[kind] for kind in KINDS], rel=1e-12)
    assert scores["rouge"] == pytest.approx(statistics.fmean(of_kinds(scores)), rel=1e-15)
    assert f"over:{over}|stem:{'yes' if stemmer else 'no'}|rouge-score:" in scores["rouge_signature"]


@pytest.mark.parametrize(("over", "function"), [("best", max), ("mean", statistics.fmean)])
@pytest.mark.parametrize("stemmer", [False, True])
def test_equals_its_plain_twin(golden, random_texts, over, function, stemmer) -> None:
    from nltk.stem.porter import PorterStemmer

    stem = PorterStemmer().stem if stemmer else None
    for hypotheses, references in [(golden.hypotheses, golden.references), *random_texts]:
        each = [
            plain.rouge(*pair, over=function, stem=stem) for pair in zip(hypotheses, references, strict=True)
        ]
        scores = rouge_scores(hypotheses, references, over=over, stemmer=stemmer)
        assert of_kinds(scores) == pytest.approx([100 * statistics.fmean(c) for c in zip(*each, strict=True)])


def test_literal_scores_of_lin_2004() -> None:
    """Lin (2004), section 3: one shared bigram each, and the longer common subsequence decides."""
    reference = "police killed the gunman"
    one = rouge_scores(["police kill the gunman"], [[reference]])
    assert of_kinds(one) == pytest.approx([75, 100 / 3, 75])
    two = rouge_scores(["the gunman kill police"], [[reference]])
    assert of_kinds(two) == pytest.approx([75, 100 / 3, 50])
    both = rouge_scores(["police kill the gunman", "the gunman kill police"], [[reference]] * 2)
    assert both["rouge"] == pytest.approx((75 + 100 / 3 + 62.5) / 3)
    stemmed = rouge_scores(["police kill the gunman"], [[reference]], stemmer=True)
    assert of_kinds(stemmed) == pytest.approx([100, 100, 100])


def test_best_or_mean_of_several_references() -> None:
    """Each of the three has a best reference of its own: the first for words, the second for pairs."""
    hypotheses, references = ["d c b a"], [["a b c d", "d c x y z"]]
    best, mean = (rouge_scores(hypotheses, references, over=over) for over in ("best", "mean"))
    assert of_kinds(best) == pytest.approx([100, 200 / 7, 400 / 9])
    assert of_kinds(mean) == pytest.approx([(100 + 400 / 9) / 2, 100 / 7, (25 + 400 / 9) / 2])


def test_words_are_letters_and_digits() -> None:
    assert rouge_scores(["Profit up # pct , 3 %"], [["profit UP pct 3"]])["rouge"] == pytest.approx(100)


def test_unknown_words_match_nothing() -> None:
    scores = rouge_scores(["<unk> rises"], [["<unk> rises"]], stemmer=True)
    assert of_kinds(scores) == pytest.approx([50, 0, 50])
    assert rouge_scores(["<unk>"], [["<unk>", "b"]])["rouge"] == 0.0


def test_nothing_to_compare_is_no_score() -> None:
    scores = rouge_scores(["", "a b", "", ", ."], [["a"], [""], [""], [", ."]])
    assert (scores["rouge"], math.isnan(scores["rouge1"])) == (0.0, False)


def test_the_reward_is_the_metric_of_words_without_punctuation(random_texts) -> None:
    """A reward of one sentence, 100 times and averaged, is what will be reported."""
    ids = {"<unk>": UNK, "a": 11, "b": 12}
    for hypotheses, references in random_texts:
        words = np.zeros((len(hypotheses), 12), np.int32)
        lengths = np.array([len(text.split()) for text in hypotheses])
        for row, text in zip(words, hypotheses, strict=True):
            row[: len(text.split())] = [ids[word] for word in text.split()]
        packed = pack(
            [[np.array([ids[w] for w in text.split()], np.int32) for text in one] for one in references]
        )
        for over in ("best", "mean"):
            scores = rouge_scores(hypotheses, references, over=over)
            for kind, score in zip(KINDS, ("rouge_1", "rouge_2", "rouge_l"), strict=True):
                rewards = Rouge(score=score, over=over).prefix_scores(words, lengths, packed)[:, -1]
                assert scores[kind] == pytest.approx(100 * rewards.mean(), abs=1e-9)


@pytest.mark.parametrize("text", ["привет мир", "матч 3 2", "北京", "नमस्ते दुनिया"])
def test_a_script_that_rouge_cannot_read_is_refused(text) -> None:
    """Equal texts would score 0, or by their numbers alone."""
    with pytest.raises(UserError, match=rf"ROUGE counts the letters a-z .* \(first in '{text}'\): romanise"):
        rouge_scores(["a", text], [["b"], [text]])


def test_a_few_foreign_words_are_no_other_script() -> None:
    assert rouge_scores(["größe zählt", "мир"], [["größe zählt"], ["the мир"]])["rouge1"] == pytest.approx(50)
