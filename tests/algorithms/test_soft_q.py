from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from raysq.algorithms import SoftQ
from raysq.algorithms.base import critic_input
from raysq.algorithms.rows import critic_features
from raysq.proposals import UniformNoise
from raysq.rewards import SentenceBleu
from raysq.types import EOS, FIRST_ACTION, Rewards, Samples

OPTIONS: list[dict[str, Any]] = [{}, {"tau": 0.1}, {"tau": 3.0}, {"num_copies": 0}]


def soft_q(**options: Any) -> SoftQ:
    """At most 3 sequences an example, and many words of the copies replaced."""
    return SoftQ(**{"num_copies": 2, "noise": UniformNoise(rate=0.5)} | options)


def draw(algorithm: SoftQ, problem: Any) -> Samples:
    return algorithm.draw(problem.batch, problem.networks, SentenceBleu(), problem.moment)


def residuals(problem: Any, samples: Samples, rewards: Rewards, tau: float) -> Tensor:
    """Q(y_{<t}, y_t) - [r_t + V(y_{1:t})] [M, T] from full tensors, 0 in padding; V is 0 after eos.

    pad and bos are cut out of the vocabulary.
    """
    batch, oracle, N = problem.batch, problem.networks.critic, samples.num_per_example
    dropout_mask = problem.moment.dropout_mask("oracle dropout", batch, N, batch.longest_reference, oracle)
    if dropout_mask is not None:
        dropout_mask = dropout_mask[:, : samples.mask.shape[1]]
    memory = oracle.encode(*critic_input(batch)).repeat(N)
    features = oracle.features(memory, samples.inputs, dropout_mask)
    q = (features @ oracle.output.weight.t() + oracle.output.bias)[..., FIRST_ACTION:]
    value = tau * torch.logsumexp(q / tau, -1) * samples.mask
    following = torch.cat((value[:, 1:], torch.zeros(len(value), 1)), 1)
    actions = (samples.targets - FIRST_ACTION).clamp(min=0)
    chosen = q.gather(2, actions.unsqueeze(2)).squeeze(2)
    return (chosen - rewards.token - following) * samples.mask


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("input_feeding", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_update_is_the_textbooks(
    make_problem: Any,
    run: Any,
    gradients_of: Any,
    options: dict[str, Any],
    input_feeding: bool,
    dropout: float,
) -> None:
    algorithm, problem = soft_q(**options), make_problem(input_feeding=input_feeding, dropout=0.3)
    problem.networks.critic.dropout = dropout
    update = run(algorithm, problem)
    errors = residuals(problem, update.samples, update.rewards, algorithm.tau)
    (objective,) = update.objectives
    assert (objective.name, objective.per, objective.coefficient) == ("soft_q", "sequence", 1.0)
    loss = (errors**2).sum() / (4 * (1 + algorithm.num_copies))
    assert_close(update.loss, loss.detach(), rtol=0, atol=1e-9)
    expected = gradients_of(loss, problem)
    for name, gradient in update.gradients.items():
        if name.startswith("critic"):
            assert_close(gradient, expected[name], rtol=0, atol=1e-9, msg=name)
        else:
            assert gradient is None, name
    tokens = 14.0 * (1 + algorithm.num_copies)
    assert update.metrics["tokens"] == (tokens, 1.0)
    assert update.metrics["td_error"] == pytest.approx((errors.abs().sum().item(), tokens))
    assert update.metrics["reward"] == pytest.approx(
        (1.5 * update.rewards.sequence.sum().item(), float(4 * (1 + algorithm.num_copies)))
    )


def test_the_gradient_flows_through_the_value_too(make_problem: Any, run: Any, gradients_of: Any) -> None:
    """Residual, not semi-gradient: with the targets held constant it is another one."""
    algorithm, problem = soft_q(), make_problem()
    update = run(algorithm, problem)
    chosen = critic_features(problem.networks.critic, problem.batch, update.samples)
    output = problem.networks.critic.output
    q = (chosen * output.weight[update.samples.targets[update.samples.mask]]).sum(1)
    q = q + output.bias[update.samples.targets[update.samples.mask]]
    errors = residuals(problem, update.samples, update.rewards, algorithm.tau)[update.samples.mask].detach()
    semi = gradients_of((2 * errors * q).sum() / 12, problem)["critic.output.weight"]
    assert (update.gradients["critic.output.weight"] - semi).abs().max() > 0.1


def test_dropout_is_the_oracles_own(make_problem: Any, run: Any) -> None:
    """Not the policy's rate, and other masks at every update."""
    problem, without = make_problem(dropout=0.3), make_problem(dropout=0.0)
    assert run(soft_q(), problem).loss == run(soft_q(), without).loss
    problem.networks.critic.dropout = 0.1
    first, again = run(soft_q(), problem).loss, run(soft_q(), problem).loss
    later = run(soft_q(), replace(problem, moment=replace(problem.moment, update=4))).loss
    assert first == again
    assert abs(first - later) > 1e-3


def test_the_samples_are_the_reference_and_noisy_copies(make_problem: Any) -> None:
    problem = make_problem()
    batch, samples = problem.batch, draw(soft_q(), problem)
    assert samples.num_per_example == 3
    assert torch.equal(samples.targets[::3], batch.reference)
    assert torch.equal(samples.mask, batch.reference_mask.repeat_interleave(3, 0))
    assert not samples.forced_eos.any()
    kept = (samples.targets == batch.reference.repeat_interleave(3, 0))[samples.mask]
    assert 0.5 < kept.double().mean() < 1
    assert (samples.targets[samples.mask] >= EOS).all()


def test_copies_are_new_in_every_epoch_only(make_problem: Any) -> None:
    problem = make_problem()
    first = draw(soft_q(), problem)
    later = draw(soft_q(), replace(problem, moment=replace(problem.moment, update=7)))
    next_epoch = draw(soft_q(), replace(problem, moment=replace(problem.moment, epoch=1)))
    assert torch.equal(first.targets, later.targets)
    assert not torch.equal(first.targets, next_epoch.targets)


def test_without_noise_there_are_references_alone(make_problem: Any, run: Any) -> None:
    """The limit rate = 0; each sequence counts as one, so that copies change nothing."""
    still = soft_q(noise=UniformNoise(rate=0.0))
    problem = make_problem()
    samples = draw(still, problem)
    assert torch.equal(samples.targets, problem.batch.reference.repeat_interleave(3, 0))
    alone = draw(soft_q(num_copies=0), problem)
    assert torch.equal(alone.targets, problem.batch.reference)


def test_descent_lowers_the_residual(make_problem: Any, run: Any) -> None:
    algorithm, problem, losses = soft_q(tau=1.0), make_problem(), []
    for _ in range(40):
        losses.append(float(run(algorithm, problem).loss))
        with torch.no_grad():
            for parameter in problem.networks.critic.parameters():
                parameter -= 0.01 * parameter.grad
    assert losses[-1] < 0.6 * losses[0]  # random rewards cannot all be foreseen


def test_published_setting() -> None:
    algorithm = SoftQ()
    assert (algorithm.optimizer, algorithm.beta1, algorithm.beta2) == ("adam", 0.9, 0.999)
    assert algorithm.learning_rates(update=5, decays=2) == {"critic": 2.5e-4}
    assert (algorithm.tau, algorithm.num_copies, algorithm.noise.rate) == (0.4, 5, 0.2)
    assert (algorithm.max_epochs, algorithm.max_decays, algorithm.batch_size) == (30, 4, 50)
    assert algorithm.selection == ("oracle_bleu", "max")
    assert SoftQ(select_by="td_error").selection == ("td_error", "min")
    assert algorithm.model_free
    assert algorithm.following_rates() == {}
    assert algorithm.critic_form == "oracle"


def test_tau_0_has_no_softmax() -> None:
    with pytest.raises(ValueError, match="tau"):
        SoftQ(tau=0.0)
