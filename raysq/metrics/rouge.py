"""ROUGE of headlines through the package rouge-score: F of ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004), beta = 1.

The package tokenises as ROUGE-1.5.5 does, and so do the published numbers: text is lower-cased, and what is
neither a letter a-z nor a digit separates words and is no word itself (so a # of Gigaword does not count, and
"café" is "caf"). Text in another script would score 0 whatever it says, and is refused. The reward
``raysq.rewards.Rouge`` counts the same matches over the words as they are, in any script.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from importlib.metadata import version
from itertools import chain
from typing import Any, Literal

import numpy as np

from raysq.config import UserError
from raysq.metrics.references import without_unknown

RougeOver = Literal["best", "mean"]
_KINDS = ("rouge1", "rouge2", "rougeL")
_COUNTED = frozenset(string.ascii_lowercase)


def rouge_scores(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    over: RougeOver = "best",
    stemmer: bool = False,
) -> dict[str, Any]:
    """``rouge1``, ``rouge2``, ``rougeL`` and their mean ``rouge`` in percent, and ``rouge_signature``.

    The three are means of F over sentences. An unknown word in a reference matches nothing.

    Args:
        hypotheses: one text each.
        references: one or several for each.
        over: of several references the best one counts, for each of the three by itself, or their mean.
        stemmer: whether words of more than 3 letters are compared by Porter's stem.

    Raises:
        ValueError: nothing to score, or a hypothesis without references.
        UserError: as `check_script`.
    """
    scores = rouge_by_sentence(hypotheses, references, over=over, stemmer=stemmer).mean(0)
    signature = f"over:{over}|stem:{'yes' if stemmer else 'no'}|rouge-score:{version('rouge-score')}"
    return {
        **dict(zip(_KINDS, scores.tolist(), strict=True)),
        "rouge": float(scores.mean()),
        "rouge_signature": signature,
    }


def rouge_by_sentence(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    over: RougeOver = "best",
    stemmer: bool = False,
) -> np.ndarray:
    """[sentences, 3] F of ROUGE-1, ROUGE-2 and ROUGE-L in percent, whose means are ``rouge_scores``.

    Raises:
        ValueError: nothing to score, or a hypothesis without references.
        UserError: as `check_script`.
    """
    from rouge_score.rouge_scorer import RougeScorer  # here: the package loads nltk, which takes seconds

    known = without_unknown(hypotheses, references)
    check_script(references)
    scorer = RougeScorer(_KINDS, use_stemmer=stemmer)
    of_sentences = []
    for hypothesis, of_one in zip(hypotheses, known, strict=True):
        by_reference = [scorer.score(reference, hypothesis) for reference in of_one]
        f = np.array([[score[kind].fmeasure for kind in _KINDS] for score in by_reference])
        of_sentences.append(f.max(0) if over == "best" else f.mean(0))
    return 100 * np.stack(of_sentences)


def check_script(references: Sequence[Sequence[str]]) -> None:
    """Refuse text in a script that is not counted.

    Raises:
        UserError: most letters of the references are others than a-z.
    """
    surplus, example = 0, ""
    for text in chain.from_iterable(references):
        letters = [c for c in text.lower() if c.isalpha()]
        more = len(letters) - 2 * sum(c in _COUNTED for c in letters)
        surplus += more
        if more > 0:
            example = example or text
    if surplus > 0:
        raise UserError(
            f"ROUGE counts the letters a-z and digits alone, and most letters of the references are others "
            f"(first in {example!r}): romanise the text, or give --decoding.scoring bleu"
        )
