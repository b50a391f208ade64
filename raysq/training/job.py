"""What one learner does in a workflow: the stages to be trained, one after another. With and without Ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from raysq.config import DecodingConfig, NetworkConfig, UserError
from raysq.data.shards import Corpus
from raysq.evaluation import Evaluator
from raysq.rewards.settings import RewardSettings
from raysq.training.collective import Collective
from raysq.training.samples import MakeSource, Sampling
from raysq.training.stage import StageSpec, Surroundings, run_stage


@dataclass(frozen=True, slots=True)
class Job:
    """The work of a run's learners; travels to them whole."""

    stages: tuple[StageSpec, ...]
    """Stages to train or to resume, in order."""
    data_dir: Path
    network: NetworkConfig
    decoding: DecodingConfig
    reward: RewardSettings
    checkpoint_seconds: float
    device: str
    threads: int
    """Of each learner's arithmetic."""
    gradient_accumulation: int = 1
    """Parts in which a learner works through its slice of a batch."""
    sampling: Sampling = "learner"
    """Who draws the samples of the policy."""
    max_staleness: int = 0
    """Updates by which the policy that samples are drawn from may lag behind."""


def local_device(wanted: Literal["auto", "cpu", "cuda"]) -> str:
    """The device of this machine that a setting means.

    Raises:
        UserError: it has no such device.
    """
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise UserError("--device cuda: this machine has no CUDA device; use --device auto or cpu")
    return "cuda" if available and wanted != "cpu" else "cpu"


def run_job(
    job: Job,
    make_source: MakeSource,
    collective: Collective,
    report: Callable[[Mapping[str, float], Path], None],
) -> list[dict[str, Any]]:
    """Run the stages; a stage that a restart finds finished is not repeated.

    Args:
        job: the work.
        make_source: makes what draws and scores a stage's samples.
        collective: the group of learners this one belongs to.
        report: called at every evaluation with its metrics and the stage's folder.

    Returns:
        The stages' entries of result.json.

    Raises:
        Diverged: a stage diverged before it had anything to keep.
    """
    torch.set_num_threads(job.threads)
    corpus = Corpus.load(job.data_dir)

    def surroundings(spec: StageSpec) -> Surroundings:
        return Surroundings(
            corpus=corpus,
            network=job.network,
            evaluator=Evaluator(corpus, job.decoding, collective, job.device, spec.seed, job.reward),
            make_source=make_source,
            collective=collective,
            device=job.device,
            checkpoint_seconds=job.checkpoint_seconds,
            gradient_accumulation=job.gradient_accumulation,
            max_staleness=job.max_staleness,
            report=report,
        )

    return [run_stage(spec, surroundings(spec)) for spec in job.stages]
