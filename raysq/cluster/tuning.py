"""Trains the stages of a sweep as trials of Ray Tune: each as soon as those it starts from are finished.

A graph of stages is no feature of Tune; a search algorithm that suggests a stage once it can begin makes it
one. No stage waits inside a trial for another, so nothing can deadlock, and no core idles at a barrier.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Thread
from typing import Any, Literal

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from raysq.addresses import moved
from raysq.cluster.connection import start, stop
from raysq.cluster.driver import train_on_ray
from raysq.cluster.instruments import record_updates
from raysq.cluster.ready import Outcome, ReadyStages, Work
from raysq.cluster.run_storage import run_storage
from raysq.config import Unfinished, UserError
from raysq.logs import begin
from raysq.storage import pull
from raysq.training import journal
from raysq.training.job import Job, NumWorkers, run_here
from raysq.training.step import Diverged

ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # MLflow has it all
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # stages that others start from report no score
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""What Tune reads from the environment, where the user has not set it."""
NESTED = {"CPU": 0.0, "memory": 2.0**20}
"""What a trial takes that only waits for learners of its own: no CPU, which would keep one from them."""
LAST_TURN = 5.0
"""How long an interruption waits for Tune's loop [s]."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What each trial takes, and how many run at a time."""

    cpus: float
    gpus: float
    concurrent: int = 0
    """Trials at a time; 0: as many as there are CPUs and GPUs for."""
    nested: NumWorkers | None = None
    """Learners and workers of each trial; none: it trains in its own process."""
    places: int = 0
    """Reward and sample workers of a trial that take one of ``nested.resource`` each."""

    def most(self) -> int:
        """Trials at a time on the cluster this process is attached to. Raises UserError where none fits."""
        there = ray.cluster_resources()
        each = {"CPU": float(self.cpus if self.nested is None else self.nested.learners), "GPU": self.gpus}
        fit = []
        for resource, wanted in each.items():
            has = there.get(resource, 0.0)
            if wanted > has:
                raise UserError(
                    f"--{resource.lower()}s-per-trial {wanted:g}: there are {has:g} {resource}s: lower it"
                )
            if wanted:
                fit.append(int(has / wanted))
        if self.nested is not None and self.nested.resource is not None:
            # more at a time would wait for one another's workers; for one trial there is room: ``connection``
            fit.append(max(1, int(there.get(self.nested.resource, 0.0) / self.places)))
        return self.concurrent or min(fit)

    def of_trial(self) -> dict[str, float]:
        """What Tune reserves for a trial."""
        if self.nested is not None:
            return NESTED
        return {"CPU": self.cpus, "GPU": self.gpus} if self.gpus else {"CPU": self.cpus}


@dataclass(frozen=True, slots=True)
class Halving:
    """Successive halving (ASHA): after a ninth and after a third of the schedule the best third goes on."""

    mode: Literal["max", "min"]
    """Of the dev score that the algorithm selects by."""
    longest: float
    """Of the longest trial. [epochs]"""


