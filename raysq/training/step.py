"""One update: draw, reward, objectives, gradients, optimisers, target network; with and without Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor
from torch.profiler import record_function

from raysq.algorithms import Algorithm, Group, Networks
from raysq.algorithms.base import FOLLOWED
from raysq.algorithms.moment import Moment
from raysq.rewards.scoring import PendingRewards
from raysq.training.collective import Collective
from raysq.training.samples import SampleSource
from raysq.types import Batch, MetricSums, Objective, Samples, Unit

Drawn: TypeAlias = tuple[Batch, Samples, PendingRewards | None]
"""A part of a batch, its samples, and their rewards on their way."""


EXPLODED = 1e4
"""L2 norm of a network's gradient, before it is clipped, at which its training counts as diverged.

Of the trainings in ``tests/benchmarks/results`` no twenty updates had a mean norm above 35.
"""

LOST = 1e8
"""Size of a term of the loss, per unit, at which training counts as diverged though gradients may be small.

They are where a softmax is saturated: 1e33 a token with a gradient norm of 39 has been seen.
"""


class Diverged(Exception):  # noqa: N818 - an outcome that tables show, not an error
    """A training went wrong for good; says which term told."""


def make_optimizer(algorithm: Algorithm, network: torch.nn.Module) -> torch.optim.Optimizer:
    """The algorithm's optimiser over a network's parameters; learning rates are set at every update."""
    parameters = list(network.parameters())
    if algorithm.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=algorithm.learning_rate, foreach=True)
    betas = (algorithm.beta1, algorithm.beta2)
    return torch.optim.Adam(parameters, lr=algorithm.learning_rate, betas=betas, fused=True)


class Step:
    """Updates the networks that an algorithm trains.

    For a profiler its time is recorded as ``sample``, ``features`` (forward), ``vocabulary`` (both ways),
    ``backward`` (of the features) and ``optimizer``.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        networks: Networks,
        source: SampleSource,
        collective: Collective,
    ) -> None:
        self.algorithm = algorithm
        self.networks = networks
        self.source = source
        self.collective = collective
        self.optimizers = {
            group: make_optimizer(algorithm, getattr(networks, group)) for group in algorithm.trains
        }

    def run(self, parts: Sequence[Batch], moment: Moment) -> MetricSums:
        """One update on this rank's slice of a global batch, worked through in parts.

        All parts are drawn first, which tells by how much each term is divided; then the gradients of the
        parts are added up, and those of the ranks: the result depends on neither.

        Returns:
            Metrics over all ranks, as (sum, weight).

        Raises:
            Diverged: a term is not finite, or a gradient has ``EXPLODED``; no parameter was changed.
        """
        before = self.source.waited_seconds
        drawn = [self._draw(part, moment, alone=len(parts) == 1) for part in parts]
        waited = self.source.waited_seconds - before
        metrics = self._over_ranks(self._accumulate(drawn, moment, waited), parts[0])
        algorithm = self.algorithm
        for name, (total, weight) in metrics.items():
            if name.startswith("loss_") and not abs(total) < LOST * max(weight, 1.0):  # as nan is not
                raise Diverged(f"loss term {name.removeprefix('loss_')} is {total / max(weight, 1.0):.4g}")
        with record_function("optimizer"):
            norms = {group: self._clip(group) for group in algorithm.trains}
        for group, norm in norms.items():  # all of them before the first step: networks change together
            if not norm < EXPLODED:  # as nan is not
                raise Diverged(f"gradient norm of the {group} is {norm:.4g}, not under {EXPLODED:g}")
        rates = algorithm.learning_rates(moment.update, moment.decays)
        for group, norm in norms.items():
            metrics[f"gradient_norm_{group}"] = (norm, 1.0)
            metrics[f"learning_rate_{group}"] = (rates[group], 1.0)
        with record_function("optimizer"):
            for group in norms:
                self._descend(group, rates[group])
            self._follow()
        return metrics

    def policy_gradients(self, parts: Sequence[Batch], moment: Moment) -> dict[str, Tensor]:
        """What an update would follow: the policy's gradient by term of the loss, over all ranks, unclipped.

        Nothing is updated; the parameters are left without gradients.

        Returns:
            By a term's name its gradient [parameters of the policy], as one vector, normalised and with its
            coefficient; terms that do not reach the policy are not there.
        """
        drawn = [self._draw(part, moment, alone=len(parts) == 1) for part in parts]
        divisors = self._divisors(drawn)
        by_term: dict[str, Tensor] = {}
        for one in drawn:
            for name, gradient in self._policy_gradients_of_part(one, divisors, moment).items():
                by_term[name] = by_term[name] + gradient if name in by_term else gradient
        return {name: self._sum_over_ranks(gradient) for name, gradient in sorted(by_term.items())}

    def _policy_gradients_of_part(
        self, drawn: Drawn, divisors: Mapping[Unit, float], moment: Moment
    ) -> dict[str, Tensor]:
        """A part's share of ``policy_gradients``; its graph ends here, before that of the next begins."""
        objectives, _ = self.algorithm.objectives(*drawn, self.networks, moment)
        parameters = list(self.networks.policy.parameters())
        found = {o.name: _gradient(_normalised(o, divisors), parameters) for o in objectives}
        return {name: gradient for name, gradient in found.items() if gradient is not None}

    def _sum_over_ranks(self, gradient: Tensor) -> Tensor:
        """A vector summed over ranks, as the gradients of an update are."""
        carrier = torch.empty_like(gradient)
        carrier.grad = gradient
        self.collective.sum_gradients([carrier])
        return gradient

    def _draw(self, part: Batch, moment: Moment, *, alone: bool) -> Drawn:
        """A part's samples; unless it is alone, without the graph of the encoder's pass."""
        with record_function("sample"):
            samples, rewards = self.source.draw(part, moment)
        if not alone:  # those of all parts would be held at once, and parts are there to save memory
            samples = replace(samples, memory=None)
        return part, samples, rewards

    def _accumulate(self, drawn: Sequence[Drawn], moment: Moment, waited: float) -> MetricSums:
        """Add up the parts' gradients of the normalised loss; returns their metrics, added up too.

        ``waited`` is the time lost so far [s], to which that for the rewards is added.
        """
        divisors = self._divisors(drawn)
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        metrics: MetricSums = {}
        for part, samples, rewards in drawn:
            objectives, found = self.algorithm.objectives(part, samples, rewards, self.networks, moment)
            counts = _unit_counts(part, samples)
            assert len({objective.name for objective in objectives}) == len(objectives)
            loss = torch.zeros((), device=part.source.device)
            for objective in objectives:
                loss = loss + _normalised(objective, divisors)
                found[f"loss_{objective.name}"] = (float(objective.total.detach()), counts[objective.per])
            scored = float(len(samples.mask)) if rewards is not None else 0.0
            found["scored"] = (scored, counts["example"])
            with record_function("backward"):
                loss.backward()
            waited += rewards.waited_seconds if rewards else 0.0
            for name, (total, weight) in found.items():
                earlier = metrics.get(name, (0.0, 0.0))
                metrics[name] = (earlier[0] + total, earlier[1] + weight)
        return metrics | {"waited": (waited, 1.0)}

    def _divisors(self, drawn: Sequence[Drawn]) -> dict[Unit, float]:
        """How many of each unit the global batch holds."""
        local = [_unit_counts(part, samples) for part, samples, _ in drawn]
        units = list(local[0])
        device = str(drawn[0][0].source.device)
        totals = self.collective.sums([sum(counts[unit] for counts in local) for unit in units], device)
        return dict(zip(units, totals, strict=True))

    def _over_ranks(self, metrics: MetricSums, batch: Batch) -> MetricSums:
        metrics = dict(sorted(metrics.items()))  # by place: every rank has the same names, in any order
        flat = [number for pair in metrics.values() for number in pair]
        flat = self.collective.sums(flat, str(batch.source.device))
        return {name: (flat[2 * i], flat[2 * i + 1]) for i, name in enumerate(metrics)}

    def _clip(self, group: Group) -> float:
        """Sum a network's gradients over ranks and clip them; returns their norm before clipping."""
        parameters: list[Tensor] = list(getattr(self.networks, group).parameters())
        self.collective.sum_gradients(parameters)
        return float(torch.nn.utils.clip_grad_norm_(parameters, self.algorithm.clip_norm, foreach=True))

    def _descend(self, group: Group, learning_rate: float) -> None:
        optimizer = self.optimizers[group]
        for param_group in optimizer.param_groups:
            param_group["lr"] = learning_rate
        optimizer.step()

    @torch.no_grad()
    def _follow(self) -> None:
        """phi_bar <- beta phi + (1 - beta) phi_bar, for every moving average."""
        for follower, rate in self.algorithm.following_rates().items():
            network = getattr(self.networks, FOLLOWED[follower])
            average = list(getattr(self.networks, follower).parameters())
            torch._foreach_lerp_(average, list(network.parameters()), rate)


def _normalised(objective: Objective, divisors: Mapping[Unit, float]) -> Tensor:
    """A part's share of the loss that the step minimises; see ``Objective``."""
    return objective.total * (objective.coefficient / divisors[objective.per])


def _gradient(loss: Tensor, parameters: Sequence[Tensor]) -> Tensor | None:
    """Gradient of one term of a loss as one vector, its graph kept for the others; None: it has none."""
    if not loss.requires_grad:
        return None
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    if all(gradient is None for gradient in found):
        return None
    pairs = zip(found, parameters, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


def _unit_counts(part: Batch, samples: Samples) -> dict[Unit, float]:
    examples, sequences = len(part.example_ids), len(samples.mask)
    return {"example": float(examples), "sequence": float(sequences), "token": float(samples.mask.sum())}
