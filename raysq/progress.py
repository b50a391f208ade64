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


class Pace:
    """How far a stage is and how long it may still take, by the times of the records that it is shown."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._first: Record | None = None

    def said(self, record: Record) -> str:
        """``update 40 of 1600 (at most 12 min left)``; show it every record, printed or not."""
        if self._first is None or record.step < self._first.step:  # or learners started again before it
            self._first = record
        done, seconds = record.step - self._first.step, record.time - self._first.time
        left = ""
        if done > 0 and seconds > 0:
            left = f" (at most {_span((self._total - record.step) * seconds / done)} left)"
        return f"update {record.step} of {self._total}{left}"


class Progress:
    """Shows where the stages stand; ``show`` is called from one thread for every new record."""

    def __init__(
        self, console: Console, stages: list[PlannedStage], num_examples: int, num_learners: int = 1
    ) -> None:
        self._console = console
        self._num_learners = self._learners = num_learners
        self._stages = {s.record["run_id"]: s for s in stages if s.record.get("run_id")}
        self._paces = {run_id: Pace(_total(s, num_examples)) for run_id, s in self._stages.items()}
        self._last_line = time.monotonic()
        self._bar: Bar | None = None
        if console.is_terminal and not console.quiet:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            tail = (TimeRemainingColumn(), TextColumn("{task.fields[news]}"))
            self._bar = Bar(*columns, *tail, console=console)
            self._bar.start()
            self._rows = {
                run_id: self._bar.add_task(s.spec.name, total=_total(s, num_examples), news="")
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
        said, pace = news(record.metrics), self._paces[run_id].said(record)
        evaluation = any(name.startswith("dev/") for name in record.metrics)
        if self._bar is not None and run_id in self._rows:
            self._bar.update(self._rows[run_id], completed=record.step, news=said)
            if not evaluation:
                return
        elif not evaluation and time.monotonic() - self._last_line < PLAIN_SECONDS:
            return
        self._last_line = time.monotonic()
        line = f"{stage} {pace}: {said}"
        self._console.print(line, highlight=False, soft_wrap=True)
        if evaluation and record.step == 0:
            dev = {name.removeprefix("dev/"): value for name, value in record.metrics.items()}
            for warning in self._stages[run_id].spec.algorithm.warnings(dev):
                self._console.print(f"warning: {warning}", highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()


def _total(stage: PlannedStage, num_examples: int) -> int:
    """Updates of a stage at the latest; early stopping may end it before."""
    algorithm = stage.spec.algorithm
    return algorithm.most_updates(math.ceil(num_examples / algorithm.batch_size))


def _span(seconds: float) -> str:
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


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
