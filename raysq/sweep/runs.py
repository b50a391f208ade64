"""The MLflow runs of a sweep: the sweep's, and below it one for every trial and every stage it trains."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from raysq.addresses import written
from raysq.cluster.ready import Outcome
from raysq.config import Scalar, UserError, as_typed, flatten
from raysq.data.shards import Corpus
from raysq.files import replace_json
from raysq.mlflow_runs import (
    StageRuns,
    closing_scores,
    common_tags,
    ended_at,
    finished,
    now,
    source_tags,
)
from raysq.mlflow_views import view_tags
from raysq.naming import group, run_name
from raysq.outbox import Outbox
from raysq.recipe import TrainingConfig
from raysq.records import Record, read_record
from raysq.sweep.graph import Graph, Node, TrialPlan
from raysq.sweep.settings import TuneSettings
from raysq.sweep.space import Space
from raysq.tracking import Point, RunStatus, Tracker, Update, without_credentials
from raysq.training import journal
from raysq.training.state import read_result

_log = logging.getLogger(__name__)

RUNS, SPACE = "runs.json", "space.json"
"""Files of a sweep's output folder: its runs, by which a repeated command finds them; the space as data."""
CURVES = ("bleu", "rouge", "cider", "sample_bleu", "td_error")
"""Dev scores that a trial's run has at every evaluation, beside the space's metric."""


@dataclass(frozen=True, slots=True)
class _Run:
    """A run in MLflow."""

    id: str
    complete: bool = False
    """Whether it has all that will ever be known of a finished trial."""


class RunsRecord(Record):
    """runs.json of a sweep's output folder."""

    remedy = "remove it and repeat the command, which opens new runs in MLflow"

    of: dict[str, str]
    """Space and task."""
    store: dict[str, str]
    runs: dict[str, _Run]


