"""Which stage of a sweep is trained next, as a search algorithm of Ray Tune."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ray.tune.search import Searcher

from raysq.training.job import Job

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
    told_until: float = 0.0
    """A scheduler is told of its evaluations before this, and may stop it there; 0: of none. [epochs]"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a stage."""

    state: State
    reason: str = ""


UNREACHED = Outcome("not run", "the sweep ended first")


class ReadyStages(Searcher):
    """Suggests the stage with the longest way to the end among those that can begin.

    A stage whose process failed is suggested again, as a new trial that goes on from the stage's checkpoint:
    Tune's own retry gives up at once where the process it would reuse has died meanwhile.
    """

    def __init__(
        self,
        works: Sequence[Work],
        retries: int = 0,
        on_change: Callable[[int, Outcome | None], None] = lambda place, _: None,
    ) -> None:
        super().__init__(metric="score", mode="max")
        self._works = works
        self._retries = [retries] * len(works)
        """Left of each stage."""
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
        """Take note of what became of a stage; of an error Tune says more at once: ``failed``."""
        result = result or {}
        if error:
            return
        if "state" in result:
            self._settle(trial_id, Outcome(result["state"], result["reason"]))
        else:
            epoch = result.get("epoch", 0.0)
            self._settle(trial_id, Outcome("stopped", f"stopped by the scheduler after {epoch:.1f} epochs"))

    def failed(self, trial_id: str, reason: str) -> None:
        """A trial has failed: its stage is to be suggested again, as long as it has retries left."""
        place = self._running[trial_id]
        if self._retries[place]:
            self._retries[place] -= 1
            del self._running[trial_id]
        else:
            self._settle(trial_id, Outcome("failed", reason))

    def outcomes(self) -> list[Outcome]:
        """Of every stage; those that never began are not run."""
        self._give_up_orphans()
        return [self._found.get(place, UNREACHED) for place in range(len(self._works))]

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
        place = self._running.pop(trial_id)
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
                self._found[place] = Outcome("not run", f"{parent.name} {self._found[lost[0]].state}")
                self._on_change(place, self._found[place])
