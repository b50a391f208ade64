from typing import Any

import pytest
from pydantic import ValidationError

from raysq.rewards.bleu import SentenceBleu
from raysq.rewards.edit import EditDistance, Hamming
from raysq.rewards.rouge import Rouge
from raysq.rewards.settings import RewardSettings


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
def test_what_they_mean(settings: dict[str, Any], function: object) -> None:
    assert RewardSettings(**settings).function() == function


@pytest.mark.parametrize("name", ["bleu", "rouge", "edit_distance", "hamming"])
@pytest.mark.parametrize(
    ("setting", "value", "owner", "default"),
    [
        ("bleu", "nltk_m0_33", "bleu", "lin_och_all"),
        ("brevity_penalty", False, "bleu", "true"),
        ("rouge", "rouge_2", "rouge", "sum"),
        ("rouge_variant", "pltrdy_021", "rouge", "rouge155"),
    ],
)
def test_a_setting_of_another_reward_is_a_mistake(
    name: str, setting: str, value: object, owner: str, default: str
) -> None:
    settings = {"name": name, setting: value}
    if name == owner:
        assert getattr(RewardSettings.model_validate(settings), setting) == value
        return
    message = f"`{setting}` has no effect unless `name` is {owner}: leave it at {default}"
    with pytest.raises(ValidationError, match=message):
        RewardSettings.model_validate(settings)
