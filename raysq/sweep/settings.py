"""What a sweep can be told: the options of workflows/tune.py."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from raysq.config import TrainingCommand


class TuneSettings(TrainingCommand):
    """Which space is swept, how, and with which settings for all of its trials."""

    space: str
    """Tune space: a file NAME.py in tune_spaces/, or the path of one of your own."""
    arms: tuple[str, ...] = ()
    """Labels of the arms to run, joined by commas; none: all of the space's. Commands for several arms,
    values or seeds of one space add up in the same output folder."""
    values: tuple[str, ...] = ()
    """AXIS=VALUE,... of grids, to run these alone of an axis: tau=0,tau=0.045. None: all."""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """Seeds of the trials, joined by commas; none: the space's. Those of an arm with its own stay."""
    num_samples: int = Field(1, ge=1)
    """Draws from the ranges of a search space; grids have none. [draws]"""
    settings: tuple[str, ...] = ()
    """KEY=VALUE,... for every trial whose workflow has KEY, over the space's own: erac.max_updates=500."""
    max_concurrent: int = Field(0, ge=0)
    """Stages trained at a time; 0: as many as there are CPUs and GPUs for."""
    cpus_per_trial: int = Field(1, ge=1)
    """CPUs that a stage takes, and threads of its arithmetic."""
    gpus_per_trial: float = Field(0.0, ge=0)
    """GPUs that a stage takes; a fraction lets stages share one."""
    scheduler: Literal["none", "asha", "pbt"] = "none"
    """Of search spaces only: asha stops trials that fall behind; pbt, population based training, lets them go
    on from better ones with changed values. Grids over seeds run to their end."""
    rounds: int = Field(4, ge=2)
    """Parts of the judged stage's schedule between which pbt changes the population. [rounds]"""
    retries: int = Field(2, ge=0)
    """Times that a stage whose process failed is started again, from its last checkpoint."""
    dry_run: bool = False
    """Print the distinct stages and how long they may take, by measured rates, and end."""
    num_learners: int = Field(0, ge=0)
    """Learners of each stage. 0 trains it in the trial's own process; more start Ray Train in every trial,
    which costs about 14 s each."""

    @model_validator(mode="after")
    def _learners_stay(self) -> Self:
        self.refuse_change("min_learners", "in a sweep")
        return self

    @model_validator(mode="after")
    def _rounds_of_populations(self) -> Self:
        if self.scheduler != "pbt":
            self.refuse_change("rounds", "unless `scheduler` is pbt")
        return self

    @model_validator(mode="after")
    def _who_takes_gpus(self) -> Self:
        if self.num_learners and (self.gpus_per_trial or self.cpus_per_trial > 1):
            raise ValueError(
                "`num_learners` must be 0 with `cpus_per_trial` or `gpus_per_trial`: "
                "learners take a CPU each, with device cuda a GPU too"
            )
        if (
            not self.num_learners
            and self.device != "auto"
            and (self.device == "cuda") != bool(self.gpus_per_trial)
        ):
            raise ValueError("`device` must be auto, or cuda with `gpus_per_trial` above 0, cpu without")
        return self
