"""Runs a tune space: trials, their distinct stages, Ray Tune, MLflow, the table at the end."""

from __future__ import annotations

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
from raysq.cluster.ready import UNREACHED, Outcome, Work
from raysq.cluster.tuning import Halving, Resources, train_stages
from raysq.data.shards import Corpus
from raysq.delivery import Delivery, Undelivered
from raysq.files import replace_json
from raysq.places import Places
from raysq.recipe import Recipe
from raysq.records import RESULT
from raysq.sweep.forecast import forecast, most_updates
from raysq.sweep.graph import Graph, Node, TrialPlan, kind_of, known_rates
from raysq.sweep.outcomes import Outcomes
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


def run(space: Space, settings: TuneSettings, recipe_named: Callable[[str], Recipe]) -> int:
    """Run a sweep to its end, reusing and resuming stages; returns the exit status."""
    logging.basicConfig(level=logging.INFO if settings.verbose else logging.WARNING, format="%(message)s")
    trials = configured(space, settings, recipe_named)
    places = Places.of(f"tune-{space.name}-{settings.task}", settings)
    config = trials[0][2]
    if settings.dry_run:
        corpus = given_data(config, places) or generated_data(config, places)
        begun = config.reuse != "never" or (places.output / "attempt").exists()
        version = version_of(config, places) if begun else ""  # nothing is written down
        found = planned(trials, places.store, corpus.digest, version)
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
        known = Outcomes(places.output, graph, settings.scheduler)
        undelivered: list[Undelivered] = []
        status: RunStatus = "FAILED"
        try:
            runs.open(graph)
            undelivered = self._train(graph, known, corpus, tracker, runs)
            status = "FINISHED"
        except KeyboardInterrupt as stop:
            status = "KILLED"
            stop.add_note("repeat the command to continue from the last checkpoints")
            raise
        finally:
            outcomes = [outcome_of(plan, known.ended) for plan in graph.trials]
            runs.close(graph, outcomes, status)
            for held in claims:
                held.close()
        failed = UNREACHED in outcomes or any(o.state == "failed" for o in known.ended.values())
        self._conclude(graph, outcomes, tracker, runs, failed=failed)
        for line in undelivered:
            print(f"warning: {line}")
        return FAILED if failed else 0

    def _graph(self, corpus: Corpus) -> Graph:
        version = version_of(self.trials[0][2], self.places)
        return planned(self.trials, self.places.store, corpus.digest, version)

    def _train(
        self, graph: Graph, known: Outcomes, corpus: Corpus, tracker: Tracker, runs: SweepRuns
    ) -> list[Undelivered]:
        """Train what has not ended; gives the metrics that MLflow did not take."""
        todo = [node for node in graph.to_train if node.folder not in known.ended]
        board = Board(Console(quiet=self.settings.quiet), graph, corpus)
        delivery = Delivery(tracker, on_record=board.show)

        def changed(place: int, outcome: Outcome | None) -> None:
            node = todo[place]
            board.changed(node, outcome)
            if outcome is not None:
                known.note(node.folder, outcome)
                if outcome.state != "not run":
                    runs.close_stage(graph, node, outcome)

        try:
            for node in graph.nodes.values():  # those of an earlier command that MLflow missed, too
                if not node.stage.record.get("closed"):
                    delivery.add(node.folder / "journal.jsonl", node.stage.record["run_id"])
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
                known.ended |= {node.folder: o for node, o in zip(todo, outcomes, strict=True)}
        finally:
            board.close()
            undelivered = delivery.close()
        return undelivered

    def _works(self, graph: Graph, todo: Sequence[Node], corpus: Corpus) -> list[Work]:
        rates = known_rates(self.places.store)
        usual = max(rates.values(), default=1.0)
        seconds = {n.folder: most_updates(n, graph, corpus) * rates.get(kind_of(n), usual) for n in todo}
        remaining = graph.remaining_seconds(seconds)
        parents = {parent for node in graph.nodes.values() for parent in node.parents}
        # what others start from is trained to its end, whoever judges it
        judged = {plan.judged.spec.folder for plan in graph.trials} - parents
        judged = judged if self.settings.scheduler != "none" else set()
        numbers = {node.folder: place for place, node in enumerate(todo)}
        threads = self.settings.threads_per_learner or self.settings.cpus_per_trial
        return [
            Work(
                job_of(node.config, corpus.folder, [node.stage], self.device, threads),
                tuple(numbers[parent] for parent in node.parents if parent in numbers),
                remaining[node.folder],
                told_until=self._epochs(node, graph, corpus) if node.folder in judged else 0.0,
            )
            for node in todo
        ]

    def _halving(self, graph: Graph, corpus: Corpus) -> Halving | None:
        """How judged stages are stopped early, if at all."""
        if self.settings.scheduler == "none":
            return None
        judged = [graph.nodes[plan.judged.spec.folder] for plan in graph.trials]
        _, mode = judged[0].stage.spec.algorithm.selection
        return Halving(mode, max(self._epochs(node, graph, corpus) for node in judged))

    def _epochs(self, node: Node, graph: Graph, corpus: Corpus) -> float:
        """Length of a stage's schedule."""
        batches = math.ceil(len(corpus.splits["train"]) / node.stage.spec.algorithm.batch_size)
        return most_updates(node, graph, corpus) / batches

    def _resources(self) -> Resources:
        settings = self.settings
        nested = workers_of(self.trials[0][2]) if settings.num_learners else None
        return Resources(settings.cpus_per_trial, settings.gpus_per_trial, settings.max_concurrent, nested)

    def _conclude(
        self, graph: Graph, outcomes: Sequence[Outcome], tracker: Tracker, runs: SweepRuns, *, failed: bool
    ) -> None:
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
        if not failed:  # else the same command makes up for it
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
    return ended.get(folder, UNREACHED)


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
