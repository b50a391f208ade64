"""Runs a tune space: trials, their distinct stages, Ray Tune, MLflow, the table at the end."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from raysq.claim import claim
from raysq.cluster.connection import connection
from raysq.cluster.tuning import Halving, Outcome, Resources, Work, train_stages
from raysq.data.shards import Corpus
from raysq.delivery import Delivery
from raysq.files import replace_json
from raysq.places import Places
from raysq.recipe import Recipe
from raysq.records import RESULT
from raysq.sweep.forecast import forecast, most_updates
from raysq.sweep.graph import Graph, Node, TrialPlan, kind_of, known_rates
from raysq.sweep.plans import Configured, configured, planned
from raysq.sweep.runs import SweepRuns
from raysq.sweep.settings import TuneSettings
from raysq.sweep.show import Board, closing_table, forecast_table, forecast_text, wide
from raysq.sweep.space import Space
from raysq.tracking import RunStatus, Tracker, comparison_text
from raysq.training.job import job_of, workers_of
from raysq.training.state import read_result
from raysq.workflow import generated_data, given_data, try_proposals, version_of

FAILED = 1
"""Exit status of a sweep in which a stage failed; the others went on. A divergence is a result."""
OUTCOMES = "outcomes.json"
"""File of a sweep's output folder: how stages ended that left no result."""


