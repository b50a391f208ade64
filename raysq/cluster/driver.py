"""Runs a job on Ray: reward workers, then one ``TorchTrainer.fit()`` for all stages of the workflow."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import ray
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, WorkerGroupError
from ray.train.torch import TorchTrainer
from ray.train.v2.api.config import LoggingConfig

from raysq.cluster.learner import learn
from raysq.cluster.reward_workers import create_reward_workers
from raysq.config import UserError
from raysq.rewards.base import RewardFunction
from raysq.training.job import Job
from raysq.training.step import Diverged

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # ray.train.report blocks for one interval
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
"""What Ray reads from the environment, where the user has not set it."""
LEARNER_RESTARTS = 3


def run_on_ray(
    job: Job,
    reward_function: RewardFunction,
    storage: Path,
    *,
    num_learners: int,
    num_reward_workers: int,
    verbose: bool = False,
) -> list[dict[str, Any]]:
    """Train the job's stages with Ray Train and return their entries of result.json.

    Args:
        job: the work; ``job.device`` says whether each learner takes a GPU.
        reward_function: what the reward workers compute.
        storage: folder for Ray Train's own records.
        num_learners: Train workers, 1 or more.
        num_reward_workers: reward workers, 1 or more.
        verbose: show Ray's log lines.

    Raises:
        UserError: the cluster has fewer CPUs or GPUs than asked for.
    """
    on_termination = signal.getsignal(signal.SIGTERM)
    start(num_learners, verbose=verbose)
    signal.signal(signal.SIGTERM, on_termination)  # ray.init puts its own in place, which aborts
    try:
        gpus = num_learners if job.device == "cuda" else 0
        _require("GPU", gpus, "--num-learners")
        _require("CPU", num_learners, "--num-learners")
        workers = create_reward_workers(num_reward_workers, reward_function)
        trainer = TorchTrainer(
            learn,
            train_loop_config={"job": job, "workers": workers},
            scaling_config=ScalingConfig(
                num_workers=num_learners, use_gpu=gpus > 0, resources_per_worker={"CPU": 1}
            ),
            run_config=RunConfig(
                name=f"fit-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}",  # a name used before would resume
                storage_path=str(storage),
                checkpoint_config=CheckpointConfig(num_to_keep=1),  # pointers: the stages keep their own
                failure_config=FailureConfig(max_failures=LEARNER_RESTARTS),
                logging_config=LoggingConfig(log_level="INFO" if verbose else "ERROR"),
            ),
        )
        returned = trainer.fit().return_value
        if isinstance(returned, Exception):
            raise returned
        return returned
    except WorkerGroupError as error:
        raise _known_error(error) or error from None
    finally:
        ray.shutdown()


def start(num_learners: int, *, verbose: bool = False) -> None:
    """Attach to the cluster that RAY_ADDRESS names, else start one on this machine for this run alone."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    quiet: dict[str, Any] = {} if verbose else {"logging_level": "ERROR", "log_to_driver": False}
    if "RAY_ADDRESS" in os.environ:
        ray.init(**quiet)
        return
    ray.init(
        address="local",
        num_cpus=max(os.cpu_count() or 1, num_learners + 1),
        include_dashboard=True,  # without it Ray Train complains every second
        dashboard_host="127.0.0.1",
        object_store_memory=256 * 2**20,
        **quiet,
    )


def _known_error(error: WorkerGroupError) -> Exception | None:
    """The user's mistake or the divergence that a learner met, if that is what ended the run."""
    for failure in error.worker_failures.values():
        cause = getattr(failure, "_base_exc", failure)
        if isinstance(cause, UserError | Diverged):
            return cause
    return None


def _require(resource: str, needed: int, option: str) -> None:
    there = ray.cluster_resources().get(resource, 0)
    if needed > there:
        raise UserError(f"{option} {needed} needs {needed} {resource}s, the cluster has {there:g}: lower it")
