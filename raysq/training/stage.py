"""The loop of a stage: updates, evaluations at fixed updates, decay and stopping, checkpoints, exact resume.

The state of a stage is its networks, its optimisers and a few numbers (``Progress``); everything random is a
function of (seed, stage, update), so continuing from a checkpoint equals never having stopped.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from raysq.algorithms import Algorithm, CriticTraining
from raysq.algorithms.randomness import Randomness
from raysq.config import NetworkConfig
from raysq.data.batches import collate, epoch_batches
from raysq.data.corpus import SplitName
from raysq.data.shards import Corpus, Split
from raysq.evaluation import Evaluator
from raysq.rewards.scoring import RewardScorer
from raysq.training import checkpoint
from raysq.training.collective import Collective
from raysq.training.journal import Journal, replace_json
from raysq.training.state import Progress, StageState, load_network, make_networks, read_result
from raysq.training.step import Diverged, Step
from raysq.types import MetricSums

log = logging.getLogger(__name__)

LOG_EVERY = 20
"""Updates averaged in one line of the journal."""
FINAL_SAMPLES = 5
"""Samples a sentence in the closing evaluation's mean sample BLEU."""


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage of a workflow, resolved: what is trained, from what, and where it is kept."""

    name: str
    algorithm: Algorithm
    folder: Path
    """Checkpoints, journal, hypotheses and result of the stage."""
    policy_from: Path | None = None
    """Stage folder whose best policy it starts from; none: a fresh one."""
    critic_from: Path | None = None
    """Stage folder whose best critic it starts from; none: a fresh one, where one is needed."""
    updates_of: Path | None = None
    """Stage folder whose number of updates bounds this one (a control trained as long as another stage)."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a learner gives every stage it runs."""

    corpus: Corpus
    network: NetworkConfig
    evaluator: Evaluator
    scorer: RewardScorer
    collective: Collective
    device: str
    seed: int
    checkpoint_seconds: float
    report: Callable[[Mapping[str, float], Path], None] = lambda metrics, folder: None
    """Called by every learner at every evaluation with its metrics and the stage's folder."""


def run_stage(spec: StageSpec, surroundings: Surroundings) -> dict[str, Any]:
    """Train a stage to its end, from its latest checkpoint if there is one, and score its best checkpoint.

    Returns:
        The stage's entry of result.json, written to ``result.json`` in its folder too.
    """
    if (spec.folder / "result.json").exists():  # finished before this process was restarted
        return read_result(spec.folder)
    run = _StageRun(spec, surroundings)
    try:
        return run.train_and_score()
    finally:
        run.close()


