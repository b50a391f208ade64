import pytest

from raysq.metrics import caption_scores, corpus_bleu, rouge_scores, text_scores

HYPOTHESES = ["a b c d e", "f g h i"]
REFERENCES = [["a b c d x", "a b"], ["f g h i"]]


@pytest.mark.parametrize(
    ("scoring", "more"),
    [
        ("bleu", {}),
        ("captions", caption_scores(HYPOTHESES, REFERENCES)),
        ("rouge", rouge_scores(HYPOTHESES, REFERENCES)),
    ],
)
def test_a_tasks_metrics_are_bleu_and_its_own(scoring, more):
    found = text_scores(scoring, HYPOTHESES, REFERENCES)
    assert found == corpus_bleu(HYPOTHESES, REFERENCES).row() | more
