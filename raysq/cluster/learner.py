"""The learner: the function that every Ray Train worker runs."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray.train

from raysq.cluster.reward_workers import RemoteScorer
from raysq.files import replace_json
from raysq.training.collective import Collective
from raysq.training.job import Job, run_job


def learn(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Run ``config["job"]`` as one of the run's learners, with rewards from ``config["workers"]``.

    Returns:
        The stages' entries of result.json, the same on every rank.

    Raises:
        UserError: this learner met a mistake of the user; others may be waiting for it.
        Diverged: a stage diverged with nothing to keep, on every rank: they decide it by the same sums.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    job: Job = config["job"]
    context = ray.train.get_context()
    collective = Collective(context.get_world_rank(), context.get_world_size())
    scorer = RemoteScorer(config["workers"])
    scorer.warm_up()
    return run_job(job, scorer, collective, _report)


def _report(metrics: Mapping[str, float], folder: Path) -> None:
    """Tell Ray Train of an evaluation; its checkpoint is a pointer to where the stage writes its own."""
    with tempfile.TemporaryDirectory() as aside:
        checkpoint = None
        if ray.train.get_context().get_world_rank() == 0:
            replace_json(Path(aside) / "stage.json", {"folder": str(folder)})
            checkpoint = ray.train.Checkpoint.from_directory(aside)
        ray.train.report(dict(metrics), checkpoint)
