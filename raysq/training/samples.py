"""Where an update's samples come from: drawn here, or by sample workers ahead of the learner.

Samples of a policy that changes come from the policy of the last update u with u % (max_staleness + 1) = 0.
With max_staleness = 0 that is the policy itself, else a snapshot of it, ``Networks.delayed_policy``. The rule
asks for the update alone, and the snapshot is in the stage's checkpoints: so samples depend neither on who
draws them nor on interruptions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, cast

import torch

from raysq.algorithms import Algorithm, Networks
from raysq.algorithms.base import Follower
from raysq.algorithms.moment import Moment
from raysq.models import EncoderDecoder
from raysq.rewards.base import RewardFunction
from raysq.rewards.scoring import PendingRewards, RewardScorer
from raysq.types import Batch, Samples

Sampling = Literal["learner", "remote"]
"""Who draws the samples of a policy: the learner or sample workers."""


class SampleSource(Protocol):
    """Draws and scores samples. The result never depends on where."""

    @property
    def waited_seconds(self) -> float:
        """Time the caller has lost to waiting for samples so far [s]; that for rewards is not in it."""
        ...

    def look_ahead(self, update: int) -> int:
        """How many updates after this one it likes to know of now."""
        ...

    def announce(self, parts: Sequence[Batch], moment: Moment) -> None:
        """Say which parts of a batch will be asked for, at which moment; in the order of updates.

        No evaluation may come before the last update announced.
        """
        ...

    def draw(self, part: Batch, moment: Moment) -> tuple[Samples, PendingRewards | None]:
        """Samples of a part, and their rewards on their way where the algorithm uses rewards."""
        ...


NO_NETWORKS = Networks(policy=cast(EncoderDecoder, None))
"""For what is model free: a draw that asks them for anything fails."""

MakeSource: TypeAlias = Callable[[Algorithm, Networks], SampleSource]
"""Makes the source of a stage from its algorithm and its networks."""


def draws_from_policy(algorithm: Algorithm) -> bool:
    """Whether its samples are the policy's; the others come from no network, or from an oracle."""
    return not algorithm.model_free and algorithm.critic_form != "oracle"


def drawn_by_workers(algorithm: Algorithm, sampling: Sampling) -> bool:
    """Whether sample workers draw for it: proposals that are scored, and the policy's samples if asked to."""
    if algorithm.model_free:
        return algorithm.uses_rewards  # references cost less to draw than to send
    return sampling == "remote" and draws_from_policy(algorithm)


def staleness(algorithm: Algorithm, max_staleness: int) -> int:
    """Updates by which the policy that the samples come from may lag; 0 where it stands still, or is none."""
    return max_staleness if draws_from_policy(algorithm) and "policy" in algorithm.trains else 0


def snapshots(algorithm: Algorithm, max_staleness: int) -> tuple[Follower, ...]:
    """The network that has to be there, and saved, for the samples to be taken from."""
    return ("delayed_policy",) if staleness(algorithm, max_staleness) else ()


@torch.no_grad()
def take_snapshot(networks: Networks, update: int, max_staleness: int) -> None:
    """Make the snapshot a copy of the policy if it is due at this update, where there is one."""
    if max_staleness and update % (max_staleness + 1) == 0:
        assert networks.delayed_policy is not None
        networks.delayed_policy.load_state_dict(networks.policy.state_dict())


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A ``SampleSource`` that draws in this process when it is asked."""

    algorithm: Algorithm
    networks: Networks
    reward_function: RewardFunction
    scorer: RewardScorer
    max_staleness: int = 0
    """As the run has it, whatever the algorithm draws from."""

    @property
    def waited_seconds(self) -> float:
        """It draws in the caller's own time."""
        return 0.0

    def look_ahead(self, update: int) -> int:
        """Nothing is drawn ahead."""
        return 0

    def announce(self, parts: Sequence[Batch], moment: Moment) -> None:
        """Nothing is drawn yet, but the policy may be due for a snapshot."""
        take_snapshot(self.networks, moment.update, staleness(self.algorithm, self.max_staleness))

    def draw(self, part: Batch, moment: Moment) -> tuple[Samples, PendingRewards | None]:
        """Draw now, and submit the samples to the scorer."""
        samples = self.algorithm.draw(part, self.networks, self.reward_function, moment)
        if not self.algorithm.uses_rewards:
            return samples, None
        return samples, self.scorer.submit(samples, part.references)
