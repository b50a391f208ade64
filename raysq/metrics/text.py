"""All metrics of a task's texts, by its setting ``decoding.scoring``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raysq.metrics.bleu import corpus_bleu
from raysq.metrics.captions import caption_scores
from raysq.metrics.rouge import rouge_scores

NAMES = {
    "bleu": "BLEU",
    "bleu1": "BLEU-1",
    "bleu2": "BLEU-2",
    "bleu3": "BLEU-3",
    "bleu4": "BLEU-4",
    "rouge": "ROUGE",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "rouge_l": "ROUGE-L (COCO)",
    "cider": "CIDEr",
}
"""What people call a score; ROUGE is the mean of ROUGE-1, 2 and L."""


def text_scores(
    scoring: str, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """Corpus BLEU with its parts, and what ``scoring`` adds: ``captions`` or ``rouge``.

    Raises:
        ValueError: nothing to score, or a hypothesis without references.
    """
    scores = corpus_bleu(hypotheses, references).row()
    if scoring == "captions":
        scores |= caption_scores(hypotheses, references)
    elif scoring == "rouge":
        scores |= rouge_scores(hypotheses, references)
    return scores