def train_stages(
    works: Sequence[Work],
    resources: Resources,
    storage: Path,
    *,
    halving: Halving | None = None,
    retries: int = 2,
    on_change: Callable[[int, Outcome | None], None] = lambda place, outcome: None,
    verbose: bool = False,
) -> list[Outcome]:
    """Train stages on the cluster this process is attached to, else on one started here.

    Whatever ends it, Ray's processes of this sweep are gone when it returns.

    Args:
        works: the stages, each after those it starts from.
        resources: what each takes.
        storage: folder for Tune's own records.
        halving: what stops stages early whose evaluations it is told; none: nothing does.
        retries: times that a stage whose process failed is started again, from its last checkpoint.
        on_change: called in a thread of this process with a stage's place when it starts (None) and ends.
        verbose: show Ray's log lines.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        if not ray.is_initialized():
            start(verbose=verbose)
        if not verbose:  # every failure is in its stage's outcome
            logging.getLogger("ray").setLevel(logging.CRITICAL)
        ready = ReadyStages(works, retries, on_change)
        watch = _Watch(ready)
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(train, works=tuple(works), nested=resources.nested, storage=storage),
                resources.of_trial(),
            ),
            tune_config=tune.TuneConfig(
                search_alg=ready,
                scheduler=_scheduler(halving),
                num_samples=len(works) * (1 + retries),  # at most
                max_concurrent_trials=resources.most(),
                # a thread that was stopped may not have ended when the next trial would take its process
                reuse_actors=halving is None,
                trial_dirname_creator=_folder_name,
            ),
            run_config=tune.RunConfig(
                name=f"tune-{os.getpid()}",
                **run_storage(storage),
                callbacks=[watch],
                verbose=1 if verbose else 0,
            ),
        )
        _fit(tuner, watch)
        return ready.outcomes()
    finally:
        stop()


def train(
    config: Mapping[str, Any], works: Sequence[Work], nested: NumWorkers | None, storage: Path
) -> dict[str, Any]:
    """Train the stage ``config["place"]``; the function that every trial runs.

    Returns its outcome as Tune's last report. What no repetition can mend is an outcome, too: a divergence, a
    mistake of the user; after other exceptions the stage is tried again.
    """
    work = works[config["place"]]
    job, storage = work.job.here(), moved(storage, work.job.copies)
    begin(replace(job.sender, process="trial"))
    try:
        if nested is not None:
            (result,) = train_on_ray(job, storage, nested)
        elif work.told_until:
            (result,) = _train_under_scheduler(job, work.told_until)
        else:
            (result,) = run_here(job, observe=record_updates)
    except Diverged as error:
        return {"state": "diverged", "reason": str(error)}
    except UserError as error:
        return {"state": "failed", "reason": str(error)}
    return {"state": result["state"], "reason": result["stopped_by"]}


class _Watch(tune.Callback):
    """Tells the searcher when trials begin, and why they fail."""

    def __init__(self, ready: ReadyStages) -> None:
        self._ready = ready
        self._stopped = Event()

    def stop(self) -> None:
        """End Tune's loop at its next turn: it must not go on when Ray has ended."""
        self._stopped.set()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: see ``ReadyStages``."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        if self._stopped.is_set():
            raise SystemExit

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._ready.begun(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        error = trial.get_error()
        lines = str(error).strip().splitlines() if error else []
        self._ready.failed(trial.trial_id, lines[-1] if lines else "its process failed")


def _train_under_scheduler(job: Job, told_until: float) -> list[dict[str, Any]]:
    """Train a stage, telling of each evaluation, those before an interruption first."""
    (spec,) = job.stages
    metric, _ = spec.algorithm.selection_by(job.decoding.scoring)

    def tell(metrics: Mapping[str, float], folder: Path) -> None:
        if metrics["epoch"] < told_until:  # what has come to its end is scored, not stopped
            # may end the trial here, by SystemExit
            tune.report({"score": metrics[f"dev/{metric}"], "epoch": metrics["epoch"]})

    pull(spec.folder)
    path = spec.folder / "journal.jsonl"
    for record in journal.read(path)[0] if path.exists() else ():
        if f"dev/{metric}" in record.metrics:
            tell(record.metrics, spec.folder)
    return run_here(job, tell, record_updates)


def _scheduler(halving: Halving | None) -> TrialScheduler:
    if halving is None:
        return FIFOScheduler()
    return ASHAScheduler(
        time_attr="epoch",
        metric="score",
        mode=halving.mode,
        grace_period=halving.longest / 9,
        max_t=halving.longest,
        reduction_factor=3,
    )


def _folder_name(trial: Trial) -> str:
    return f"stage-{trial.config['place']}"


def _fit(tuner: tune.Tuner, watch: _Watch) -> None:
    """``tuner.fit()`` beside the main thread, in which it would answer signals itself."""
    fitted: Future[None] = Future()

    def fit() -> None:
        try:
            tuner.fit()
            fitted.set_result(None)
        except BaseException as error:
            fitted.set_exception(error)

    thread = Thread(target=fit, name="fit", daemon=True)
    thread.start()
    try:
        fitted.result()
    except (tune.TuneError, ray.exceptions.RayError) as error:
        raise Unfinished(f"the sweep broke off ({error}): repeat the command to continue") from error
    except KeyboardInterrupt:
        watch.stop()
        thread.join(LAST_TURN)
        raise
