"""One update: draw, reward, objectives, gradients, optimisers, target network; with and without Ray."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from raysq.algorithms import Algorithm, Group, Networks
from raysq.algorithms.randomness import Randomness
from raysq.rewards.scoring import RewardScorer
from raysq.training.collective import Collective
from raysq.types import Batch, MetricSums


class Diverged(Exception):  # noqa: N818 - an outcome that tables show, not an error
    """A loss or a gradient is not finite, or the dev score collapsed; says which term and where."""


def make_optimizer(algorithm: Algorithm, network: torch.nn.Module) -> torch.optim.Optimizer:
    """The algorithm's optimiser over a network's parameters; learning rates are set at every update."""
    parameters = list(network.parameters())
    if algorithm.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=algorithm.learning_rate, foreach=True)
    betas = (algorithm.beta1, algorithm.beta2)
    return torch.optim.Adam(parameters, lr=algorithm.learning_rate, betas=betas, fused=True)


class Step:
    """Updates the networks that an algorithm trains."""

    def __init__(
        self,
        algorithm: Algorithm,
        networks: Networks,
        scorer: RewardScorer,
        collective: Collective,
    ) -> None:
        self.algorithm = algorithm
        self.networks = networks
        self.scorer = scorer
        self.collective = collective
        self.optimizers = {
            group: make_optimizer(algorithm, getattr(networks, group)) for group in algorithm.trains
        }

    def run(self, batch: Batch, randomness: Randomness, decays: int) -> MetricSums:
        """One update on this rank's slice of a global batch.

        Every term is divided by its weight over all ranks before the backward pass and gradients are summed
        over ranks after it, so the result does not depend on the number of learners.

        Returns:
            Metrics over all ranks, as (sum, weight).

        Raises:
            Diverged: a term or a gradient is not finite; no parameter was changed.
        """
        algorithm, networks = self.algorithm, self.networks
        samples = algorithm.draw(batch, networks, randomness)
        rewards = self.scorer.submit(samples, batch.references) if algorithm.uses_rewards else None
        objectives, metrics = algorithm.objectives(batch, samples, rewards, networks, randomness)
        for objective in objectives:
            metrics[f"loss_{objective.name}"] = (float(objective.total.detach()), objective.weight)
        metrics["waited"] = (rewards.waited_seconds if rewards else 0.0, 1.0)
        metrics = self._over_ranks(metrics, batch)
        loss = torch.zeros((), device=batch.source.device)
        for objective in objectives:
            total, weight = metrics[f"loss_{objective.name}"]
            if not math.isfinite(total):
                raise Diverged(f"loss term {objective.name} is {total} {_place(randomness, batch)}")
            loss = loss + objective.total * (objective.coefficient / weight)
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norms = {group: self._clip(group) for group in algorithm.trains}
        for group, norm in norms.items():  # all of them before the first step: networks change together
            if not math.isfinite(norm):
                raise Diverged(f"gradient of the {group} is {norm} {_place(randomness, batch)}")
        rates = algorithm.learning_rates(randomness.update, decays)
        for group, norm in norms.items():
            self._descend(group, rates[group])
            metrics[f"gradient_norm_{group}"] = (norm, 1.0)
            metrics[f"learning_rate_{group}"] = (rates[group], 1.0)
        self._update_target()
        return metrics

    def _over_ranks(self, metrics: MetricSums, batch: Batch) -> MetricSums:
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
    def _update_target(self) -> None:
        """phi_bar <- beta phi + (1 - beta) phi_bar."""
        rate = self.algorithm.target_update_rate()
        if rate is None:
            return
        critic, target = self.networks.critics()
        torch._foreach_lerp_(list(target.parameters()), list(critic.parameters()), rate)


def _place(randomness: Randomness, batch: Batch) -> str:
    ids = batch.example_ids.tolist()
    return f"at update {randomness.update} of stage {randomness.stage} (training examples {ids[:8]} ...)"
