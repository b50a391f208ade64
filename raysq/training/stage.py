"""The loop of a stage: updates, evaluations at fixed updates, decay and stopping, checkpoints, exact resume.

The state of a stage is its networks, its optimisers and a few numbers (``Progress``); everything random is a
function of (seed, stage, update), so continuing from a checkpoint equals never having stopped.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysq.algorithms.moment import Moment
from raysq.config import NetworkConfig, UserError
from raysq.data.shards import Corpus
from raysq.disk import full_disk_told
from raysq.evaluation import Evaluator
from raysq.records import RESULT
from raysq.training import checkpoint, memory
from raysq.training.closing import account, closing_scores, write_result
from raysq.training.collective import Collective
from raysq.training.journal import Journal
from raysq.training.noise import gradient_noise
from raysq.training.order import Order
from raysq.training.samples import MakeSource
from raysq.training.selection import judge
from raysq.training.spec import StageSpec
from raysq.training.state import Progress, StageState, load_network, make_networks, read_result
from raysq.training.step import Diverged, Step
from raysq.training.window import Observe, add, averages, unobserved
from raysq.types import Batch

log = logging.getLogger(__name__)

LOG_EVERY = 20
"""Updates averaged in one line of the journal."""
NAMED = 8
"""Examples that the message of a divergence names; result.json has all of the batch."""
CHECKPOINTS = "checkpoints"
PREPARATION = "preparation"
"""Folder of a stage that holds the vocabularies and how its data was prepared: a model can leave with it."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a learner gives every stage it runs."""

    corpus: Corpus
    network: NetworkConfig
    evaluator: Evaluator
    make_source: MakeSource
    """Makes what draws and scores a stage's samples."""
    collective: Collective
    device: str
    checkpoint_seconds: float
    gradient_accumulation: int = 1
    """Parts of a learner's slice of a batch."""
    max_staleness: int = 0
    """Updates by which the policy that samples are drawn from may lag behind."""
    report: Callable[[Mapping[str, float], Path], None] = lambda metrics, folder: None
    """Called by every learner at every evaluation with its metrics and the stage's folder."""
    observe: Observe = unobserved
    """Called by every learner with the updates since the last call."""
    elastic: bool = False
    """Whether the number of learners may change: the journal has it whenever they begin."""


def run_stage(spec: StageSpec, surroundings: Surroundings) -> dict[str, Any]:
    """Train a stage to its end, from its latest checkpoint if there is one, and score its best checkpoint.

    Returns:
        The stage's entry of result.json, written to ``result.json`` in its folder too.
    """
    collective, folder = surroundings.collective, spec.folder
    with full_disk_told(folder), ExitStack() as held:
        leads = collective.rank == 0
        journal = held.enter_context(Journal(folder / "journal.jsonl")) if leads else None
        collective.wait(surroundings.device)  # for the journal: nobody else writes to the folder any more
        if (folder / RESULT).exists():  # finished before this process was restarted
            return read_result(folder)
        writer = held.enter_context(checkpoint.CheckpointWriter(folder / CHECKPOINTS)) if leads else None
        return _StageRun(spec, surroundings, journal, writer).train_and_score()


