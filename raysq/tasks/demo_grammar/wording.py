"""The English side's free choices, and the four numbers that say how many there are.

A sentence is worded plainly or elaborately, throughout. The plain wording has one short form per phrase,
the elaborate one several long ones: although most references are elaborate, no single elaborate wording is
as likely as the plain one, so that the likeliest translation is shorter than most references.
"""

from __future__ import annotations

import random

from raysq.tasks.demo_grammar.meaning import Style

ELABORATE_SHARE: dict[Style, float] = {"colloquial": 0.35, "neutral": 0.70, "formal": 0.80}
"""Probability of an elaborate wording given the style of the German. Away from 0 and 1: more variation."""
ELABORATE_PHRASE = 0.95
"""Probability that a phrase of an elaborate sentence takes an elaborate form. Lower: less predictable."""
FIRST_CHOICE = 0.9
"""Probability of the first of several plain synonyms. Lower: lower ceiling."""
FIRST_ELABORATE = 0.42
"""Probability of the first of several elaborate forms. Lower: lower ceiling, shorter mode."""


class Wording:
    """Draws the wording of one English sentence."""

    def __init__(self, draws: random.Random, style: Style) -> None:
        self._draws = draws
        self.elaborate = draws.random() < ELABORATE_SHARE[style]

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self._draws.random() < probability

    def one(self, alternatives: str, first: float = FIRST_CHOICE) -> str:
        """One of the alternatives parted by ``/``: the first with probability ``first``, the others alike."""
        options = alternatives.split("/")
        if len(options) == 1 or self._draws.random() < first:
            return options[0]
        return options[1 + int(self._draws.random() * (len(options) - 1))]

    def wants(self, elaborate: str) -> bool:
        """Whether a phrase that has the ``elaborate`` forms takes one of them."""
        return bool(elaborate) and self.elaborate and self.chance(ELABORATE_PHRASE)

    def elaborated(self, elaborate: str) -> str:
        """One of the elaborate forms."""
        return self.one(elaborate, FIRST_ELABORATE)

    def say(self, plain: str, elaborate: str) -> str:
        """A plain or an elaborate form."""
        return self.elaborated(elaborate) if self.wants(elaborate) else self.one(plain)
