"""Whole updates as a textbook writes them, one class for each algorithm."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Generic, TypeVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from raysq.algorithms import ActorCritic, Algorithm, CriticTraining, Mle, Networks, Raml, SoftQ, Vaml
from raysq.algorithms.base import FOLLOWED, reference_samples
from raysq.algorithms.interpolation import Interpolation
from raysq.algorithms.moment import Moment
from raysq.rewards import LocalScorer, RewardFunction
from raysq.types import EOS, PAD, Batch, Objective, Rewards, Samples
from tests.benchmarks.textbook.mixture import by_expert
from tests.benchmarks.textbook.network import (
    critic_forward,
    encode,
    oracle_forward,
    policy_forward,
    recurrent,
)
from tests.benchmarks.textbook.sampling import Choose, Unrolled, ancestral, ending_at, given, unroll

A = TypeVar("A", bound=Algorithm)


class Update(Generic[A]):
    """Updates of an algorithm's networks.

    Args:
        algorithm: whose hyper-parameters it takes, among them optimiser and learning rates.
        networks: ours; changed in place.
        reward_function: what samples earn.
    """

    def __init__(self, algorithm: A, networks: Networks, reward_function: RewardFunction) -> None:
        self.algorithm, self.networks, self.reward_function = algorithm, networks, reward_function
        self.scorer = LocalScorer(reward_function)
        self.samples: Samples | None = None
        """What the last update trained on."""
        self.optimizers = {group: self._optimizer(getattr(networks, group)) for group in algorithm.trains}

    def run(
        self, batch: Batch, moment: Moment, *, samples: Samples | None = None, lengths: Tensor | None = None
    ) -> dict[str, float]:
        """One update on a batch.

        Args:
            batch: a whole global batch.
            moment: where the stage stands, for learning rates and the proposals' draws.
            samples: what to train on in place of draws of its own.
            lengths: [M] tokens of each sequence that the policy draws, eos counted; none: as it has it.

        Returns:
            The terms of the loss by our names, not normalised.
        """
        self.samples, objectives = self.objectives(batch, moment, samples, lengths)
        mask = self.samples.mask
        numbers = {"example": len(batch.example_ids), "sequence": len(mask), "token": int(mask.sum())}
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        sum(o.coefficient * o.total / numbers[o.per] for o in objectives).backward()  # type: ignore[union-attr]
        for group, rate in self.algorithm.learning_rates(moment.update, moment.decays).items():
            torch.nn.utils.clip_grad_norm_(
                getattr(self.networks, group).parameters(), self.algorithm.clip_norm
            )
            self.optimizers[group].param_groups[0]["lr"] = rate
            self.optimizers[group].step()
        self._follow()
        return {o.name: o.total.item() for o in objectives}

    @abstractmethod
    def objectives(
        self, batch: Batch, moment: Moment, samples: Samples | None, lengths: Tensor | None
    ) -> tuple[Samples, list[Objective]]:
        """What is trained on, and the terms of the loss."""

    def _optimizer(self, network: torch.nn.Module) -> torch.optim.Optimizer:
        algorithm = self.algorithm
        if algorithm.optimizer == "sgd":
            return torch.optim.SGD(network.parameters(), lr=algorithm.learning_rate)
        betas = (algorithm.beta1, algorithm.beta2)
        return torch.optim.Adam(network.parameters(), lr=algorithm.learning_rate, betas=betas)

    @torch.no_grad()
    def _follow(self) -> None:
        for follower, rate in self.algorithm.following_rates().items():
            followed = getattr(self.networks, FOLLOWED[follower]).parameters()
            for average, parameter in zip(
                getattr(self.networks, follower).parameters(), followed, strict=True
            ):
                average.mul_(1 - rate).add_(rate * parameter)

    def _proposed(self, batch: Batch, moment: Moment, samples: Samples | None) -> Samples:
        """Ours, where no network is asked."""
        return samples or self.algorithm.draw(batch, self.networks, self.reward_function, moment)

    def _rewards(self, batch: Batch, samples: Samples) -> Rewards:
        return self.scorer.submit(samples, batch.references).result()

    def _nll(self, batch: Batch, samples: Samples) -> Tensor:
        """-log pi of each token [M, T], teacher-forced; 0 in padding and where eos was forced."""
        logits = policy_forward(recurrent(self.networks.policy), batch, samples)
        nll = F.cross_entropy(
            logits.flatten(0, 1), samples.targets.flatten(), ignore_index=PAD, reduction="none"
        )
        return nll.view_as(samples.targets) * (samples.mask & ~samples.forced_eos)


class MleUpdate(Update[Mle]):
    """Maximum likelihood."""

    def objectives(
        self, batch: Batch, moment: Moment, samples: Samples | None, lengths: Tensor | None
    ) -> tuple[Samples, list[Objective]]:
        """-log pi of the references."""
        samples = samples or reference_samples(batch)
        return samples, [Objective("mle", self._nll(batch, samples).sum(), "example")]


class CriticUpdate(Update[CriticTraining]):
    """The critic against a policy that stands still."""

    def objectives(
        self, batch: Batch, moment: Moment, samples: Samples | None, lengths: Tensor | None
    ) -> tuple[Samples, list[Objective]]:
        """Squared TD error and variance of Q over words."""
        with torch.no_grad():
            samples, log_pi = self._unrolled(batch, samples, lengths)
            values = self._state_values(log_pi.exp(), log_pi, batch, samples)
        critic, _ = self.networks.critics()
        q = critic_forward(recurrent(critic), batch, samples)
        return samples, self._critic_terms(q, values, batch, samples)

    def _unrolled(
        self, batch: Batch, samples: Samples | None, lengths: Tensor | None
    ) -> tuple[Samples, Tensor]:
        """Samples of the policy, or those that are given, and log pi of all words [M, T, V] in that pass."""
        algorithm, policy = self.algorithm, recurrent(self.networks.policy)
        assert algorithm.forced_eos == "restricted"
        choose: Choose = ancestral
        if samples is not None:
            choose = given(samples.targets)
        elif lengths is not None:
            choose = ending_at(lengths)
        memory = encode(policy, batch.source, batch.source_mask).repeat(algorithm.num_samples)
        drawn, log_pi = unroll(
            policy,
            memory,
            algorithm.longest_sample(batch),
            choose,
            num_per_example=algorithm.num_samples,
            dropout=algorithm.sample_dropout,
            keep=True,
        )
        assert log_pi is not None
        return drawn, log_pi

    @torch.no_grad()
    def _state_values(self, pi: Tensor, log_pi: Tensor, batch: Batch, samples: Samples) -> Tensor:
        """Vbar [M, T] of Eq. 19 from pi and log pi [M, T, V]."""
        _, target_critic = self.networks.critics()
        q = critic_forward(recurrent(target_critic), batch, samples)
        values = (pi * (q - self.algorithm.target_tau() * log_pi)).sum(-1)
        return torch.where(samples.forced_eos, q[:, :, EOS], values)

    def _critic_terms(self, q: Tensor, values: Tensor, batch: Batch, samples: Samples) -> list[Objective]:
        """Eq. 18 from Q [M, T, V] and Vbar [M, T]."""
        algorithm, mask = self.algorithm, samples.mask
        assert algorithm.variance == "variance"
        following = F.pad((values * mask)[:, 1:], (0, 1))
        targets = self._rewards(batch, samples).token + following
        chosen = q.gather(2, samples.targets.unsqueeze(2)).squeeze(2)
        td = ((targets - chosen).square() * mask).sum()
        variance = (q.var(dim=-1) * mask).sum()
        return [
            Objective("td", td, "sequence"),
            Objective("variance", variance, "sequence", algorithm.lambda_var),
        ]


class ErAcUpdate(CriticUpdate):
    """Policy and critic together; the pass that samples has its graph, so that it is the only one."""

    def objectives(
        self, batch: Batch, moment: Moment, samples: Samples | None, lengths: Tensor | None
    ) -> tuple[Samples, list[Objective]]:
        """Eq. 20 and likelihood of the references for the policy, Eq. 18 for the critic."""
        algorithm = self.algorithm
        assert isinstance(algorithm, ActorCritic)
        assert algorithm.entropy_gradient == "exact"
        assert algorithm.delayed_policy_rate is None
        samples, log_pi = self._unrolled(batch, samples, lengths)
        pi = log_pi.exp()
        values = self._state_values(pi, log_pi, batch, samples)
        critic, _ = self.networks.critics()
        q = critic_forward(recurrent(critic), batch, samples)
        gain = (pi * (q.detach() - algorithm.tau * log_pi)).sum(-1)
        policy_loss = -(gain * (samples.mask & ~samples.forced_eos)).sum()
        mle = self._nll(batch, reference_samples(batch)).sum()
        return samples, [
            Objective("policy", policy_loss, "sequence"),
            Objective("mle", mle, "example", algorithm.lambda_mle),
            *self._critic_terms(q, values, batch, samples),
        ]


class OracleUpdate(Update[SoftQ]):
    """VAML's oracle."""

    def objectives(
        self, batch: Batch, moment: Moment, samples: Samples | None, lengths: Tensor | None
    ) -> tuple[Samples, list[Objective]]:
        """Eq. 16; gradients through Q and V."""
        oracle, tau = self.networks.critic, self.algorithm.tau
        assert oracle is not None
        samples = self._proposed(batch, moment, samples)
        q = oracle_forward(recurrent(oracle), batch, samples, dropout=True)
        values = tau * torch.logsumexp(q / tau, dim=-1) * samples.mask
        targets = self._rewards(batch, samples).token + F.pad(values[:, 1:], (0, 1))
        chosen = q.gather(2, samples.targets.unsqueeze(2)).squeeze(2)
        residual = (chosen - targets) * samples.mask
        return samples, [Objective("soft_q", residual.square().sum(), "sequence")]


