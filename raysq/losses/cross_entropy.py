"""Maximum likelihood by row."""

from __future__ import annotations

import torch
from torch import Tensor

from raysq import kernels
from raysq.losses.vocabulary import Head, vocabulary_values


def cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Negative log-likelihood of the target, Dai et al. (2018) Eq. 1 by token.

    loss = -log pi(y), pi = softmax(logits);  d loss / d logit_w = pi_w - [w = y].

    Args:
        logits: [n, V]
        targets: [n] ids.

    Returns:
        Loss [n], gradient [n, V], no further values.
    """
    if kernels.compiled(logits):
        loss, gradient = torch.empty_like(logits[:, 0]), torch.empty_like(logits)
        kernels.cross_entropy_rows(*map(kernels.array, (logits, targets, loss, gradient)))
        return loss, gradient, {}
    log_probs = torch.log_softmax(logits, dim=1)
    column = targets.unsqueeze(1)
    loss = -log_probs.gather(1, column).squeeze(1)
    gradient = log_probs.exp_()
    gradient.scatter_add_(1, column, torch.full_like(column, -1, dtype=gradient.dtype))
    return loss, gradient, {}


def negative_log_likelihoods(head: Head, targets: Tensor) -> Tensor:
    """-log pi of each target [n], in chunks and without gradients."""

    def values(logits: Tensor, of_rows: Tensor) -> dict[str, Tensor]:
        return {"loss": cross_entropy(logits, of_rows)[0]}

    return vocabulary_values(values, (head,), rows=(targets,))["loss"]
