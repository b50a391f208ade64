"""Progress of a run: a live bar on a terminal, plain lines otherwise; fed with the journals' records.

Plain lines say how long a stage may still take; what is shown of a stage is about it in structured logs too.
"""

from __future__ import annotations

import math
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from raysq.logs import about
from raysq.recipe import PlannedStage
from raysq.training.journal import Record

PLAIN_SECONDS = 10.0
"""Least time between two plain lines of training; evaluations are always shown."""


class Progress:
    """Shows where the stages stand; ``show`` is called from one thread for every new record."""

    def __init__(
        self, console: Console, stages: list[PlannedStage], num_examples: int, num_learners: int = 1
    ) -> None:
        self._console = console
        self._num_learners = self._learners = num_learners
        self._pace = Pace()
        self._stages = {s.record["run_id"]: s for s in stages if s.record.get("run_id")}
        self._totals = {run_id: _total(s, num_examples) for run_id, s in self._stages.items()}
        self._last_line = time.monotonic()
        self._bar: Bar | None = None
        if console.is_terminal and not console.quiet:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            tail = (TimeRemainingColumn(), TextColumn("{task.fields[news]}"))
            self._bar = Bar(*columns, *tail, console=console)
            self._bar.start()
            self._rows = {
                run_id: self._bar.add_task(s.spec.name, total=self._totals[run_id], news="")
                for run_id, s in self._stages.items()
                if not s.reused
            }

    def show(self, run_id: str, record: Record) -> None:
        """One record of a stage's journal."""
        with about(self._stages[run_id].spec.name):
            if "learners" in record.metrics:
                self._show_learners(run_id, record)
            else:
                self._show(run_id, record)

    def _show_learners(self, run_id: str, record: Record) -> None:
        """With how many learners it goes on, where these are not as many as before."""
        stage, learners = self._stages[run_id].spec.name, int(record.metrics["learners"])
        if learners != self._learners:
            self._learners = learners
            line = f"{stage} update {record.step}: goes on with {learners} of {self._num_learners} learners"
            self._console.print(line, highlight=False, soft_wrap=True)

    def _show(self, run_id: str, record: Record) -> None:
        stage = self._stages[run_id].spec.name
        said = news(record.metrics)
        left = self._pace.left(run_id, record, self._totals[run_id])
        evaluation = any(name.startswith("dev/") for name in record.metrics)
        if self._bar is not None and run_id in self._rows:
            self._bar.update(self._rows[run_id], completed=record.step, news=said)
            if not evaluation:
                return
        elif not evaluation and time.monotonic() - self._last_line < PLAIN_SECONDS:
            return
        self._last_line = time.monotonic()
        line = f"{stage} update {record.step}: {said}{'' if self._bar else left}"
        self._console.print(line, highlight=False, soft_wrap=True)
        if evaluation and record.step == 0:
            dev = {name.removeprefix("dev/"): value for name, value in record.metrics.items()}
            for warning in self._stages[run_id].spec.algorithm.warnings(dev):
                self._console.print(f"warning: {warning}", highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()


class Pace:
    """How long stages may still take, by their journals' times since this command first heard of each."""

    def __init__(self) -> None:
        self._first: dict[str, Record] = {}

    def left(self, run_id: str, record: Record, total: int) -> str:
        """What a line adds at a record of a stage of ``total`` updates at most: ``, at most 5 min left``."""
        first = self._first.setdefault(run_id, record)
        done, seconds = record.step - first.step, record.time - first.time
        if done <= 0 or seconds <= 0 or record.step >= total:
            return ""
        return f", at most {duration((total - record.step) * seconds / done)} left"


def duration(seconds: float) -> str:
    """In words, to two figures or so: ``40 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def _total(stage: PlannedStage, num_examples: int) -> int:
    """Updates of a stage at the latest; early stopping may end it before."""
    algorithm = stage.spec.algorithm
    return algorithm.most_updates(math.ceil(num_examples / algorithm.batch_size))


SHOWN = {
    "dev/bleu": "dev BLEU {:.2f}",
    "dev/rouge": "ROUGE {:.2f}",
    "dev/cider": "CIDEr {:.1f}",
    "dev/greedy_bleu": "dev greedy BLEU {:.2f}",
    "dev/sample_bleu": "sample BLEU {:.2f}",
    "dev/perplexity": "perplexity {:.2f}",
    "dev/oracle_bleu": "oracle BLEU {:.2f}",
    "dev/td_error": "dev |TD error| {:.3f}",
    "dev/explained": "explained {:.2f}",
    "dev/correlation": "correlation {:.2f}",
    "train/nll": "loss {:.3f}",
    "train/td_error": "|TD error| {:.3f}",
    "train/payoff": "payoff {:.3f}",
    "train/tokens_per_second": "{:.0f} tokens/s",
}


def news(metrics: dict[str, float]) -> str:
    """What a journal's record says, in a line."""
    return ", ".join(text.format(metrics[name]) for name, text in SHOWN.items() if name in metrics)
