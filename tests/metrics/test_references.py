from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from raysq.metrics import bleu_by_order, caption_scores, corpus_bleu, detokenised_bleu, rouge_scores
from raysq.metrics.references import without_unknown

METRICS = [
    corpus_bleu,
    bleu_by_order,
    partial(detokenised_bleu, ignore_case=True),
    caption_scores,
    rouge_scores,
]


@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        ([], [], "no hypotheses"),
        (["a"], [["a"], ["b"]], "1 hypotheses but references for 2"),
        (["a", "b"], [["a"]], "2 hypotheses but references for 1"),
        (["a", "b"], [["a"], []], "hypothesis 1 needs a list of at least one reference"),
        (["ab"], ["ab"], "hypothesis 0 needs a list of at least one reference, not 'ab'"),
    ],
)
@pytest.mark.parametrize("metric", METRICS)
def test_what_does_not_fit_is_refused(
    metric: Callable[..., Any], hypotheses: Sequence[str], references: Sequence[Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        metric(hypotheses, references)


def test_unknown_words_of_references_are_other_words() -> None:
    one, two = without_unknown(["", ""], [["a <unk> b", ""], ["<unk>  <unk>"]])
    first, second, third = one[0].split()
    assert (first, third, one[1]) == ("a", "b", "")
    assert second not in ("<unk>", "unk")
    assert second.isalpha()  # one word for every tokeniser
    assert two == [f"{second} {second}"]