class SweepRuns:
    """Runs of one sweep; the same command finds them again, finished ones too."""

    def __init__(
        self, tracker: Tracker, space: Space, settings: TuneSettings, corpus: Corpus, output: Path
    ) -> None:
        self._tracker, self._space, self._settings = tracker, space, settings
        self._corpus, self._output = corpus, output
        self.outbox = Outbox(tracker, output)
        self._stages = StageRuns(tracker, self.outbox)
        self._of = {"space": space.name, "task": settings.task}
        self._store = {"uri": without_credentials(tracker.uri), "experiment": settings.experiment}
        self._runs: dict[str, _Run] = {}
        path = output / RUNS
        if path.exists():
            self._restore(path)
        self.sweep_id = ""

    def _restore(self, path: Path) -> None:
        """The runs of earlier commands. Raises UserError where the folder is another sweep's."""
        noted = read_record(path, RunsRecord)
        if noted.of != self._of:
            raise UserError(
                f"--output-dir {path.parent} holds the sweep of space {noted.of.get('space')} on task "
                f"{noted.of.get('task')} ({path.name}): give another"
            )
        if noted.store == self._store:  # another store knows nothing of them
            self._runs = noted.runs

    def open(self, graph: Graph) -> None:
        """Open the sweep's run, those of its stages that are trained now, and those of its trials."""
        self.outbox.flush()
        self._tracker.tag_experiment(view_tags())
        space, task = self._space, self._settings.task
        tags = {
            "raysq.level": "sweep",
            "raysq.sweep": space.name,
            "raysq.task": task,
            "raysq.data": self._corpus.digest,
            "raysq.data_dir": written(self._corpus.folder),
            **source_tags(Path(__file__).parents[2]),
        }
        params = {
            key: value if key != "tracking_uri" else without_credentials(str(value))
            for key, value in flatten(self._settings).items()
        }
        self.sweep_id = self._opened("sweep", f"{space.name} {task}", tags, params, None)
        seeds = self._settings.seeds or space.seeds
        replace_json(self._output / SPACE, replace(space, seeds=seeds).as_data())
        for file in (self._output / SPACE, self._corpus.folder / "manifest.json"):
            self.outbox.send(Update(self.sweep_id, file=file))
        for node in graph.to_train:
            config = self._without_credentials(node.config)
            tags = {**common_tags(config, node.recipe, self._corpus), "raysq.sweep": space.name}
            self._stages.open(node.stage, node.recipe, config, tags, self.sweep_id)
        for plan in graph.trials:
            self._open_trial(plan)

    def _open_trial(self, plan: TrialPlan) -> None:
        known = self._runs.get(_key(plan))
        if known and known.complete and finished(plan.judged):
            return
        trial, config = plan.trial, self._without_credentials(plan.config)
        last = trial.round == (self._settings.rounds if trial.member else 0)
        tags = {
            **common_tags(config, plan.recipe, self._corpus),
            "raysq.level": "trial" if last else "round",
            "raysq.sweep": self._space.name,
            "raysq.arm": trial.arm.label,
            "raysq.group": f"{self._space.name}: {group(trial.arm.label, config.task, trial.values)}",
            "raysq.final": plan.judged.spec.name,
            "raysq.configuration": plan.configuration,
            **{f"raysq.axis.{name}": as_typed(value) for name, value in trial.values.items()},
            **{f"raysq.stage.{s.spec.name}": str(s.record["run_id"]) for s in plan.stages},
        }
        name = run_name(trial.arm.label, config.task, trial.seed, trial.values)
        if trial.member:
            name += f" member {trial.member} round {trial.round}"
            tags |= {"raysq.member": str(trial.member), "raysq.round": str(trial.round)}
        self._opened(_key(plan), name, tags, flatten(config), self.sweep_id)

    def _opened(
        self,
        key: str,
        name: str,
        tags: Mapping[str, str],
        params: Mapping[str, Scalar],
        parent_id: str | None,
    ) -> str:
        """The run noted under a key, running again; a new one where MLflow does not have it."""
        run = self._runs.get(key)
        if run is not None and self._tracker.reopen(run.id):
            self.outbox.send(Update(run.id, tags={"raysq.state": ""}))  # an earlier one may be "not run"
        else:
            run = _Run(self._tracker.create_run(name, tags, params, parent_id))
            self._note(key, run)
        return run.id

    def _note(self, key: str, run: _Run) -> None:
        self._runs[key] = run
        runs = {key: asdict(run) for key, run in self._runs.items()}
        replace_json(self._output / RUNS, {"of": self._of, "store": self._store, "runs": runs})

    def close_stage(self, graph: Graph, node: Node, outcome: Outcome) -> None:
        """End the run of a stage that has ended, and those of the trials that it was the last stage of."""
        status: RunStatus = "FAILED" if outcome.state == "failed" else "FINISHED"
        self._stages.end(node.stage, status)
        for plan in (graph.trials[place] for place in node.trials):
            if plan.judged is node.stage:
                self._close_trial(plan, outcome, status)

    def close(self, graph: Graph, outcomes: Sequence[Outcome], status: RunStatus) -> None:
        """End every run that is open.

        ``outcomes``: of the trials; ``status``: of the sweep and of what it did not come to.
        """
        if not self.sweep_id:
            return  # nothing was opened
        for node in graph.nodes.values():
            self._stages.close(node.stage, status)
        for plan, outcome in zip(graph.trials, outcomes, strict=True):
            self._close_trial(plan, outcome, status)
        self.outbox.send(Update(self.sweep_id, status=status, ended=now()))
        if status != "FINISHED" and self.outbox.missing:  # else the end of the command says so
            _log.warning("%s", self.outbox.missing)

    def _close_trial(self, plan: TrialPlan, outcome: Outcome, status: RunStatus) -> None:
        run, judged = self._runs.get(_key(plan)), plan.judged
        if run is None or (run.complete and finished(judged)):
            return  # never opened, or closed before
        tags = {"raysq.state": outcome.state, "raysq.reason": outcome.reason}
        if not finished(judged):
            done = "FAILED" if status == "FINISHED" and outcome.state != "stopped" else status
            self.outbox.send(Update(run.id, tags=tags, status=done, ended=now()))
            return
        ended = ended_at(judged)
        points = tuple(_points(plan, self._space.metric, read_result(judged.spec.folder), ended))
        if self.outbox.send(Update(run.id, points, tags, status="FINISHED", ended=ended)):
            self._note(_key(plan), replace(run, complete=True))

    def run_ids(self, graph: Graph) -> list[str]:
        """Of the trials, in their order."""
        return [self._runs[_key(plan)].id for plan in graph.trials]

    def _without_credentials(self, config: TrainingConfig) -> TrainingConfig:
        uri = config.tracking_uri and without_credentials(config.tracking_uri)
        return config.model_copy(update={"tracking_uri": uri})


def _key(plan: TrialPlan) -> str:
    """A trial of these stages, and no other."""
    return f"{plan.trial.said} {plan.judged.spec.folder.name}"


def _points(plan: TrialPlan, metric: str, result: Mapping[str, Any], ended: int) -> list[Point]:
    """The judged stage's closing scores, and its dev scores by update: curves of trials can be compared."""
    shown = {f"dev/{name}" for name in (metric, *CURVES)}
    numbers = [
        Point(name, float(result[name]), result["updates"], ended)
        for name in ("updates", "seconds", "reward_calls")
        if name in result
    ]
    path = plan.judged.spec.folder / "journal.jsonl"
    curves: dict[tuple[str, int], Point] = {}
    for record in journal.read(path)[0] if path.exists() else ():
        for name, value in record.metrics.items():
            if name in shown:  # a replay counts once
                point = Point(name, value, record.step, int(record.time * 1000))
                curves.setdefault((name, record.step), point)
    return [*closing_scores(result, ended), *numbers, *curves.values()]
