import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sacrebleu.metrics import CHRF

from raysq.config import UserError
from raysq.data.vocabulary import Vocabulary
from raysq.rewards import LocalScorer, pack
from raysq.rewards.text import TextReward
from raysq.types import SPECIALS

WORDS = Vocabulary((*SPECIALS, "the", "cat", "sat", "mat"))


class Chrf(TextReward):
    """chrF."""

    def score(self, hypothesis: str, references: Sequence[str]) -> float:
        """Of two texts."""
        return CHRF().sentence_score(hypothesis, references).score / 100


class Length(TextReward):
    """Letters, over those of all references."""

    def score(self, hypothesis: str, references: Sequence[str]) -> float:
        """Not 0 for nothing."""
        return (1 + len(hypothesis)) / sum(map(len, references))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    WORDS.save(tmp_path / "words.txt")
    return tmp_path / "words.txt"


def test_every_prefix_is_scored_as_text(file: Path) -> None:
    function = Chrf(vocabulary=file).function()
    hypotheses = np.array([[4, 5, 6, 0], [7, 7, 4, 4]], np.int32)
    found = function.prefix_scores(hypotheses, np.array([3, 2]), pack([[[4, 5]], [[4, 7, 6]]]))

    def chrf(hypothesis: str, reference: str) -> float:
        return CHRF().sentence_score(hypothesis, [reference]).score / 100

    first = [chrf(text, "the cat") for text in ("the", "the cat", "the cat sat")]
    second = [chrf(text, "the mat sat") for text in ("mat", "mat mat")]
    expected = [[*first, first[-1]], [*second, second[-1], second[-1]]]
    np.testing.assert_allclose(found, expected)
    assert first[1] == 1.0


def test_own_reference_or_all(file: Path) -> None:
    references = pack([[[4, 5], [6]]])
    of_own, of_all = (Length(vocabulary=file, references=which).function() for which in ("own", "all"))
    assert of_own.empty_score(references) == pytest.approx(1 / 7)
    assert of_all.empty_score(references) == pytest.approx(1 / 10)


def test_an_empty_hypothesis_keeps_the_score_of_nothing(file: Path) -> None:
    function = Length(vocabulary=file).function()
    found = function.prefix_scores(np.zeros((1, 2), np.int32), np.array([0]), pack([[[4]]]))
    np.testing.assert_allclose(found, [[1 / 3, 1 / 3]])


def test_it_travels_and_warms_up(file: Path) -> None:
    function = Chrf(vocabulary=file).function()
    again = pickle.loads(pickle.dumps(function))
    assert again == function
    LocalScorer(again).warm_up()


def test_what_is_missing_or_not_there(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"--reward\.vocabulary is required"):
        Chrf().function()
    with pytest.raises(UserError, match="does not score next words"):
        Chrf(vocabulary=file).function().extension_rewards(
            np.zeros((1, 0), np.int32), np.array([0]), pack([[[4]]])
        )
    monkeypatch.chdir(file.parent)
    assert Chrf(vocabulary=Path("words.txt")).vocabulary == file.resolve()
