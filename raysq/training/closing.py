"""The end of a stage: the closing evaluation of its best checkpoint, its model card and its result.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from raysq.algorithms import Algorithm, Networks
from raysq.card import CARD, model_card
from raysq.data.corpus import SplitName
from raysq.data.manifest import Manifest
from raysq.evaluation import Evaluator
from raysq.files import replace_json, write_lines
from raysq.models import EncoderDecoder
from raysq.records import RESULT, STAGE, TrainedRecord, read_record
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


def write_result(folder: Path, result: Mapping[str, Any], manifest: Manifest, policy: EncoderDecoder) -> None:
    """Write result.json and, before it, the card of the policy where the stage trained one.

    A stage that no workflow planned has no stage.json to make a card of.
    """
    if "bleu" in result["test"] and (folder / STAGE).is_file():
        num_parameters = sum(parameter.numel() for parameter in policy.parameters())
        record = read_record(folder / STAGE, TrainedRecord)
        write_lines(folder / CARD, model_card(record, manifest, result, num_parameters).splitlines())
    replace_json(folder / RESULT, result)
