"""What a stage is told: what it trains, from what, until when, and where it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from raysq.algorithms import Algorithm


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage of a workflow, resolved."""

    name: str
    algorithm: Algorithm
    folder: Path
    """Checkpoints, journal, hypotheses and result of the stage."""
    seed: int
    """Source of its randomness."""
    policy_from: Path | None = None
    """Stage folder whose best policy it starts from; none: a fresh one."""
    critic_from: Path | None = None
    """Stage folder whose best critic it starts from; none: a fresh one, where one is needed."""
    updates_of: Path | None = None
    """Stage folder whose number of updates bounds this one (a control trained as long as another stage)."""
    until: int = 0
    """Update at which it ends as one segment of its schedule; 0: at the end of that. [updates]"""
    continues: Path | None = None
    """Stage folder of the segment before it, from whose last state it goes on."""
