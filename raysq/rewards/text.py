"""A reward of the user's own that reads text: a score of two texts, asked for every prefix.

    R(y_{1:t}) = score("y_1 .. y_t", ["y*_1 .. y*_T", ..]),  R(empty) = score("", ..)

with the words joined by single spaces. Python is called T times for a hypothesis of T words, so that scoring
takes as long as T calls of ``score``; compiled rewards score a whole sequence in microseconds.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from raysq.config import UserError
from raysq.data.vocabulary import Vocabulary
from raysq.rewards.base import PackedReferences, RewardFunction
from raysq.rewards.settings import RewardSettings


class TextReward(RewardSettings):
    """Base of a reward that a user's file defines: ``score`` says what a text earns."""

    name: Literal["own"] = "own"  # type: ignore[assignment]
    """The reward of the file that defines this workflow."""
    vocabulary: Path | None = None
    """Required: vocabulary.target.txt of the data, as samples are numbers of words. Stages trained with
    another path of it are not found again."""

    @field_validator("vocabulary")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value and value.expanduser().resolve()  # learners work in other folders

    @abstractmethod
    def score(self, hypothesis: str, references: Sequence[str]) -> float:
        """What a text earns, given its references: words joined by single spaces, neither bos nor eos."""

    def _of_references(self) -> RewardFunction:
        if self.vocabulary is None:
            raise UserError("--reward.vocabulary is required: give the data's vocabulary.target.txt")
        return _Prefixes(self, Vocabulary.load(self.vocabulary).words)


@dataclass(frozen=True, slots=True)
class _Prefixes:
    """A ``RewardFunction`` from a score of texts."""

    reward: TextReward
    words: tuple[str, ...]

    def prefix_scores(
        self, hypotheses: NDArray[np.int32], lengths: NDArray[np.int64], references: PackedReferences
    ) -> NDArray[np.float64]:
        """Scores [N, T] of every prefix."""
        texts = self._references(references)
        scores = np.repeat(self.empty_score(references)[:, None], hypotheses.shape[1], axis=1)
        for i, length in enumerate(lengths):
            words = self._words(hypotheses[i, :length])
            for t in range(length):
                scores[i, t:] = self.reward.score(" ".join(words[: t + 1]), texts[i])
        return scores

    def empty_score(self, references: PackedReferences) -> NDArray[np.float64]:
        """Score of nothing [N]."""
        return np.array([self.reward.score("", texts) for texts in self._references(references)], np.float64)

    def extension_rewards(
        self, prefixes: NDArray[np.int32], lengths: NDArray[np.int64], references: PackedReferences
    ) -> NoReturn:
        """Raise UserError: every word of the vocabulary would have to be scored at every step."""
        raise UserError(
            "a reward of your own does not score next words, as SPG and interpolation ask for: give another "
            "algorithm"
        )

    def _references(self, references: PackedReferences) -> list[list[str]]:
        offsets, starts = references.offsets, references.starts
        texts = [" ".join(self._words(references.tokens[first:last])) for first, last in pairwise(offsets)]
        return [texts[first:last] for first, last in pairwise(starts)]

    def _words(self, ids: NDArray[np.int32]) -> list[str]:
        return [self.words[i] for i in ids]