class RamlUpdate(Update[Raml]):
    """Reward augmented maximum likelihood."""

    def objectives(
        self, batch: Batch, moment: Moment, samples: Samples | None, lengths: Tensor | None
    ) -> tuple[Samples, list[Objective]]:
        """-log pi of each sequence by its weight."""
        assert self.algorithm.weighting == "reward"
        samples = self._proposed(batch, moment, samples)
        weights = _weights(self._rewards(batch, samples), samples, self.algorithm.temperature)
        loss = (self._nll(batch, samples).sum(1) * weights).sum()
        return samples, [Objective("mle", loss, "example")]


class VamlUpdate(Update[Vaml]):
    """VAML's student."""

    def objectives(
        self, batch: Batch, moment: Moment, samples: Samples | None, lengths: Tensor | None
    ) -> tuple[Samples, list[Objective]]:
        """-log pi of some tokens, cross entropy against the oracle of the others (drawn as ours are)."""
        algorithm, oracle = self.algorithm, self.networks.critic
        assert algorithm.samples_from == "ngram"
        assert oracle is not None
        samples = self._proposed(batch, moment, samples)
        log_pi = F.log_softmax(policy_forward(recurrent(self.networks.policy), batch, samples), dim=-1)
        with torch.no_grad():
            q = oracle_forward(recurrent(oracle), batch, samples, dropout=False)
            target = torch.softmax(q / algorithm.tau, dim=-1)
        nll = -log_pi.gather(2, samples.targets.unsqueeze(2)).squeeze(2)
        cross_entropy = -(target * log_pi).sum(-1)
        N, (_, T) = samples.num_per_example, samples.mask.shape
        longest = batch.longest_reference + algorithm.extra_length
        distilled = moment.uniforms("distilled", batch, N, longest)[:, :T] < algorithm.vaml_coeff
        weights = _weights(self._rewards(batch, samples), samples, algorithm.temperature).unsqueeze(1)
        return samples, [
            Objective("mle", (nll * weights * (samples.mask & ~distilled)).sum(), "example"),
            Objective("vaml", (cross_entropy * weights * (samples.mask & distilled)).sum(), "example"),
        ]