class _StageRun:
    def __init__(self, spec: StageSpec, surroundings: Surroundings) -> None:
        self.spec, self.around = spec, surroundings
        self.leads = surroundings.collective.rank == 0
        self.split: Split = surroundings.corpus.splits["train"]
        algorithm, collective = spec.algorithm, surroundings.collective
        self.networks = make_networks(
            surroundings.corpus,
            surroundings.network,
            algorithm,
            {"policy": spec.policy_from, "critic": spec.critic_from},
            seed=surroundings.seed,
            stage=spec.name,
            device=surroundings.device,
        )
        self.step = Step(algorithm, self.networks, surroundings.scorer, collective)
        self.progress = Progress()
        self.state = StageState(self.networks, self.step.optimizers, self.progress)
        self.batches_per_epoch = len(self._batches_of(0))
        self.limit = self._limit()
        self.window: list[MetricSums] = []
        self.epoch = -1
        self.batches: list[np.ndarray] = []
        self.checkpoints = spec.folder / "checkpoints"
        saved = checkpoint.latest(self.checkpoints)
        if saved is not None:
            self.state.restore(saved)
            log.info("stage %s continues from update %d", spec.name, self.progress.update)
        self.journal = Journal(spec.folder / "journal.jsonl") if self.leads else None
        self.writer = checkpoint.CheckpointWriter(self.checkpoints) if self.leads else None
        self.saved_at = time.monotonic()

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        if self.journal is not None:
            self.journal.close()

    def _limit(self) -> int:
        """Number of updates at which the stage ends at the latest."""
        algorithm = self.spec.algorithm
        if self.spec.updates_of is not None:
            return int(read_result(self.spec.updates_of)["updates"])
        return algorithm.most_updates(self.batches_per_epoch)

    # -- the loop

    def train_and_score(self) -> dict[str, Any]:
        progress = self.progress
        try:
            self._train()
        except Diverged as error:
            progress.diverged, progress.stopped_by = True, str(error)
        if self.writer is not None:
            self.writer.wait()
        self._everyone_waits()
        return self._score_best()

    def _train(self) -> None:
        """Update until something ends the stage: ``progress.stopped_by``."""
        progress = self.progress
        while not progress.stopped_by:
            if self._evaluation_due():
                self._evaluate()
            elif progress.update >= self.limit:
                progress.stopped_by = f"all of {progress.update} updates done"
            else:
                self._update()
                if time.monotonic() - self.saved_at > self.around.checkpoint_seconds:
                    self._save(best=False)

    def _evaluation_due(self) -> bool:
        at, algorithm = self.progress.update, self.spec.algorithm
        if at == self.progress.evaluated:
            return False
        if at == 0:
            return self.spec.policy_from is not None and "policy" in algorithm.trains
        every = algorithm.evaluate_every or self.batches_per_epoch
        return at % every == 0 or at >= self.limit

    def _update(self) -> None:
        started, progress, around = time.monotonic(), self.progress, self.around
        epoch, index = divmod(progress.update, self.batches_per_epoch)
        if epoch != self.epoch:
            self.epoch, self.batches = epoch, self._batches_of(epoch)
        collective = around.collective
        batch = collate(self.split, self.batches[index], collective.rank, collective.world_size)
        randomness = Randomness(around.seed, self.spec.name, progress.update)
        metrics = self.step.run(batch.to(around.device), randomness, progress.decays)
        progress.update += 1
        waited, learners = metrics["waited"]
        progress.waited_seconds += waited / learners
        progress.tokens += metrics["tokens"][0]
        elapsed = time.monotonic() - started
        progress.update_seconds += elapsed
        progress.seconds += elapsed
        metrics["seconds"] = (elapsed, 1.0)
        self.window.append(metrics)
        if progress.update % LOG_EVERY == 0:
            self._log_window()

    def _batches_of(self, epoch: int) -> list[np.ndarray]:
        lengths = self.split.source_lengths, self.split.target_lengths
        return epoch_batches(*lengths, self.spec.algorithm.batch_size, self.around.seed, epoch)

    def _log_window(self) -> None:
        """One journal line: metrics averaged over the updates since the last."""
        window, self.window = self.window, []
        if self.journal is None or not window:
            return
        means = {}
        for name in window[0]:
            weight = sum(m[name][1] for m in window)
            means[f"train/{name}"] = sum(m[name][0] for m in window) / weight if weight else math.nan
        seconds = sum(m["seconds"][0] for m in window)
        means["train/tokens_per_second"] = sum(m["tokens"][0] for m in window) / seconds
        means["train/updates_per_second"] = len(window) / seconds
        means["train/reward_wait_share"] = means["train/waited"] * len(window) / seconds
        for name in ("train/tokens", "train/seconds", "train/waited"):
            del means[name]
        means["epoch"] = self.progress.update / self.batches_per_epoch
        self.journal.write(self.progress.update, means)

    # -- evaluation, decay and stopping

    def _evaluate(self) -> None:
        """Score the dev split at this update and act on it, before the checkpoint that records it."""
        started, progress, algorithm = time.monotonic(), self.progress, self.spec.algorithm
        self._log_window()
        scores = self._dev_scores()
        name, mode = algorithm.selection
        score = float(scores[name])
        improved = progress.best_score is None or (
            score >= progress.best_score if mode == "max" else score <= progress.best_score
        )
        if improved:
            progress.best_score, progress.best_update = score, progress.update
        elif progress.decays < algorithm.max_decays:
            progress.decays += 1
        elif self.spec.updates_of is None:
            progress.stopped_by = f"no improvement after {progress.decays} decays"
        started_high = self.spec.policy_from is not None  # a fresh policy's first scores are noise
        collapsed = started_high and mode == "max" and score < (progress.best_score or 0.0) / 2
        progress.collapsed = progress.collapsed + 1 if collapsed else 0
        if progress.collapsed >= 2:
            progress.diverged = True
            progress.stopped_by = f"dev {name} fell under half of its best ({progress.best_score:.2f}) twice"
        progress.evaluated = progress.update
        progress.scores.append([progress.update, score])
        progress.seconds += time.monotonic() - started
        numbers = {f"dev/{k}": v for k, v in scores.items() if isinstance(v, float)}
        numbers["dev/best"] = progress.best_score if progress.best_score is not None else score
        numbers["epoch"] = progress.update / self.batches_per_epoch
        if self.journal is not None:
            self.journal.write(progress.update, numbers)
            self.journal.sync()
        self._save(best=improved)
        self.around.report(numbers, self.spec.folder)

    def _dev_scores(self) -> dict[str, Any]:
        evaluator, algorithm = self.around.evaluator, self.spec.algorithm
        scores: dict[str, Any] = {}
        if isinstance(algorithm, CriticTraining):
            scores |= evaluator.critic_scores(self.networks, algorithm, "dev")
            if self.progress.update == 0:
                self.progress.warnings += algorithm.warnings(scores)
            for position, value in scores["correlation_by_position"].items():
                scores[f"correlation_at_position_{position:02d}"] = value
        if "policy" in algorithm.trains:
            scores |= evaluator.policy_scores(self.networks.policy, "dev")[0]
        return scores

    # -- checkpoints

    def _save(self, best: bool) -> None:
        self.saved_at = time.monotonic()
        if self.writer is not None:
            if self.journal is not None:
                self.journal.sync()
            self.writer.submit(self.progress.update, self.state.tensors(), asdict(self.progress), best=best)

    # -- the end

    def _everyone_waits(self) -> None:
        self.around.collective.sums([0.0], self.around.device)

    @torch.no_grad()
    def _score_best(self) -> dict[str, Any]:
        """Closing evaluation of the best checkpoint on dev and test, and the stage's entry of result.json."""
        started, progress, algorithm = time.monotonic(), self.progress, self.spec.algorithm
        if progress.best_update < 0:
            raise Diverged(
                f"stage {self.spec.name} diverged before its first evaluation: {progress.stopped_by}"
            )
        for group in algorithm.trains:
            load_network(getattr(self.networks, group), self.spec.folder, group, progress.best_update)
        splits: dict[SplitName, dict[str, Any]] = {"dev": {}, "test": {}}
        for split, scores in splits.items():
            if "policy" in algorithm.trains:
                evaluator = self.around.evaluator
                found, texts = evaluator.policy_scores(self.networks.policy, split, num_samples=FINAL_SAMPLES)
                scores |= found
                if self.leads:
                    write_lines(self.spec.folder / "hypotheses" / f"{split}.txt", texts)
            elif isinstance(algorithm, CriticTraining):
                scores |= self.around.evaluator.critic_scores(self.networks, algorithm, split)
        progress.seconds += time.monotonic() - started
        result = {
            "name": self.spec.name,
            "state": "diverged" if progress.diverged else "finished",
            "stopped_by": progress.stopped_by,
            "warnings": progress.warnings,
            "updates": progress.update,
            "best_update": progress.best_update,
            "epochs": round(progress.update / self.batches_per_epoch, 3),
            "seconds": round(progress.seconds, 3),
            "tokens_per_second": round(progress.tokens / max(progress.update_seconds, 1e-9), 1),
            "reward_wait_share": round(progress.waited_seconds / max(progress.update_seconds, 1e-9), 5),
            "scores": progress.scores,
            "dev": splits["dev"],
            "test": splits["test"],
        }
        if self.leads:
            replace_json(self.spec.folder / "result.json", result)
        self._everyone_waits()
        return result


def write_lines(path: Path, lines: list[str]) -> None:
    """Write one text a line, aside and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    aside.write_text("".join(f"{line}\n" for line in lines))
    aside.replace(path)