def run(space: Space, settings: TuneSettings, recipe_named: Callable[[str], Recipe]) -> int:
    """Run a sweep to its end, reusing and resuming stages; returns the exit status."""
    logging.basicConfig(level=logging.INFO if settings.verbose else logging.WARNING, format="%(message)s")
    trials = configured(space, settings, recipe_named)
    places = Places.of(f"tune-{space.name}-{settings.task}", settings)
    config = trials[0][2]
    if settings.dry_run:
        corpus = given_data(config, places) or generated_data(config, places)
        found = planned(trials, places.store, corpus.digest, version_of(config, places))
        forecasts = forecast(found, places.store, corpus, settings.cpus_per_trial)
        at_a_time = settings.max_concurrent or max(1, len(os.sched_getaffinity(0)) // settings.cpus_per_trial)
        wide().print(forecast_table(found, forecasts))
        print(forecast_text(found, forecasts, at_a_time))
        return 0
    say = partial(Console(quiet=settings.quiet).print, highlight=False, soft_wrap=True)
    wanted = settings.model_copy(update={"num_learners": max(1, settings.num_learners)})
    if settings.num_learners == 0:
        wanted = wanted.model_copy(update={"device": "cuda" if settings.gpus_per_trial else "cpu"})
    with connection(wanted, say) as device:
        return Sweep(space, settings, places, trials, device).run()


class Sweep:
    """One run of a command: its places, its trials, what is known of them so far."""

    def __init__(
        self,
        space: Space,
        settings: TuneSettings,
        places: Places,
        trials: Sequence[Configured],
        device: str,
    ) -> None:
        self.space, self.settings, self.places = space, settings, places
        self.trials, self.device = trials, device

    def run(self) -> int:
        """Train what is to be trained, and record it; returns the exit status."""
        settings, places = self.settings, self.places
        # in this order a mistake about data or MLflow leaves nothing behind
        given = given_data(self.trials[0][2], places)
        tracker = Tracker(places.tracking_uri, settings.experiment)
        corpus = given or generated_data(self.trials[0][2], places)
        for recipe, config in {trial.arm.label: (r, c) for trial, r, c in self.trials}.values():
            try_proposals(recipe, config, corpus)
        claims = [claim(places.output, "the output folder", "wait for it, or give another --output-dir")]
        claims += [
            claim(node.folder, f"stage {node.name}", "wait for it, or give another --store-dir")
            for node in self._graph(corpus).to_train
        ]
        graph = self._graph(corpus)  # what another command has finished since is reused
        runs = SweepRuns(tracker, self.space, settings, corpus, places.output)
        ended: dict[Path, Outcome] = {}
        status: RunStatus = "FAILED"
        try:
            runs.open(graph)
            ended = self._train(graph, corpus, tracker, runs)
            status = "FINISHED"
        except KeyboardInterrupt as stop:
            status = "KILLED"
            stop.add_note("repeat the command to continue from the last checkpoints")
            raise
        finally:
            outcomes = [outcome_of(plan, ended) for plan in graph.trials]
            runs.close(graph, outcomes, status)
            for held in claims:
                held.close()
        self._conclude(graph, outcomes, tracker, runs)
        return FAILED if any(outcome.state == "failed" for outcome in ended.values()) else 0

    def _graph(self, corpus: Corpus) -> Graph:
        version = version_of(self.trials[0][2], self.places)
        return planned(self.trials, self.places.store, corpus.digest, version)

    def _train(self, graph: Graph, corpus: Corpus, tracker: Tracker, runs: SweepRuns) -> dict[Path, Outcome]:
        """Train; gives what became of every stage that was not finished before."""
        ended = self._known_outcomes(graph)
        todo = [node for node in graph.to_train if node.folder not in ended]
        board = Board(Console(quiet=self.settings.quiet), graph, corpus)
        delivery = Delivery(tracker, on_record=board.show)

        def changed(place: int, outcome: Outcome | None) -> None:
            node = todo[place]
            board.changed(node, outcome)
            if outcome is not None and outcome.state != "not run":
                runs.close_stage(graph, node, outcome)

        try:
            for node in todo:
                delivery.add(node.folder / "journal.jsonl", node.stage.record["run_id"])
            outcomes = []
            if todo:
                outcomes = train_stages(
                    self._works(graph, todo, corpus),
                    self._resources(),
                    self.places.output / "ray",
                    halving=self._halving(graph, corpus),
                    retries=self.settings.retries,
                    on_change=changed,
                    verbose=self.settings.verbose,
                )
        finally:
            board.close()
            delivery.close()
        ended |= {node.folder: o for node, o in zip(todo, outcomes, strict=True)}
        lasting = {
            f.name: o.reason for f, o in ended.items() if o.state == "diverged" and not (f / RESULT).exists()
        }
        replace_json(self.places.output / OUTCOMES, lasting)
        return ended

    def _known_outcomes(self, graph: Graph) -> dict[Path, Outcome]:
        """Stages that diverged before they had anything to keep, as they would again, and what needs them."""
        path = self.places.output / OUTCOMES
        known = json.loads(path.read_bytes()) if path.exists() else {}
        ended: dict[Path, Outcome] = {}
        for node in graph.to_train:
            lost = [parent for parent in node.parents if parent in ended]
            if lost:
                ended[node.folder] = Outcome("not run", f"{lost[0].name} {ended[lost[0]].state}")
            elif node.name in known:
                ended[node.folder] = Outcome("diverged", known[node.name])
        return ended

    def _works(self, graph: Graph, todo: Sequence[Node], corpus: Corpus) -> list[Work]:
        rates = known_rates(self.places.store)
        usual = max(rates.values(), default=1.0)
        seconds = {n.folder: most_updates(n, graph, corpus) * rates.get(kind_of(n), usual) for n in todo}
        remaining = graph.remaining_seconds(seconds)
        judged = {plan.judged.spec.folder for plan in graph.trials}
        numbers = {node.folder: place for place, node in enumerate(todo)}
        threads = self.settings.threads_per_learner or self.settings.cpus_per_trial
        return [
            Work(
                job_of(node.config, corpus.folder, [node.stage], self.device, threads),
                tuple(numbers[parent] for parent in node.parents if parent in numbers),
                remaining[node.folder],
                scheduled=self.settings.scheduler == "asha" and node.folder in judged,
            )
            for node in todo
        ]

    def _halving(self, graph: Graph, corpus: Corpus) -> Halving | None:
        """How judged stages are stopped early, if at all."""
        if self.settings.scheduler == "none":
            return None
        judged = [graph.nodes[plan.judged.spec.folder] for plan in graph.trials]
        _, mode = judged[0].stage.spec.algorithm.selection
        epochs = [
            most_updates(node, graph, corpus)
            / math.ceil(len(corpus.splits["train"]) / node.stage.spec.algorithm.batch_size)
            for node in judged
        ]
        return Halving(mode, max(epochs))

    def _resources(self) -> Resources:
        settings = self.settings
        nested = workers_of(self.trials[0][2]) if settings.num_learners else None
        return Resources(settings.cpus_per_trial, settings.gpus_per_trial, settings.max_concurrent, nested)

    def _conclude(self, graph: Graph, outcomes: Sequence[Outcome], tracker: Tracker, runs: SweepRuns) -> None:
        """result.json, the table, and where to look."""
        rows = [_row(plan, outcome) for plan, outcome in zip(graph.trials, outcomes, strict=True)]
        run_ids = runs.run_ids(graph)
        rows = [row | {"run_id": run_id} for row, run_id in zip(rows, run_ids, strict=True)]
        result = {
            "space": self.space.name,
            "task": self.settings.task,
            "run_id": runs.sweep_id,
            "stages": len(graph.nodes),
            "stages_trained": len(graph.to_train),
            "trials": rows,
        }
        replace_json(self.places.output / RESULT, result)
        (self.places.output / "attempt").unlink(missing_ok=True)
        wide().print(closing_table(rows))
        print(f"results: {self.places.output / RESULT}")
        print(comparison_text(tracker.uri, tracker.experiment_id, run_ids))


def outcome_of(plan: TrialPlan, ended: Mapping[Path, Outcome]) -> Outcome:
    """What became of a trial: of the stage that is judged."""
    folder = plan.judged.spec.folder
    if (folder / RESULT).exists():
        result = read_result(folder)
        return Outcome(result["state"], result["stopped_by"])
    return ended.get(folder, Outcome("not run", "the sweep ended first"))


def _row(plan: TrialPlan, outcome: Outcome) -> dict[str, Any]:
    """A trial's entry of result.json."""
    trial, judged = plan.trial, plan.judged.spec
    row = {
        "arm": trial.arm.label,
        "values": dict(trial.values),
        "seed": trial.seed,
        "state": outcome.state,
        "reason": outcome.reason,
        "stage": judged.name,
        "folder": str(judged.folder),
    }
    if (judged.folder / RESULT).exists():
        result = read_result(judged.folder)
        row |= {key: result[key] for key in ("dev", "test", "updates", "best_update", "seconds")}
    return row
