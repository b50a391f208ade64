"""The metrics of image captions: BLEU-1 to 4, ROUGE-L and CIDEr, as the COCO evaluation defines them.

BLEU is sacreBLEU's (``raysq.metrics.bleu``), the other two come from the COCO evaluation's own scorers. For a
caption x, references s_1 .. s_R of its image, and N images:

- ROUGE-L: P = max_r L_r / |x|, R = max_r L_r / |s_r|, each with a best reference of its own, L_r the length
  of the longest common subsequence with s_r; F = (1 + beta^2) P R / (R + beta^2 P), beta = 1.2; the mean
  over images. The ROUGE-L of headlines (``raysq.metrics.rouge``) has beta = 1 and P and R of one reference.
- CIDEr (Vedantam et al. 2015, the variant CIDEr-D without stemming, sigma = 6): with h_g(x) how often x holds
  the n-gram g, df_g the images that have g in a reference, and l the number of pairs of words,

      w_g(x) = h_g(x) (log N - log max(1, df_g))
      CIDEr_n = 10/R sum_r exp(-(l_x - l_r)^2 / (2 sigma^2))
                sum_g min(w_g(x), w_g(s_r)) w_g(s_r) / (|w(x)| |w(s_r)|)

  the mean over n = 1..4 and over images. Document frequencies are those of the references given, so that one
  image alone scores 0, and a split is comparable with itself only.

Departures: 1. The scorers' numbers times 100: ROUGE-L in [0, 100], and CIDEr in [0, 1000], as papers print
it. 2. An unknown word of a reference matches nothing. 3. So does an empty reference; for the COCO ROUGE-L
it would be an empty caption's equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from raysq.metrics.bleu import bleu_by_order
from raysq.metrics.references import without_unknown

_EMPTY = "emptyreference"
"""Stands for a reference without words: the scorers split it into one empty word."""


def caption_scores(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Any]:
    """``bleu1`` .. ``bleu4``, ``rouge_l`` and ``cider`` in percent, and ``caption_signature`` of these two.

    Raises:
        ValueError: nothing to score, or a hypothesis without references.
    """
    orders = bleu_by_order(hypotheses, references)
    known = without_unknown(hypotheses, references)
    by_image = {i: [text or _EMPTY for text in of_one] for i, of_one in enumerate(known)}
    captions = {i: [text] for i, text in enumerate(hypotheses)}
    rouge_l, _ = Rouge().compute_score(by_image, captions)
    cider, _ = Cider().compute_score(by_image, captions)
    signature = f"rouge_l:beta1.2|cider:d,sigma6|tok:none|pycocoevalcap:{version('pycocoevalcap')}"
    return {
        **{f"bleu{n}": score for n, score in enumerate(orders, start=1)},
        "rouge_l": 100 * float(rouge_l),
        "cider": 100 * float(cider),
        "caption_signature": signature,
    }
