from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from raysq.rewards import LocalScorer, OwnReference, RewardFunction
from raysq.rewards.bleu import SentenceBleu
from raysq.rewards.edit import EditDistance, Hamming
from raysq.rewards.rouge import Rouge
from raysq.rewards.settings import RewardSettings
from raysq.types import BOS, EOS, Samples


@pytest.mark.parametrize(
    ("settings", "function"),
    [
        ({}, SentenceBleu(variant="lin_och_all")),
        (
            {"bleu": "nltk_m0_33", "brevity_penalty": False, "match_unknown": True},
            SentenceBleu(variant="nltk_m0_33", brevity_penalty=False, match_unknown=True),
        ),
        ({"name": "rouge"}, Rouge()),
        (
            {"name": "rouge", "rouge": "rouge_2", "rouge_variant": "pltrdy_021", "match_unknown": True},
            Rouge(score="rouge_2", variant="pltrdy_021", match_unknown=True),
        ),
        ({"name": "edit_distance", "match_unknown": True}, EditDistance(match_unknown=True)),
        ({"name": "hamming", "scale_by_length": False}, Hamming()),
    ],
    ids=str,
)
def test_what_they_mean(settings: dict[str, Any], function: RewardFunction) -> None:
    """Against the pair's own reference, or against all of them."""
    assert RewardSettings(**settings).function() == OwnReference(function)
    assert RewardSettings(**settings, references="all").function() == function


def test_best_or_mean_of_several_references() -> None:
    settings = {"name": "rouge", "references": "all", "rouge_over": "mean"}
    assert RewardSettings.model_validate(settings).function() == Rouge(over="mean")
    message = "`rouge_over` has no effect unless `references` is all: leave it at best"
    with pytest.raises(ValidationError, match=message):
        RewardSettings(name="rouge", rouge_over="mean")


def test_scorers_honour_the_references_that_are_asked_for() -> None:
    """y = a b, own reference a c, another a b: 1 of 2 words and no pair against the own, all against both."""
    targets = torch.tensor([[11, 12, EOS]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    samples = Samples(torch.tensor([[BOS, 11, 12]]), targets, mask, torch.zeros_like(mask), 1)
    references = [[np.array([11, 13], np.int32), np.array([11, 12], np.int32)]]
    rewards = {
        of: LocalScorer(RewardSettings(references=of).function()).submit(samples, references).result()
        for of in ("own", "all")
    }
    assert rewards["own"].sequence.item() == pytest.approx((2 / 3 * 1 / 2) ** 0.25)
    assert rewards["all"].sequence.item() == 1.0


@pytest.mark.parametrize("name", ["bleu", "rouge", "edit_distance", "hamming"])
@pytest.mark.parametrize(
    ("setting", "value", "owner", "default"),
    [
        ("bleu", "nltk_m0_33", "bleu", "lin_och_all"),
        ("brevity_penalty", False, "bleu", "true"),
        ("rouge", "rouge_2", "rouge", "sum"),
        ("rouge_variant", "pltrdy_021", "rouge", "rouge155"),
        ("rouge_over", "mean", "rouge", "best"),
    ],
)
def test_a_setting_of_another_reward_is_a_mistake(
    name: str, setting: str, value: object, owner: str, default: str
) -> None:
    settings = {"name": name, "references": "all", setting: value}
    if name == owner:
        assert getattr(RewardSettings.model_validate(settings), setting) == value
        return
    message = f"`{setting}` has no effect unless `name` is {owner}: leave it at {default}"
    with pytest.raises(ValidationError, match=message):
        RewardSettings.model_validate(settings)