class InterpolationUpdate(Update[Interpolation]):
    """Likelihood of sequences that policy, reward and reference write together."""

    def objectives(
        self, batch: Batch, moment: Moment, samples: Samples | None, lengths: Tensor | None
    ) -> tuple[Samples, list[Objective]]:
        """-log pi of the sequences; ``lengths`` are the experts' own."""
        assert lengths is None
        samples = samples or self._drawn(batch, moment).samples
        loss = self._nll(batch, samples).sum()
        return samples, [Objective("mle", loss, "example", 1 / self.algorithm.num_samples)]

    @torch.no_grad()
    def _drawn(self, batch: Batch, moment: Moment) -> Unrolled:
        algorithm, policy = self.algorithm, recurrent(self.networks.policy)
        return unroll(
            policy,
            encode(policy, batch.source, batch.source_mask).repeat(algorithm.num_samples),
            algorithm.longest_sample(batch),
            by_expert(algorithm, batch, self.reward_function, moment.decays),
            num_per_example=algorithm.num_samples,
            dropout=algorithm.sample_dropout,
        )


def _weights(rewards: Rewards, samples: Samples, temperature: float) -> Tensor:
    """exp(R / temperature) of each sample [M] over the sum of an example's N."""
    scores = (rewards.sequence / temperature).view(-1, samples.num_per_example)
    return torch.softmax(scores, dim=1).flatten()


_UPDATES: dict[type[Algorithm], type[Update[Any]]] = {
    Mle: MleUpdate,
    CriticTraining: CriticUpdate,
    ActorCritic: ErAcUpdate,
    SoftQ: OracleUpdate,
    Vaml: VamlUpdate,
    Raml: RamlUpdate,
    Interpolation: InterpolationUpdate,
}


def update_of(algorithm: Algorithm, networks: Networks, reward_function: RewardFunction) -> Update[Any]:
    """The textbook form of an algorithm's update. Raises KeyError where there is none."""
    return _UPDATES[type(algorithm)](algorithm, networks, reward_function)
