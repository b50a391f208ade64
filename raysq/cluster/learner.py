"""The learner: the function that every Ray Train worker runs."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray.train

from raysq.addresses import written
from raysq.algorithms import Algorithm, Networks
from raysq.cluster.instruments import record_updates
from raysq.cluster.reward_workers import RemoteScorer
from raysq.cluster.sample_workers import RemoteSource, wait_for
from raysq.files import replace_json
from raysq.logs import begin
from raysq.training.collective import Collective
from raysq.training.job import Job, run_job
from raysq.training.samples import LocalSource, SampleSource, drawn_by_workers


def learn(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Run ``config["job"]`` as one of the run's learners.

    Rewards come from ``config["workers"]``, samples that workers draw from ``config["sample_workers"]``.

    Returns:
        The stages' entries of result.json, the same on every rank.

    Raises:
        UserError: this learner met a mistake of the user; others may be waiting for it.
        Diverged: a stage diverged with nothing to keep, on every rank: they decide it by the same sums.
    """
    job: Job = config["job"]
    context = ray.train.get_context()
    collective = Collective(context.get_world_rank(), context.get_world_size())
    begin(replace(job.sender, process=f"learner-{collective.rank}"))
    scorer = RemoteScorer(config["workers"], job.reward.scale_by_length)
    scorer.warm_up()
    sample_workers = own_share(config["sample_workers"], collective)
    wait_for(sample_workers)

    def source(algorithm: Algorithm, networks: Networks) -> SampleSource:
        if drawn_by_workers(algorithm, job.sampling):
            return RemoteSource(algorithm, networks, sample_workers, job.max_staleness)
        return LocalSource(algorithm, networks, job.reward.function(), scorer, job.max_staleness)

    def observe(updates: float, tokens: float) -> None:
        record_updates(updates, tokens / collective.world_size)

    return run_job(job, source, collective, _report, observe)


def own_share(sample_workers: Sequence[Any], collective: Collective) -> Sequence[Any]:
    """Those that work for this learner, none of them for another if there are enough.

    A worker keeps the networks of one learner only.
    """
    if not sample_workers:
        return []
    return sample_workers[collective.rank % len(sample_workers) :: collective.world_size]


def _report(metrics: Mapping[str, float], folder: Path) -> None:
    """Tell Ray Train of an evaluation; its checkpoint is a pointer to where the stage writes its own."""
    with tempfile.TemporaryDirectory() as aside:
        checkpoint = None
        if ray.train.get_context().get_world_rank() == 0:
            replace_json(Path(aside) / "stage.json", {"folder": written(folder)})
            checkpoint = ray.train.Checkpoint.from_directory(aside)
        ray.train.report(dict(metrics), checkpoint)