class _StageRun:
    """One learner's share of a stage; rank 0 has the journal and writes the checkpoints."""

    def __init__(
        self,
        spec: StageSpec,
        surroundings: Surroundings,
        journal: Journal | None,
        writer: checkpoint.CheckpointWriter | None,
    ) -> None:
        self.spec, self.around = spec, surroundings
        self.journal, self.writer = journal, writer
        self.leads = surroundings.collective.rank == 0
        algorithm = spec.algorithm
        self.networks = make_networks(
            surroundings.corpus,
            surroundings.network,
            algorithm,
            {"policy": spec.policy_from, "critic": spec.critic_from},
            seed=spec.seed,
            stage=spec.name,
            device=surroundings.device,
            max_staleness=surroundings.max_staleness,
        )
        self.source = surroundings.make_source(algorithm, self.networks)
        self.step = Step(algorithm, self.networks, self.source, surroundings.collective)
        self.progress = Progress()
        vocabularies = surroundings.corpus.preparation.vocabulary_digests
        self.state = StageState(self.networks, self.step.optimizers, self.progress, vocabularies)
        self.order = Order(
            surroundings.corpus.splits["train"],
            algorithm.batch_size,
            spec.seed,
            surroundings.collective,
            surroundings.gradient_accumulation,
        )
        self.evaluate_every = algorithm.evaluate_every or self.order.batches_per_epoch
        self.limit = self._limit()
        self.upcoming: deque[tuple[list[Batch], Moment]] = deque()
        saved = checkpoint.latest(spec.folder / CHECKPOINTS)
        if saved is not None:
            self.state.restore(saved)
            log.info("stage %s continues from update %d", spec.name, self.progress.update)
        elif spec.continues is not None:
            self.state.restore(_end_of(spec.continues))
            self.progress.begin_segment()
        if self.leads:
            surroundings.corpus.preparation.save(spec.folder / PREPARATION)
        self.saved_at = time.monotonic()

    def _limit(self) -> int:
        """Number of updates at which the stage ends at the latest."""
        algorithm = self.spec.algorithm
        if self.spec.updates_of is not None:
            return int(read_result(self.spec.updates_of)["updates"])
        most = algorithm.most_updates(self.order.batches_per_epoch)
        return min(most, self.spec.until or most)

    # -- the loop

    def train_and_score(self) -> dict[str, Any]:
        progress = self.progress
        try:
            self._train()
        except Diverged as error:
            progress.diverged, progress.stopped_by = True, str(error)
            self._name_batch(max(0, progress.update - self._evaluation_due()))
        if self.writer is not None:
            self.writer.wait()
        self.around.collective.wait(self.around.device)
        with memory.evaluation(self.spec, self.around.evaluator.decoding):
            return self._score_best()

    def _train(self) -> None:
        """Update until something ends the stage: ``progress.stopped_by``."""
        progress, around = self.progress, self.around
        if around.elastic and self.journal is not None:
            self.journal.write(progress.update, {"learners": around.collective.world_size})
        while not progress.stopped_by:
            if self._evaluation_due():
                with memory.evaluation(self.spec, around.evaluator.decoding):
                    self._evaluate()
            elif progress.update >= self.limit:
                progress.stopped_by = f"all of {progress.update} updates done"
            else:
                with memory.training(self.spec, around.gradient_accumulation):
                    self._update()
                if time.monotonic() - self.saved_at > around.checkpoint_seconds:
                    self._save(best=False)

    def _evaluation_due(self) -> bool:
        at, algorithm = self.progress.update, self.spec.algorithm
        if at == self.progress.evaluated:
            return False
        if at == 0:
            return self.spec.policy_from is not None and "policy" in algorithm.trains
        return at % self.evaluate_every == 0 or at >= self.limit

    def _next_evaluation(self) -> int:
        """First update above this one that an evaluation comes before."""
        return min((self.progress.update // self.evaluate_every + 1) * self.evaluate_every, self.limit)

    def _update(self) -> None:
        started, progress = time.monotonic(), self.progress
        parts, moment = self._next()
        metrics = self.step.run(parts, moment)
        progress.update += 1
        waited, learners = metrics["waited"]
        progress.waited_seconds += waited / learners
        progress.tokens += metrics["tokens"][0]
        progress.reward_calls += metrics.pop("scored")[0]
        elapsed = time.monotonic() - started
        progress.update_seconds += elapsed
        progress.seconds += elapsed
        metrics["seconds"] = (elapsed, 1.0)
        add(progress.window, metrics)
        if progress.update % LOG_EVERY == 0:
            self._log_window()

    def _next(self) -> tuple[list[Batch], Moment]:
        """The batch of this update; those that follow before the next evaluation are announced ahead."""
        update = self.progress.update
        last = min(update + self.source.look_ahead(update), self._next_evaluation() - 1)
        for ahead in range(update + len(self.upcoming), last + 1):
            parts, moment = self.order.parts(ahead), self._moment(ahead, self.progress.decays)
            self.source.announce(parts, moment)
            self.upcoming.append(([part.to(self.around.device) for part in parts], moment))
        return self.upcoming.popleft()

    def _moment(self, update: int, decays: int) -> Moment:
        return Moment(self.spec.seed, self.spec.name, update, *self.order.place(update), decays)

    def _name_batch(self, update: int) -> None:
        """Say where the stage diverged: at an update, with the examples of its global batch."""
        ids = self.progress.diverged_on = self.order.example_ids(update).tolist()
        named = ", ".join(map(str, ids[:NAMED])) + (" ..." if len(ids) > NAMED else "")
        self.progress.stopped_by += f" at update {update} (training examples {named})"

    def _log_window(self) -> None:
        """One journal line: metrics averaged over the updates since the last."""
        window, self.progress.window = self.progress.window, {}
        if not window:
            return
        self.around.observe(window["seconds"][1], window["tokens"][0])
        if self.journal is not None:
            epoch = self.progress.update / self.order.batches_per_epoch
            self.journal.write(self.progress.update, averages(window) | {"epoch": epoch})

    # -- evaluation, decay and stopping

    def _evaluate(self) -> None:
        """Score the dev split at this update and act on it, before the checkpoint that records it."""
        started, progress, algorithm = time.monotonic(), self.progress, self.spec.algorithm
        scoring = self.around.evaluator.decoding.scoring
        self._log_window()
        scores = self._dev_scores()
        name = algorithm.selection_by(scoring)[0]
        if not math.isfinite(scores[name]):
            raise Diverged(f"dev {name} is {scores[name]}")
        verdict = judge(
            progress,
            algorithm,
            scoring,
            float(scores[name]),
            scores.get("sample_bleu") if "policy" in algorithm.trains else None,
            fresh=self.spec.policy_from is None,
            bounded=self.spec.updates_of is not None,
        )
        if progress.diverged:
            self._name_batch(progress.update - 1)
        if verdict.best:
            progress.best_decays = progress.decays
        if progress.update == 0:  # the actor that others may have started from, too
            progress.first_noise = self._gradient_noise(0, progress.decays)
        progress.seconds += time.monotonic() - started
        numbers = {f"dev/{k}": v for k, v in scores.items() if isinstance(v, float)}
        assert progress.best_score is not None
        numbers["dev/best"] = progress.best_score
        numbers["epoch"] = progress.update / self.order.batches_per_epoch
        numbers["seconds"], numbers["reward_calls"] = progress.seconds, progress.reward_calls
        if self.journal is not None:
            self.journal.write(progress.update, numbers)
            self.journal.sync()
        if algorithm.restores:
            self._keep_or_return(accepted=verdict.accepted)
        self._save(best=verdict.best)
        self.around.report(numbers, self.spec.folder)

    def _dev_scores(self) -> dict[str, Any]:
        algorithm = self.spec.algorithm
        scores, _ = algorithm.scores(self.around.evaluator, self.networks, "dev", closing=False)
        if self.progress.update == 0:
            self.progress.warnings += algorithm.warnings(scores)
        for position, value in scores.get("correlation_by_position", {}).items():
            scores[f"correlation_at_position_{position:02d}"] = value
        return scores

    def _keep_or_return(self, *, accepted: bool) -> None:
        """Keep this state as the one to return to, or return to the one kept."""
        if accepted:
            self.state.accept()
        else:
            self.state.return_to_accepted()

    # -- checkpoints

    def _save(self, best: bool) -> None:
        self.saved_at = time.monotonic()
        if self.writer is not None:
            if self.journal is not None:
                self.journal.sync()
            self.writer.submit(self.progress.update, self.state.tensors(), self.state.record(), best=best)

    # -- the end

    def _score_best(self) -> dict[str, Any]:
        """Closing evaluation of the best checkpoint on dev and test, and the stage's entry of result.json."""
        started, progress, algorithm = time.monotonic(), self.progress, self.spec.algorithm
        if progress.best_update < 0:
            raise Diverged(
                f"stage {self.spec.name} diverged before its first evaluation: {progress.stopped_by}"
            )
        for group in algorithm.trains:
            network = getattr(self.networks, group)
            load_network(network, self.spec.folder, group, progress.best_update, self.state.vocabularies)
        texts_to = self.spec.folder / "hypotheses" if self.leads else None
        scores = closing_scores(algorithm, self.around.evaluator, self.networks, texts_to)
        noise = None
        if "policy" in algorithm.trains:
            best = self._gradient_noise(progress.best_update, progress.best_decays)
            noise = {"first": progress.first_noise, "best": best}
        progress.seconds += time.monotonic() - started
        result = account(self.spec.name, progress, self.order.batches_per_epoch)
        result |= {"gradient_noise": noise, **scores}
        if self.leads:
            manifest = self.around.corpus.manifest
            write_result(self.spec.folder, result, manifest, self.networks.policy)
        self.around.collective.wait(self.around.device)
        return result

    def _gradient_noise(self, update: int, decays: int) -> dict[str, Any]:
        """Of the policy as it is, by the schedules of an update; on the first batch, whatever the update."""
        return gradient_noise(
            self.spec.algorithm,
            self.networks,
            self.around.evaluator.reward,
            self.around.collective,
            [part.to(self.around.device) for part in self.order.parts(0)],
            self._moment(update, decays),
        )


def _end_of(folder: Path) -> checkpoint.Checkpoint:
    """The last state of a finished segment. Raises UserError where it is missing."""
    saved = checkpoint.latest(folder / CHECKPOINTS)
    if saved is None:
        raise UserError(f"{folder} has no checkpoint to go on from: move it away and repeat the command")
    return saved
