"""Trains the stages of a sweep as trials of Ray Tune: each as soon as those it starts from are finished.

A graph of stages is no feature of Tune; a search algorithm that suggests a stage once it can begin makes it
one. No stage waits inside a trial for another, so nothing can deadlock, and no core idles at a barrier.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, Literal

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from raysq.cluster.connection import start, stop
from raysq.cluster.driver import train_on_ray
from raysq.config import Unfinished, UserError
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
NESTED_CPU = 0.01
"""What a trial takes that only waits for learners of its own; a whole CPU would keep one from them."""

State = Literal["finished", "diverged", "stopped", "failed", "not run"]


@dataclass(frozen=True, slots=True)
class Work:
    """A stage to be trained."""

    job: Job
    """Of one stage."""
    parents: tuple[int, ...]
    """Places of the stages that must be finished first, in the same list."""
    remaining_seconds: float
    """Forecast from its start to the end of all that follows; the longest goes first [s]."""
    scheduled: bool = False
    """Whether a scheduler may stop it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a stage."""

    state: State
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Resources:
    """What each trial takes, and how many run at a time."""

    cpus: float
    gpus: float
    concurrent: int = 0
    """Trials at a time; 0: as many as there are CPUs and GPUs for."""
    nested: NumWorkers | None = None
    """Learners and workers of each trial; none: it trains in its own process."""

    def most(self) -> int:
        """Trials at a time on the cluster this process is attached to."""
        if self.concurrent:
            return self.concurrent
        there = ray.cluster_resources()
        cpus = self.cpus if self.nested is None else self.nested.learners
        by_cpus = there.get("CPU", 0) // cpus
        return max(1, int(min(by_cpus, there.get("GPU", 0) / self.gpus) if self.gpus else by_cpus))

    def of_trial(self) -> dict[str, float]:
        """What Tune reserves for a trial."""
        if self.nested is not None:
            return {"CPU": NESTED_CPU}
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
        halving: what stops stages that are ``scheduled`` early; none: nothing does.
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
        ready = ReadyStages(works, on_change)
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(train, works=tuple(works), nested=resources.nested), resources.of_trial()
            ),
            tune_config=tune.TuneConfig(
                search_alg=ready,
                scheduler=_scheduler(halving),
                num_samples=len(works),
                max_concurrent_trials=resources.most(),
                reuse_actors=True,
                trial_dirname_creator=_folder_name,
            ),
            run_config=tune.RunConfig(
                name=f"tune-{os.getpid()}",
                storage_path=str(storage),
                failure_config=tune.FailureConfig(max_failures=retries),
                callbacks=[_Watch(ready)],
                verbose=1 if verbose else 0,
            ),
        )
        _fit(tuner)
        return ready.outcomes()
    finally:
        stop()


def train(config: Mapping[str, Any], works: Sequence[Work], nested: NumWorkers | None) -> dict[str, Any]:
    """Train the stage ``config["place"]``; the function that every trial runs.

    Returns its outcome as Tune's last report. What no repetition can mend is an outcome, too: a divergence, a
    mistake of the user; other exceptions let Tune start the stage again.
    """
    work = works[config["place"]]
    try:
        if nested is not None:
            (result,) = train_on_ray(work.job, Path.cwd() / "ray", nested)
        elif work.scheduled:
            (result,) = _train_under_scheduler(work.job)
        else:
            (result,) = run_here(work.job)
    except Diverged as error:
        return {"state": "diverged", "reason": str(error)}
    except UserError as error:
        return {"state": "failed", "reason": str(error)}
    return {"state": result["state"], "reason": result["stopped_by"]}


class ReadyStages(Searcher):
    """Suggests the stage with the longest way to the end among those that can begin."""

    def __init__(
        self, works: Sequence[Work], on_change: Callable[[int, Outcome | None], None] = lambda place, _: None
    ) -> None:
        super().__init__(metric="score", mode="max")
        self._works = works
        self._on_change = on_change
        self._running: dict[str, int] = {}
        self._found: dict[int, Outcome] = {}

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict, **spec: Any) -> bool:
        """Nothing is searched for."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The place of the next stage; None while all that is left waits for others."""
        self._give_up_orphans()
        taken = {*self._running.values(), *self._found}
        left = [place for place in range(len(self._works)) if place not in taken]
        if not left:
            return Searcher.FINISHED
        ready = [p for p in left if all(self._usable(parent) for parent in self._works[p].parents)]
        if not ready:
            return None
        place = max(ready, key=lambda p: self._works[p].remaining_seconds)
        self._running[trial_id] = place
        return {"place": place}

    def begun(self, trial_id: str) -> None:
        """A trial has its process, perhaps again after a failure."""
        self._on_change(self._running[trial_id], None)

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """Take note of what became of a stage."""
        result = result or {}
        if error:
            self._settle(trial_id, Outcome("failed", "its process failed"))
        elif "state" in result:
            self._settle(trial_id, Outcome(result["state"], result["reason"]))
        else:
            epoch = result.get("epoch", 0.0)
            self._settle(trial_id, Outcome("stopped", f"stopped by the scheduler after {epoch:.1f} epochs"))

    def explain(self, trial_id: str, reason: str) -> None:
        """Say why a trial failed; Tune tells it apart from the failure itself."""
        place = self._running.get(trial_id)
        if place is not None:
            self._settle(trial_id, Outcome("failed", reason))

    def outcomes(self) -> list[Outcome]:
        """Of every stage; those that never began are not run."""
        self._give_up_orphans()
        unknown = Outcome("not run", "the sweep ended first")
        return [self._found.get(place, unknown) for place in range(len(self._works))]

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: what is finished is in run storage, from where the same command goes on."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Never asked for."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, likewise: Tune pickles what it is given, to restore it one day."""
        return {}

    def _settle(self, trial_id: str, outcome: Outcome) -> None:
        place = self._running.pop(trial_id, None)
        if place is None:
            return  # settled with its reason
        self._found[place] = outcome
        self._on_change(place, outcome)

    def _usable(self, place: int) -> bool:
        """Whether a stage left something to start from."""
        outcome = self._found.get(place)
        if outcome is None or outcome.state not in ("finished", "diverged"):
            return False
        (spec,) = self._works[place].job.stages
        return (spec.folder / "result.json").exists()

    def _give_up_orphans(self) -> None:
        """A stage whose parent came to nothing is not run; in order, so that its children are not, either."""
        for place, work in enumerate(self._works):
            lost = [p for p in work.parents if p in self._found and not self._usable(p)]
            if lost and place not in self._found:
                (parent,) = self._works[lost[0]].job.stages
                self._found[place] = Outcome("not run", f"{parent.folder.name} {self._found[lost[0]].state}")
                self._on_change(place, self._found[place])


class _Watch(tune.Callback):
    """Tells the searcher when trials begin, and why they fail."""

    def __init__(self, ready: ReadyStages) -> None:
        self._ready = ready

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._ready.begun(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        error = trial.get_error()
        lines = str(error).strip().splitlines() if error else []
        self._ready.explain(trial.trial_id, lines[-1] if lines else "its process failed")


def _tell(metric: str, metrics: Mapping[str, float], folder: Path | None = None) -> None:
    """Tell the scheduler of an evaluation; it may end the trial here, by SystemExit."""
    tune.report({"score": metrics[f"dev/{metric}"], "epoch": metrics["epoch"]})


def _train_under_scheduler(job: Job) -> list[dict[str, Any]]:
    """Train a stage, telling of each evaluation, those before an interruption first."""
    (spec,) = job.stages
    metric, _ = spec.algorithm.selection
    path = spec.folder / "journal.jsonl"
    for record in journal.read(path)[0] if path.exists() else ():
        if f"dev/{metric}" in record.metrics:
            _tell(metric, record.metrics)
    return run_here(job, partial(_tell, metric))


def _scheduler(halving: Halving | None) -> TrialScheduler:
    if halving is None:
        return FIFOScheduler()
    return ASHAScheduler(
        time_attr="epoch",
        metric="score",
        mode=halving.mode,
        grace_period=halving.longest / 9,
        max_t=2
        * halving.longest,  # the end of the schedule is no reason to stop: the best is scored after it
        reduction_factor=3,
    )


def _folder_name(trial: Trial) -> str:
    return f"stage-{trial.config['place']}"


def _fit(tuner: tune.Tuner) -> None:
    """``tuner.fit()`` beside the main thread, in which it would answer signals itself."""
    fitted: Future[None] = Future()

    def fit() -> None:
        try:
            tuner.fit()
            fitted.set_result(None)
        except BaseException as error:
            fitted.set_exception(error)

    Thread(target=fit, name="fit", daemon=True).start()
    try:
        fitted.result()
    except (tune.TuneError, ray.exceptions.RayError) as error:
        raise Unfinished(f"the sweep broke off ({error}): repeat the command to continue") from error
