"""The limits in which one algorithm becomes another, in one table.

What losses tend to under exact values is in ``tests/theory``, literal schedules beside each algorithm.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from raysq.algorithms import (
    ActorCritic,
    Algorithm,
    AlphaDimt,
    Interpolation,
    Mixer,
    Mle,
    Noising,
    Raml,
    Reinforce,
    ReinforceCritic,
    ScheduledSampling,
    Vaml,
)
from raysq.proposals import BoundedHamming

COVERED: dict[str, Any] = {"start_prefix": 99, "nll_weight": 0.5}
JOINT: dict[str, Any] = {"lambda_var": 0.2, "lambda_mle": 0.3, "max_length": 6}
NO_CRITIC: dict[str, Any] = {"tau": 0.4, "num_samples": 1, "max_length": 6}

LIMITS: dict[str, tuple[Algorithm, Algorithm, float]] = {
    "interpolation, the reference alone": (
        Interpolation(lambda_model=0, lambda_reward=0, lambda_truth=1), Mle(), 1,
    ),
    "interpolation, the reference alone, longer than samples": (
        Interpolation(lambda_model=0, lambda_reward=0, lambda_truth=1, num_samples=2, max_length=2), Mle(), 1,
    ),
    "RAML, one sample": (Raml(num_samples=1), Mle(), 1),
    "RAML, temperature near 0": (Raml(temperature=1e-9), Mle(), 1),
    "scheduled sampling, the teacher alone": (ScheduledSampling(k=1e12), Mle(), 1),
    "MIXER, m = T": (Mixer(form="original", **COVERED), Mle(), 0.5),
    "MIXER, m = T, ERPO's form": (Mixer(form="erpo", **COVERED), Mle(), 0.5),
    "noise 0, inputs": (Noising(rate=0, side="inputs"), Mle(), 1),
    "noise 0, both sides": (Noising(rate=0, side="both"), Mle(), 1),
    "alpha-DiMT, nothing replaced": (AlphaDimt(proposal=BoundedHamming(max_share=0)), Mle(), 1),
    "VAML, no token distilled": (Vaml(vaml_coeff=0, temperature=0.7), Raml(temperature=0.7), 1),
    "ERAC, tau near 0: AC": (ActorCritic(tau=1e-9, **JOINT), ActorCritic(tau=0, **JOINT), 1),
    "RF-C, Q = 0": (ReinforceCritic(**NO_CRITIC), Reinforce(baseline="none", **NO_CRITIC), 1),
}  # fmt: skip
"""An algorithm in its limit, what it becomes there, and how many times the latter's loss it has."""
OF_POLICY = ("mle", "vaml", "policy")
"""The terms of the loss that train a policy."""


def loss_and_gradients(trial: Any) -> tuple[Tensor, dict[str, Tensor | None]]:
    """The terms that train the policy, normalised; and the gradients of all terms."""
    batch, moment = trial.batch(), replace(trial.moment, decays=0)
    samples, rewards = trial.step.source.draw(batch, moment)
    objectives, _ = trial.algorithm.objectives(batch, samples, rewards, trial.networks, moment)
    counts = {"example": len(batch.example_ids), "sequence": len(samples.mask)}
    terms = {each.name: each.coefficient / counts[each.per] * each.total for each in objectives}
    torch.stack(list(terms.values())).sum().backward()
    return torch.stack([terms[name].detach() for name in OF_POLICY if name in terms]).sum(), trial.gradients()


@pytest.mark.parametrize(("algorithm", "becomes", "times"), LIMITS.values(), ids=LIMITS)
def test_limit(make_trial: Any, algorithm: Algorithm, becomes: Algorithm, times: float) -> None:
    """The policy's loss, and the gradients of all networks that both train; without dropout."""
    in_limit, limit = make_trial(algorithm), make_trial(becomes)
    if limit.networks.critic is None and in_limit.networks.critic is not None:
        for parameter in in_limit.networks.critic.output.parameters():
            torch.nn.init.zeros_(parameter)
    (loss, gradients), (expected_loss, expected) = map(loss_and_gradients, (in_limit, limit))
    assert abs(expected_loss) > 0.1
    assert_close(loss, times * expected_loss, rtol=0, atol=1e-6)
    for group in becomes.trains:
        for name in (name for name in expected if name.startswith(f"{group}.")):
            assert_close(gradients[name], times * expected[name], rtol=0, atol=1e-6, msg=name)


def test_self_critical_training_ends_where_samples_are_greedy(make_trial: Any) -> None:
    """A policy that is sure of every word draws what it decodes: no advantage, no gradient."""
    algorithm = Reinforce(baseline="greedy", num_samples=3, max_length=6)
    doubtful, sure = make_trial(algorithm), make_trial(algorithm)
    with torch.no_grad():
        sure.networks.policy.output.weight.mul_(1e6)
    for trial, still in ((doubtful, False), (sure, True)):
        loss, gradients = loss_and_gradients(trial)
        largest = max(float(gradient.abs().max()) for gradient in gradients.values())
        assert (loss == 0, largest == 0) == (still, still)
