"""Which reward trains, as settings."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from raysq.config import Config
from raysq.rewards.base import OwnReference, RewardFunction
from raysq.rewards.bleu import BleuVariant, SentenceBleu
from raysq.rewards.edit import EditDistance, Hamming
from raysq.rewards.rouge import Rouge, RougeOver, RougeScore, RougeVariant

OF_ONE_REWARD = {
    "bleu": "bleu",
    "brevity_penalty": "bleu",
    "rouge": "rouge",
    "rouge_variant": "rouge",
    "rouge_over": "rouge",
}
"""Settings that one reward alone has, and its name."""


class RewardSettings(Config):
    """The reward of samples: sentence BLEU of Dai et al. 2018, unless told otherwise."""

    name: Literal["bleu", "rouge", "edit_distance", "hamming"] = "bleu"
    """Sentence BLEU, ROUGE, minus the edit distance or minus the Hamming distance."""
    references: Literal["own", "all"] = "own"
    """Where a source has several references: score against the pair's own (each pair is a sample of its own,
    Dai et al. 2018), or against all of them."""
    bleu: BleuVariant = "lin_och_all"
    """Smoothing of sentence BLEU."""
    brevity_penalty: bool = True
    """Whether sentence BLEU punishes hypotheses shorter than the reference."""
    rouge: RougeScore = "sum"
    """Which ROUGE F; sum adds ROUGE-1, ROUGE-2 and ROUGE-L."""
    rouge_variant: RougeVariant = "rouge155"
    """As ROUGE-1.5.5 counts, or as the package rouge 0.2.1 did (Tan et al. 2019)."""
    rouge_over: RougeOver = "best"
    """Of several references the best ROUGE F counts, or the mean over them."""
    match_unknown: bool = False
    """Whether unk matches unk (released code of Dai et al. 2018)."""
    scale_by_length: bool = True
    """Multiply the rewards by token by the words of the pair's own reference (Dai et al. 2018)."""

    @model_validator(mode="after")
    def _settings_of_the_chosen_alone(self) -> Self:
        for setting, name in OF_ONE_REWARD.items():
            if name != self.name:
                self.refuse_change(setting, f"unless `name` is {name}")
        if self.references == "own":
            self.refuse_change("rouge_over", "unless `references` is all")
        return self

    def function(self) -> RewardFunction:
        """The reward function these settings mean: scorers, samplers and critics all ask this one."""
        function = self._of_references()
        return OwnReference(function) if self.references == "own" else function

    def _of_references(self) -> RewardFunction:
        """It takes all references that it is given."""
        if self.name == "rouge":
            return Rouge(
                score=self.rouge,
                variant=self.rouge_variant,
                over=self.rouge_over,
                match_unknown=self.match_unknown,
            )
        if self.name == "edit_distance":
            return EditDistance(match_unknown=self.match_unknown)
        if self.name == "hamming":
            return Hamming(match_unknown=self.match_unknown)
        return SentenceBleu(
            variant=self.bleu, match_unknown=self.match_unknown, brevity_penalty=self.brevity_penalty
        )
