"""Runs a job on Ray: workers, then one ``TorchTrainer.fit()`` for all stages of the workflow."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayError
from ray.train import (
    CheckpointConfig,
    FailureConfig,
    Result,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
    UserCallback,
)
from ray.train.torch import TorchTrainer
from ray.train.v2.api.config import LoggingConfig

from raysq.cluster.connection import learner_resources, start, stop
from raysq.cluster.learner import learn
from raysq.cluster.reward_workers import create_reward_workers
from raysq.cluster.run_storage import run_storage
from raysq.cluster.sample_workers import create_sample_workers
from raysq.config import Unfinished, UserError
from raysq.training.job import Job, NumWorkers
from raysq.training.samples import drawn_by_workers
from raysq.training.step import Diverged

LEARNER_RESTARTS = 3
"""Times that the learners are started again, from the last checkpoint, after one of them was lost."""
WATCH_INTERVAL = 5.0
"""Time between two looks at the cluster while the learners work [s]."""
RESIZE_INTERVAL = 60.0
"""Time between two looks for nodes that learners could be added on, where their number may change [s]."""
LESS_MEMORY = "a higher --gradient-accumulation, or a lower --decoding.batch-size or batch size of the stage"
"""What lets learners live on less."""
NO_RESTART_HELPS = UserError | Diverged | Unfinished
"""What learners that are started again would only meet again."""


def run_on_ray(
    job: Job,
    storage: Path,
    num_workers: NumWorkers,
    watch: Callable[[], None],
    *,
    verbose: bool = False,
) -> list[dict[str, Any]]:
    """Train the job's stages with Ray Train and return their entries of result.json.

    Runs on the cluster this process is attached to (``connection``), else on one started here. Whatever ends
    it, Ray's processes of this run are gone when it returns: learners write nothing any more.

    Args and errors as of ``train_on_ray``.
    """
    try:
        if not ray.is_initialized():
            start(verbose=verbose)
        return train_on_ray(job, storage, num_workers, watch, verbose=verbose)
    finally:
        stop()


def train_on_ray(
    job: Job,
    storage: Path,
    num_workers: NumWorkers,
    watch: Callable[[], None] = lambda: None,
    *,
    verbose: bool = False,
) -> list[dict[str, Any]]:
    """Train the job's stages with one ``TorchTrainer.fit()`` in the Ray session of this process.

    Args:
        job: the work; ``job.device`` says whether each learner takes a GPU.
        storage: folder for Ray Train's own records.
        num_workers: processes, each 1 or more.
        watch: called every few seconds; what it raises ends the training.
        verbose: show Ray's log lines.

    Raises:
        UserError: a mistake of the user that a learner met.
        Diverged: a stage diverged before it had anything to keep.
        Unfinished: learners were lost more often than they are restarted, or a worker for good.
    """
    try:
        reward, sample_workers = job.reward, []
        workers = create_reward_workers(
            num_workers.reward, reward.function(), by=job.sender, resource=num_workers.resource
        )
        if any(drawn_by_workers(stage.algorithm, job.sampling) for stage in job.stages):
            sample_workers = create_sample_workers(
                num_workers.sample,
                reward.function(),
                scale_by_length=reward.scale_by_length,
                by=job.sender,
                resource=num_workers.resource,
            )
        trainer = TorchTrainer(
            learn,
            train_loop_config={"job": job, "workers": workers, "sample_workers": sample_workers},
            scaling_config=ScalingConfig(
                num_workers=(num_workers.least, num_workers.learners)
                if num_workers.elastic
                else num_workers.learners,
                elastic_resize_monitor_interval_s=RESIZE_INTERVAL,
                use_gpu=job.device == "cuda",
                resources_per_worker=learner_resources(job.device),
            ),
            run_config=RunConfig(
                name=f"fit-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}",  # a name used before would resume
                **run_storage(storage),
                checkpoint_config=CheckpointConfig(num_to_keep=1),  # pointers: the stages keep their own
                failure_config=FailureConfig(max_failures=LEARNER_RESTARTS),
                callbacks=[EndWhereNoRestartHelps()],
                logging_config=LoggingConfig(log_level="INFO" if verbose else "ERROR"),
            ),
        )
        return _fit(trainer, watch).return_value
    except (TrainingFailedError, RayError) as error:
        raise explained(error) from error


class EndWhereNoRestartHelps(UserCallback):
    """Ends the training, for all learners, where one met what it would only meet again.

    Runs in Ray Train's controller, which starts learners again after whatever they raise but not after what
    a callback raises.
    """

    def after_exception(self, run_context: object, worker_exceptions: dict[int, Exception]) -> None:
        """Raise a learner's mistake of the user, divergence, or loss of a worker."""
        for failure in worker_exceptions.values():
            cause = _cause(failure)
            if isinstance(cause, NO_RESTART_HELPS):
                raise cause


def _fit(trainer: TorchTrainer, watch: Callable[[], None]) -> Result:
    """``trainer.fit()`` beside the main thread, in which it would answer SIGINT itself, with status 0."""
    fitted: Future[Result] = Future()

    def fit() -> None:
        try:
            fitted.set_result(trainer.fit())
        except BaseException as error:
            fitted.set_exception(error)

    threading.Thread(target=fit, name="fit", daemon=True).start()
    while not wait([fitted], timeout=WATCH_INTERVAL).done:
        watch()
    return fitted.result()


def explained(error: Exception) -> Exception:
    """What ended the learners: what one met that no restart helps against, else ``Unfinished``."""
    met = getattr(error, "controller_failure", None)
    if isinstance(met, NO_RESTART_HELPS):
        return met  # by ``EndWhereNoRestartHelps``
    failures = getattr(error, "worker_failures", {})
    causes = {rank: _cause(failure) for rank, failure in failures.items()}
    what = f"training on Ray broke off ({_one_line(error)})"
    if causes:
        rank, cause = next(iter(causes.items()))
        times = LEARNER_RESTARTS + 1
        what = f"the learners were lost {times} times, at last with learner {rank} ({_one_line(cause)})"
    return Unfinished(
        f"{what}: repeat the command to continue from the last checkpoint; --verbose shows the learners' log"
    )


def _cause(failure: Exception) -> Exception:
    """What Ray Train has wrapped: a learner's own exception, or why its process no longer answers."""
    for wrapped in ("_base_exc", "health_check_failure"):
        failure = getattr(failure, wrapped, failure)
    return failure


def _one_line(error: Exception) -> str:
    if isinstance(error, RayActorError | OutOfMemoryError):
        return f"its process died, often for want of memory: {LESS_MEMORY} need less"
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
