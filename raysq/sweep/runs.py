"""The MLflow runs of a sweep: the sweep's, and below it one for every trial and every stage it trains."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from raysq.cluster.ready import Outcome
from raysq.config import Scalar, UserError, as_typed, flatten
from raysq.data.shards import Corpus
from raysq.files import replace_json
from raysq.mlflow_runs import StageRuns, closing_scores, common_tags, finished
from raysq.mlflow_views import view_tags
from raysq.naming import group, run_name
from raysq.recipe import TrainingConfig
from raysq.sweep.graph import Graph, Node, TrialPlan
from raysq.sweep.settings import TuneSettings
from raysq.sweep.space import Space
from raysq.tracking import Point, RunStatus, Tracker, source_tags, without_credentials
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


class SweepRuns:
    """Runs of one sweep; the same command finds them again, finished ones too."""

    def __init__(
        self, tracker: Tracker, space: Space, settings: TuneSettings, corpus: Corpus, output: Path
    ) -> None:
        self._tracker, self._space, self._settings = tracker, space, settings
        self._corpus, self._output = corpus, output
        self._stages = StageRuns(tracker)
        self._of = {"space": space.name, "task": settings.task}
        self._store = {"uri": without_credentials(tracker.uri), "experiment": settings.experiment}
        self._runs: dict[str, _Run] = {}
        path = output / RUNS
        if path.exists():
            self._restore(path)
        self.sweep_id = ""

    def _restore(self, path: Path) -> None:
        """The runs of earlier commands. Raises UserError where the folder is another sweep's."""
        noted = json.loads(path.read_bytes())
        if noted["of"] != self._of:
            raise UserError(
                f"--output-dir {path.parent} holds the sweep of space {noted['of']['space']} on task "
                f"{noted['of']['task']}: give another"
            )
        if noted["store"] == self._store:  # another store knows nothing of them
            self._runs = {key: _Run(**run) for key, run in noted["runs"].items()}

    def open(self, graph: Graph) -> None:
        """Open the sweep's run, those of its stages that are trained now, and those of its trials."""
        self._tracker.tag_experiment(view_tags())
        space, task = self._space, self._settings.task
        tags = {
            "raysq.level": "sweep",
            "raysq.sweep": space.name,
            "raysq.task": task,
            "raysq.data": self._corpus.digest,
            "raysq.data_dir": str(self._corpus.folder),
            **source_tags(Path(__file__).parents[2]),
        }
        params = {
            key: value if key != "tracking_uri" else without_credentials(str(value))
            for key, value in flatten(self._settings).items()
        }
        self.sweep_id = self._opened("sweep", f"{space.name} {task}", tags, params, None)
        seeds = self._settings.seeds or space.seeds
        replace_json(self._output / SPACE, replace(space, seeds=seeds).as_data())
        self._tracker.log_artifact(self.sweep_id, self._output / SPACE)
        self._tracker.log_artifact(self.sweep_id, self._corpus.folder / "manifest.json")
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
            self._tracker.set_tags(run.id, {"raysq.state": ""})  # an earlier command's may be "not run"
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
        judged = [graph.trials[place] for place in node.trials if graph.trials[place].judged is node.stage]
        if not (
            self._stages.end(node.stage, status)
            and all(self._close_trial(t, outcome, status) for t in judged)
        ):
            _log.warning("MLflow does not have all of stage %s; the same command brings the rest", node.name)

    def close(self, graph: Graph, outcomes: Sequence[Outcome], status: RunStatus) -> None:
        """End every run that is open. Where MLflow is away the same command brings the rest.

        ``outcomes``: of the trials; ``status``: of the sweep and of what it did not come to.
        """
        if not self.sweep_id:
            return  # nothing was opened
        stages = [node.stage for node in graph.nodes.values()]
        complete = (
            all(self._stages.end(s, status) and (not finished(s) or self._stages.attach(s)) for s in stages)
            and all(
                self._close_trial(plan, outcome, status)
                for plan, outcome in zip(graph.trials, outcomes, strict=True)
            )
            and self._tracker.finish(self.sweep_id, status)
        )
        if not complete:
            _log.warning("MLflow does not have all of these runs; the same command brings the rest")

    def _close_trial(self, plan: TrialPlan, outcome: Outcome, status: RunStatus) -> bool:
        run = self._runs.get(_key(plan))
        if run is None or (run.complete and finished(plan.judged)):
            return True  # never opened, or closed before
        if finished(plan.judged):
            points = _points(plan, self._space.metric, read_result(plan.judged.spec.folder))
            if not self._tracker.log_results(run.id, points):
                return False
            done: RunStatus = "FINISHED"
        else:
            done = "FAILED" if status == "FINISHED" and outcome.state != "stopped" else status
        tags = {"raysq.state": outcome.state, "raysq.reason": outcome.reason}
        closed = self._tracker.finish(run.id, done, tags)
        if closed and finished(plan.judged):
            self._note(_key(plan), replace(run, complete=True))
        return closed

    def run_ids(self, graph: Graph) -> list[str]:
        """Of the trials, in their order."""
        return [self._runs[_key(plan)].id for plan in graph.trials]

    def _without_credentials(self, config: TrainingConfig) -> TrainingConfig:
        uri = config.tracking_uri and without_credentials(config.tracking_uri)
        return config.model_copy(update={"tracking_uri": uri})


def _key(plan: TrialPlan) -> str:
    """A trial of these stages, and no other."""
    return f"{plan.trial.said} {plan.judged.spec.folder.name}"


def _points(plan: TrialPlan, metric: str, result: Mapping[str, Any]) -> list[Point]:
    """The judged stage's closing scores, and its dev scores by update: curves of trials can be compared."""
    shown = {f"dev/{name}" for name in (metric, *CURVES)}
    closing = list(closing_scores(result))
    now = closing[0].milliseconds if closing else 0
    numbers = [
        Point(name, float(result[name]), result["updates"], now)
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
    return [*closing, *numbers, *curves.values()]
