"""What one learner does in a workflow: the stages to be trained, one after another. With and without Ray."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from raysq.addresses import moved, working_copies
from raysq.algorithms import Algorithm
from raysq.config import DecodingConfig, NetworkConfig, UserError
from raysq.data.shards import Corpus
from raysq.evaluation import Evaluator
from raysq.logs import Sender, enter
from raysq.recipe import PlannedStage, TrainingConfig
from raysq.rewards.scoring import LocalScorer
from raysq.rewards.settings import RewardSettings
from raysq.training import memory
from raysq.training.collective import Collective
from raysq.training.samples import LocalSource, MakeSource, Sampling, drawn_by_workers
from raysq.training.sharing import here, shared_stage
from raysq.training.spec import StageSpec
from raysq.training.stage import Surroundings, run_stage
from raysq.training.window import Observe, unobserved

_log = logging.getLogger(__name__)


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
    sender: Sender = field(default_factory=Sender)
    """The run that the work is for, and how its processes log."""
    elastic: bool = False
    """Whether the number of learners may change."""
    copies: Path = field(default_factory=working_copies)
    """Where the working copies of folders elsewhere lie on the machine that tells of this."""

    def here(self) -> Job:
        """The same with its folders on this machine."""
        stages = tuple(here(stage, self.copies) for stage in self.stages)
        return replace(
            self, stages=stages, data_dir=moved(self.data_dir, self.copies), copies=working_copies()
        )


@dataclass(frozen=True, slots=True)
class NumWorkers:
    """How many processes a job has on Ray."""

    learners: int
    reward: int
    sample: int
    """None of these are started where no stage needs them."""
    resource: str | None = None
    """Custom resource of Ray of which every reward and sample worker takes one."""
    least: int = 0
    """Learners that are enough; 0: all."""

    @property
    def elastic(self) -> bool:
        """Whether the number of learners may change."""
        return 0 < self.least < self.learners


def job_of(
    config: TrainingConfig,
    data_dir: Path,
    stages: Sequence[PlannedStage],
    device: str,
    threads: int,
    run: str,
) -> Job:
    """What learners need to train stages as the settings say, for a run in MLflow."""
    return Job(
        stages=tuple(stage.spec for stage in stages),
        data_dir=data_dir,
        network=config.network,
        decoding=config.decoding,
        reward=config.reward,
        checkpoint_seconds=60 * config.checkpoint_minutes,
        device=device,
        threads=threads,
        gradient_accumulation=config.gradient_accumulation,
        sampling=config.sampling,
        max_staleness=config.max_staleness,
        sender=Sender(run, log_format=config.log_format),
        elastic=workers_of(config).elastic,
    )


def workers_of(config: TrainingConfig) -> NumWorkers:
    """The processes that the settings ask for."""
    return NumWorkers(
        learners=config.num_learners,
        reward=config.num_reward_workers,
        sample=config.num_sample_workers,
        resource=config.worker_resource,
        least=config.min_learners,
    )


def places_of(config: TrainingConfig, algorithms: Iterable[Algorithm]) -> int:
    """How much of the custom resource the reward and sample workers take that these stages need."""
    if config.worker_resource is None:
        return 0
    sampled = any(drawn_by_workers(algorithm, config.sampling) for algorithm in algorithms)
    return config.num_reward_workers + (config.num_sample_workers if sampled else 0)


def local_device(wanted: Literal["auto", "cpu", "cuda"]) -> str:
    """The device of this machine that a setting means.

    Raises:
        UserError: it has no such device.
    """
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise UserError("--device cuda: this machine has no CUDA device; use --device auto or cpu")
    return "cuda" if available and wanted != "cpu" else "cpu"


def run_here(
    job: Job,
    report: Callable[[Mapping[str, float], Path], None] = lambda metrics, folder: None,
    observe: Observe = unobserved,
) -> list[dict[str, Any]]:
    """Run the stages in this process, as the only learner, rewards scored here. As ``run_job``."""
    function = job.reward.function()
    scorer = LocalScorer(function, job.reward.scale_by_length)
    source = partial(LocalSource, reward_function=function, scorer=scorer, max_staleness=job.max_staleness)
    return run_job(job, source, Collective(), report, observe)


def run_job(
    job: Job,
    make_source: MakeSource,
    collective: Collective,
    report: Callable[[Mapping[str, float], Path], None],
    observe: Observe = unobserved,
) -> list[dict[str, Any]]:
    """Run the stages; a stage that a restart finds finished is not repeated.

    Args:
        job: the work.
        make_source: makes what draws and scores a stage's samples.
        collective: the group of learners this one belongs to.
        report: called at every evaluation with its metrics and the stage's folder.
        observe: called with the updates that were done.

    Returns:
        The stages' entries of result.json.

    Raises:
        Diverged: a stage diverged before it had anything to keep.
    """
    torch.set_num_threads(job.threads)
    with memory.preparation():  # checkpoints too; updates and evaluations have remedies of their own
        return _run_stages(job, make_source, collective, report, observe)


def _run_stages(
    job: Job,
    make_source: MakeSource,
    collective: Collective,
    report: Callable[[Mapping[str, float], Path], None],
    observe: Observe,
) -> list[dict[str, Any]]:
    job = job.here()
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
            observe=observe,
            elastic=job.elastic,
        )

    done = []
    for spec in job.stages:
        enter(stage=spec.name)
        of = f"{collective.rank + 1} of {collective.world_size}"
        _log.info("stage %s in %s, as learner %s", spec.name, spec.folder, of)
        with shared_stage(spec, collective, job.device):
            done.append(run_stage(spec, surroundings(spec)))
        _log.info("stage %s %s: %s", spec.name, done[-1]["state"], done[-1]["stopped_by"])
    enter(stage="")
    return done
