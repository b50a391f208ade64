"""Metrics: what is reported of hypotheses, tokenised texts with single spaces, against their references.

A metric reports, a reward trains: those are in ``raysq.rewards``. Every metric takes one text per hypothesis
and, for each, a list of references, whose number may differ. Scores are in percent.
"""

from raysq.metrics.bleu import CorpusScore, bleu_by_order, corpus_bleu, detokenised_bleu
from raysq.metrics.captions import caption_scores
from raysq.metrics.rouge import RougeOver, rouge_by_sentence, rouge_scores
from raysq.metrics.text import NAMES, text_scores

__all__ = [
    "NAMES",
    "CorpusScore",
    "RougeOver",
    "bleu_by_order",
    "caption_scores",
    "corpus_bleu",
    "detokenised_bleu",
    "rouge_by_sentence",
    "rouge_scores",
    "text_scores",
]
