"""Runs a tune space: trials, their distinct stages, Ray Tune, MLflow, the table at the end."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from raysq.addresses import written
from raysq.claim import claim
from raysq.cluster.connection import connection
from raysq.cluster.ready import Outcome, Work
from raysq.cluster.run_storage import check_shared
from raysq.cluster.tuning import Halving, Resources, train_stages
from raysq.delivery import Delivery
from raysq.files import replace_json
from raysq.logs import begin_command, enter
from raysq.mlflow_views import comparison_text
from raysq.places import Places
from raysq.recipe import PlannedStage, Recipe, Segment
from raysq.records import RESULT
from raysq.storage import pull, push
from raysq.sweep.forecast import forecast, most_updates, whole_schedule
from raysq.sweep.graph import Graph, Node, judged_stage, kind_of, known_rates
from raysq.sweep.outcomes import Outcomes
from raysq.sweep.plans import Configured, Trials, planned
from raysq.sweep.population import first_round, next_round
from raysq.sweep.results import UNREACHED, last_score, outcome_of, row_of
from raysq.sweep.runs import SweepRuns
from raysq.sweep.settings import TuneSettings
from raysq.sweep.show import Board, best_text, closing_table, forecast_table, forecast_text, wide
from raysq.sweep.space import Space
from raysq.terminal import terminal
from raysq.tracking import RunStatus, Tracker
from raysq.training.job import Job, job_of, places_of, workers_of
from raysq.training.sharing import Journals, pushed
from raysq.workflow import generated_data, given_data, try_proposals, version_of

FAILED = 1
"""Exit status of a sweep in which a stage failed; the others went on. A divergence is a result."""


def run(space: Space, settings: TuneSettings, recipe_named: Callable[[str], Recipe]) -> int:
    """Run a sweep to its end, reusing and resuming stages; returns the exit status."""
    begin_command(settings.log_format, verbose=settings.verbose)
    trials = Trials(space, settings, recipe_named)
    if settings.scheduler == "pbt":
        first_round(trials.all())  # its mistakes are told before anything begins
    places = Places.of(f"tune-{space.name}-{settings.task}", settings)
    if settings.dry_run:
        _forecast(trials.all(), settings, places)
        return 0
    say = terminal(quiet=settings.quiet).print
    wanted = settings.model_copy(update={"num_learners": max(1, settings.num_learners)})
    if settings.num_learners == 0:
        wanted = wanted.model_copy(update={"device": "cuda" if settings.gpus_per_trial else "cpu"})
    with connection(wanted, say, _places(trials.all())) as device:
        check_shared(places)
        return Sweep(space, settings, places, trials, device).run()


def _places(trials: Sequence[Configured]) -> int:
    """What the workers of one stage at a time take, at most, of ``--worker-resource``."""
    return max(
        places_of(config, [stage.algorithm for stage in recipe.stages_of(config)])
        for _, recipe, config in trials
    )


def _forecast(trials: Sequence[Configured], settings: TuneSettings, places: Places) -> None:
    """Print the distinct stages and how long they may take; a population's rounds are one schedule each."""
    config = trials[0][2]
    corpus = given_data(config, places) or generated_data(config, places)
    begun = config.reuse != "never" or (places.output / "attempt").exists()
    version = version_of(config, places) if begun else ""  # nothing is written down
    found = planned(trials, places.store, corpus.digest, version)
    forecasts = forecast(found, places.store, corpus, settings.cpus_per_trial)
    at_a_time = settings.max_concurrent or max(1, len(os.sched_getaffinity(0)) // settings.cpus_per_trial)
    wide().print(forecast_table(found, forecasts))
    print(forecast_text(found, forecasts, at_a_time))


@dataclass(frozen=True, slots=True)
class Trained:
    """Trials that were trained together, and what became of them."""

    graph: Graph
    outcomes: list[Outcome]
    """Of the trials."""
    failed: bool
    """Whether a stage failed, or was not come to."""


class Sweep:
    """One run of a command: its places, its trials, its data and its runs in MLflow."""

    def __init__(
        self, space: Space, settings: TuneSettings, places: Places, trials: Trials, device: str
    ) -> None:
        self.settings, self.places = settings, places
        self.trials, self.device = trials, device
        self.first = trials.all()
        config = self.first[0][2]
        self.space = space.scored_by(config.decoding.scoring)
        # in this order a mistake about data or MLflow leaves nothing behind
        given = given_data(config, places)
        self.tracker = Tracker(places.tracking_uri, settings.experiment)
        self.corpus = given or generated_data(config, places)
        for recipe, config in {trial.arm.label: (r, c) for trial, r, c in self.first}.values():
            try_proposals(recipe, config, self.corpus)

    def run(self) -> int:
        """Train what is to be trained, and record it; returns the exit status."""
        held = claim(self.places.output, "the output folder", "wait for it, or give another --output-dir")
        with closing(held):
            pull(self.places.output)
            with pushed(self.places.output):
                runs = SweepRuns(self.tracker, self.space, self.settings, self.corpus, self.places.output)
                rounds = self._population if self.settings.scheduler == "pbt" else self._grid
                done = list(rounds(runs))
        failed = any(trained.failed for trained in done)
        self._conclude(done, runs, failed=failed)
        return FAILED if failed else 0

    def _grid(self, runs: SweepRuns) -> Iterator[Trained]:
        """All trials, each to its end."""
        yield self._trained(runs, self.first)

    def _population(self, runs: SweepRuns) -> Iterator[Trained]:
        """The rounds of population based training."""
        rounds = self.settings.rounds
        members = first_round(self.first)
        donors: list[PlannedStage | None] = [None] * len(members)
        for number in range(1, rounds + 1):
            trials = [self.trials.configured(member) for member in members]
            segments = []
            for (trial, recipe, config), donor in zip(trials, donors, strict=True):
                name = judged_stage(trial, recipe)
                updates = whole_schedule(getattr(config, name), self.corpus)
                segments.append(Segment(name, updates * number // rounds, donor))
            trained = self._trained(runs, trials, segments)
            yield trained
            plans = trained.graph.trials
            _, mode = plans[0].judged.spec.algorithm.selection
            found = next_round(self.space.name, members, [last_score(plan) for plan in plans], mode)
            if not found:
                return
            members = [member for member, _ in found]
            donors = [plans[place].judged for _, place in found]

    def _trained(
        self, runs: SweepRuns, trials: Sequence[Configured], segments: Sequence[Segment] = ()
    ) -> Trained:
        """Train what of these trials has not ended, and record it."""
        claims = [
            claim(node.folder, f"stage {node.name}", "wait for it, or give another --store-dir")
            for node in self._graph(trials, segments).to_train
        ]
        graph = self._graph(trials, segments)  # what another command has finished since is reused
        known = Outcomes(self.places.output, graph, self.settings.scheduler)
        status: RunStatus = "FAILED"
        try:
            runs.open(graph)
            enter(run=runs.sweep_id)
            self._train(graph, known, runs)
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
        return Trained(graph, outcomes, failed)

    def _graph(self, trials: Sequence[Configured], segments: Sequence[Segment]) -> Graph:
        version = version_of(self.first[0][2], self.places)
        return planned(trials, self.places.store, self.corpus.digest, version, segments)

    def _train(self, graph: Graph, known: Outcomes, runs: SweepRuns) -> None:
        """Train what has not ended."""
        todo = [node for node in graph.to_train if node.folder not in known.ended]
        board = Board(terminal(quiet=self.settings.quiet), graph, self.corpus)
        delivery, journals = Delivery(self.tracker, on_record=board.show), Journals(self.places.output)

        def changed(place: int, outcome: Outcome | None) -> None:
            node = todo[place]
            board.changed(node, outcome)
            if outcome is not None:
                pull(node.folder, tensors=False)
                known.note(node.folder, outcome)
                if outcome.state != "not run":
                    runs.close_stage(graph, node, outcome)

        try:
            for node in graph.nodes.values():  # those of an earlier command that MLflow missed, too
                if not node.stage.record.get("closed"):
                    delivery.add(journals.of(node.folder), node.stage.record["run_id"])
            if todo:
                with journals.followed():
                    outcomes = train_stages(
                        self._works(graph, todo),
                        self._resources(),
                        self.places.output / "ray",
                        halving=self._halving(graph),
                        retries=self.settings.retries,
                        on_change=changed,
                        verbose=self.settings.verbose,
                    )
                known.ended |= {node.folder: o for node, o in zip(todo, outcomes, strict=True)}
        finally:
            board.close()
            runs.outbox.keep(delivery.close())
            for node in graph.to_train:
                pull(node.folder, tensors=False)

    def _works(self, graph: Graph, todo: Sequence[Node]) -> list[Work]:
        rates = known_rates(self.places.store)
        usual = max(rates.values(), default=1.0)
        seconds = {n.folder: most_updates(n, graph, self.corpus) * rates.get(kind_of(n), usual) for n in todo}
        remaining = graph.remaining_seconds(seconds)
        parents = {parent for node in graph.nodes.values() for parent in node.parents}
        # what others start from is trained to its end, whoever judges it
        judged = {plan.judged.spec.folder for plan in graph.trials} - parents
        judged = judged if self.settings.scheduler == "asha" else set()
        numbers = {node.folder: place for place, node in enumerate(todo)}
        threads = self.settings.threads_per_learner or self.settings.cpus_per_trial
        return [
            Work(
                self._job(node, threads),
                tuple(numbers[parent] for parent in node.parents if parent in numbers),
                remaining[node.folder],
                told_until=self._epochs(node, graph) if node.folder in judged else 0.0,
            )
            for node in todo
        ]

    def _job(self, node: Node, threads: int) -> Job:
        """Of a stage, for its own run in MLflow: other trials have stages of the same name."""
        run = node.stage.record["run_id"]
        return job_of(node.config, self.corpus.folder, [node.stage], self.device, threads, run)

    def _halving(self, graph: Graph) -> Halving | None:
        """How judged stages are stopped early, if at all."""
        if self.settings.scheduler != "asha":
            return None
        judged = [graph.nodes[plan.judged.spec.folder] for plan in graph.trials]
        _, mode = judged[0].stage.spec.algorithm.selection
        return Halving(mode, max(self._epochs(node, graph) for node in judged))

    def _epochs(self, node: Node, graph: Graph) -> float:
        """Length of a stage's schedule."""
        batches = math.ceil(len(self.corpus.splits["train"]) / node.stage.spec.algorithm.batch_size)
        return most_updates(node, graph, self.corpus) / batches

    def _resources(self) -> Resources:
        settings = self.settings
        nested = workers_of(self.first[0][2]) if settings.num_learners else None
        return Resources(
            settings.cpus_per_trial,
            settings.gpus_per_trial,
            settings.max_concurrent,
            nested,
            _places(self.first),
        )

    def _conclude(self, done: Sequence[Trained], runs: SweepRuns, *, failed: bool) -> None:
        """result.json, the table, and where to look."""
        rows = []
        for trained in done:
            ids = runs.run_ids(trained.graph)
            for plan, outcome, run_id in zip(trained.graph.trials, trained.outcomes, ids, strict=True):
                rows.append(row_of(plan, outcome) | {"run_id": run_id})
        result = {
            "space": self.space.name,
            "task": self.settings.task,
            "run_id": runs.sweep_id,
            "stages": len({folder for trained in done for folder in trained.graph.nodes}),
            "stages_trained": sum(len(trained.graph.to_train) for trained in done),
            "trials": rows,
        }
        replace_json(self.places.output / RESULT, result)
        if not failed:  # else the same command makes up for it
            (self.places.output / "attempt").unlink(missing_ok=True)
        push(self.places.output)
        wide().print(closing_table(rows))
        if self.space.searches:
            print(best_text(rows, self.space))
        print(f"results: {written(self.places.output / RESULT)}")
        run_ids = [row["run_id"] for row in rows]
        print(comparison_text(self.tracker.uri, self.tracker.experiment_id, run_ids))
        if runs.outbox.missing:
            print(f"warning: {runs.outbox.missing}", file=sys.stderr)
