import random

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.significance import PairedTest

from raysq.metrics import corpus_bleu, rouge_scores
from raysq.report.bootstrap import DRAWS, Bootstrap


def noisy(references, share, seed):
    """Copies with some of their words replaced."""
    generator = random.Random(seed)
    words = sorted({word for line in references for word in line.split()})
    return [
        " ".join(generator.choice(words) if generator.random() < share else word for word in line.split())
        for line in references
    ]


@pytest.fixture(scope="module")
def references():
    generator = random.Random(1)
    return [" ".join(generator.choices("abcdefgh", k=generator.randint(3, 12))) for _ in range(60)]


@pytest.fixture(scope="module")
def bootstrap(references):
    return Bootstrap(references)


def test_one_pair_is_sacrebleus_paired_bootstrap(bootstrap, references):
    system, baseline = noisy(references, 0.25, 2), noisy(references, 0.3, 3)
    metric = BLEU(tokenize="none", smooth_method="none", force=True)
    test = PairedTest(
        [("baseline", baseline), ("system", system)], {"BLEU": metric}, [references], "bs", DRAWS
    )
    _, found = test()
    theirs = found["BLEU"][1]
    ours = bootstrap.difference([(system, baseline)])
    assert ours.p == theirs.p_value
    assert 0.01 < ours.p < 0.9
    assert ours.mean == pytest.approx(theirs.score - found["BLEU"][0].score, abs=1e-9)
    assert bootstrap.scores(system)[1:].mean() == pytest.approx(theirs.mean, abs=1e-4)  # theirs: float32


def test_pairs_are_drawn_together(bootstrap, references):
    """Two pairs that are the same are one: the test set has not grown. Opposite pairs cancel out."""
    one = (noisy(references, 0.2, 4), noisy(references, 0.3, 5))
    single = bootstrap.difference([one])
    double = bootstrap.difference([one, one])
    assert (double.mean, double.p) == (pytest.approx(single.mean), single.p)
    assert double.interval == pytest.approx(single.interval)
    assert bootstrap.difference([one, one[::-1]]).interval == (0.0, 0.0)


def test_the_first_score_is_the_corpus_score_of_an_evaluation():
    """Also where a reference holds an unknown word, which matches nothing, and a hypothesis is empty."""
    references = ["a b c d <unk> f", "a b c d e", "a b"]
    hypotheses = ["a b c d <unk> f", "", "a b c d"]
    assert Bootstrap(references).scores(hypotheses)[0] == pytest.approx(
        corpus_bleu(hypotheses, [[line] for line in references]).bleu, abs=1e-12
    )


def test_rouge_is_the_mean_over_the_sentences_drawn():
    """The first score is that of an evaluation; of two sentences a draw has the first 0, 1 or 2 times."""
    references = ["a b c\tx", "d <unk> f"]
    hypotheses, others = ["a b x", "d e f"], ["q", "d"]
    bootstrap = Bootstrap(references, "rouge")
    split = [line.split("\t") for line in references]
    scores = bootstrap.scores(hypotheses)
    assert scores[0] == pytest.approx(rouge_scores(hypotheses, split)["rouge"], abs=1e-12)
    each = [rouge_scores([text], [of_one])["rouge"] for text, of_one in zip(hypotheses, split, strict=True)]
    assert set(scores[1:].round(9)) == {round(s, 9) for s in (each[0], (each[0] + each[1]) / 2, each[1])}
    found = bootstrap.difference([(hypotheses, others)])
    assert found.mean == pytest.approx(scores[0] - rouge_scores(others, split)["rouge"])


def test_the_same_hypotheses_do_not_differ(bootstrap, references):
    system = noisy(references, 0.3, 6)
    found = bootstrap.difference([(system, list(system))])
    assert (found.mean, found.interval, found.p) == (0.0, (0.0, 0.0), 1.0)


def test_the_interval_holds_95_percent_of_the_draws(bootstrap, references):
    pair = (noisy(references, 0.2, 7), noisy(references, 0.3, 8))
    draws = (bootstrap.scores(pair[0]) - bootstrap.scores(pair[1]))[1:]
    low, high = bootstrap.difference([pair]).interval
    assert np.mean((draws > low) & (draws < high)) == pytest.approx(0.95, abs=0.002)


def test_another_number_of_hypotheses(bootstrap):
    with pytest.raises(ValueError, match="1 hypotheses but references for"):
        bootstrap.scores(["a"])


def test_several_references_count_as_corpus_bleu_counts_them() -> None:
    references = [["a b c d e", "a b x"], ["c d e f g", "c d"], ["q r s t"]]
    hypotheses = ["a b x d e", "c d e f", "q r s t"]
    lines = ["\t".join(of_one) for of_one in references]
    assert Bootstrap(lines).scores(hypotheses)[0] == pytest.approx(
        corpus_bleu(hypotheses, references).bleu, abs=1e-12
    )
