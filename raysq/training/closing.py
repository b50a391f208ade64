"""The end of a stage: the closing evaluation of its best checkpoint, and its entry of result.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from raysq.algorithms import Algorithm, Networks
from raysq.data.corpus import SplitName
from raysq.evaluation import Evaluator
from raysq.files import write_lines
from raysq.training.state import Progress


@torch.no_grad()
def closing_scores(
    algorithm: Algorithm, evaluator: Evaluator, networks: Networks, texts_to: Path | None
) -> dict[str, dict[str, Any]]:
    """Scores of dev and test; where a policy was decoded its hypotheses go to the folder ``texts_to``."""
    splits: tuple[SplitName, ...] = ("dev", "test")
    found: dict[str, dict[str, Any]] = {}
    for split in splits:
        found[split], texts = algorithm.scores(evaluator, networks, split, closing=True)
        if texts_to is not None and texts:
            write_lines(texts_to / f"{split}.txt", texts)
    return found


def account(name: str, progress: Progress, batches_per_epoch: int) -> dict[str, Any]:
    """What result.json says of how a stage went."""
    return {
        "name": name,
        "state": "diverged" if progress.diverged else "finished",
        "stopped_by": progress.stopped_by,
        "diverged_on": progress.diverged_on,
        "warnings": progress.warnings,
        "updates": progress.update,
        "best_update": progress.best_update,
        "epochs": round(progress.update / batches_per_epoch, 3),
        "seconds": round(progress.seconds, 3),
        "reward_calls": int(progress.reward_calls),
        "tokens_per_second": round(progress.tokens / max(progress.update_seconds, 1e-9), 1),
        "reward_wait_share": round(progress.waited_seconds / max(progress.update_seconds, 1e-9), 5),
        "scores": progress.scores,
    }
