"""References as scorers take them: as many lists as hypotheses, and unknown words that match nothing."""

from __future__ import annotations

from collections.abc import Sequence

from raysq.types import SPECIALS, UNK

UNKNOWN = SPECIALS[UNK]
UNMATCHED = "unkofthereference"
"""Stands in references for an unknown word. It is made of letters, so that every scorer's tokeniser takes it
for one word, and no hypothesis holds it."""


def check_references(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Refuse what scorers would cut to fit, or score as something else.

    Raises:
        ValueError: nothing to score, not one list of references per hypothesis, or an empty list.
    """
    if not hypotheses:
        raise ValueError("there are no hypotheses to score")
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses but references for {len(references)}")
    for i, of_one in enumerate(references):
        if isinstance(of_one, str) or not of_one:
            raise ValueError(f"hypothesis {i} needs a list of at least one reference, not {of_one!r}")


def without_unknown(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> list[list[str]]:
    """The references, checked, with ``UNMATCHED`` in place of unknown words, which then match nothing.

    Raises:
        ValueError: as ``check_references``.
    """
    check_references(hypotheses, references)
    return [
        [" ".join(UNMATCHED if word == UNKNOWN else word for word in text.split()) for text in of_one]
        for of_one in references
    ]
