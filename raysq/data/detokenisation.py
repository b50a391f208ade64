"""Words back to text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from sacremoses import MosesDetokenizer

from raysq.types import SPECIALS, UNK

UNKNOWN_IN_TEXT = "⁇"
"""An unknown word in text. Scorers take ``<unk>`` apart: three words, which hide how short an output is."""
Detokenise = Callable[[Sequence[str]], str]
"""Words to a line of text."""


def moses_detokeniser(language: str) -> Detokenise:
    """Moses' detokeniser: punctuation joined to its word, ``&apos;`` and the like read back, unk as ``⁇``.

    A language without rules of its own gets those that all share.
    """
    detokenizer = MosesDetokenizer(language)

    def detokenise(words: Sequence[str]) -> str:
        visible = [UNKNOWN_IN_TEXT if word == SPECIALS[UNK] else word for word in words]
        return cast("str", detokenizer.detokenize(visible, unescape=True))

    return detokenise
