from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from raysq.algorithms import Mle, Mrt
from raysq.algorithms.mrt import distinct_candidates
from raysq.types import EOS, FIRST_ACTION, Samples


def mrt(**options: Any) -> Mrt:
    """Samples short enough for eos to be forced, and for some to be drawn twice."""
    return Mrt(**{"num_samples": 3, "max_length": 3, "sharpness": 0.7} | options)


def likelier(problem: Any) -> Any:
    """A policy that draws the same words again and again."""
    with torch.no_grad():
        problem.networks.policy.output.bias[5] = 3.0
    return problem


def plain_distinct(samples: Samples) -> list[int]:
    """The first of the same sequences of each example."""
    N, seen, kept = samples.num_per_example, set(), []
    for m in range(len(samples.mask)):
        key = (m // N, *samples.targets[m][samples.mask[m]].tolist())
        if key not in seen:
            kept.append(m)
        seen.add(key)
    return kept


def plain_risk(samples: Samples, log_pi: Tensor, payoffs: Tensor, sharpness: float) -> Tensor:
    """Summed over examples; log pi [M, T] of the tokens."""
    N, distinct = samples.num_per_example, plain_distinct(samples)
    log_p = (log_pi * samples.mask * ~samples.forced_eos).sum(1)
    total = torch.zeros(())
    for b in range(len(samples.mask) // N):
        group = [m for m in distinct if m // N == b]
        q = torch.softmax(sharpness * log_p[group], 0)
        total = total + (q * (1 - payoffs[group])).sum()
    return total


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize(
    "options", [{}, {"include_reference": True}, {"lambda_mle": 0.4}, {"sharpness": 5e-3}], ids=str
)
def test_the_update_is_the_textbooks(
    make_problem: Any, run: Any, textbook: Any, gradients_of: Any, options: dict[str, Any], dropout: float
) -> None:
    algorithm, problem = mrt(**options), likelier(make_problem(dropout=dropout))
    update = run(algorithm, problem)
    samples = update.samples
    distinct = plain_distinct(samples)
    assert samples.forced_eos.any()
    assert 4 < len(distinct) < 12
    book = textbook(problem, samples, update.rewards, restricted=True)
    log_pi = book.log_pi.gather(2, (samples.targets - FIRST_ACTION).clamp(min=0).unsqueeze(2)).squeeze(2)
    loss = plain_risk(samples, log_pi, update.rewards.sequence, algorithm.sharpness) / 4
    if algorithm.lambda_mle:
        loss = loss + algorithm.lambda_mle / 4 * book.likelihood_loss(dropout > 0)
    assert_close(update.loss, loss.detach(), rtol=0, atol=1e-10)
    for name, gradient in gradients_of(loss, problem).items():
        if name.startswith("policy"):
            assert_close(update.gradients[name], gradient, rtol=0, atol=1e-10, msg=name)
            assert gradient.abs().max() > 1e-7
        else:
            assert update.gradients[name] is None
    assert update.metrics["distinct"] == (len(distinct), 4.0)


def test_each_candidate_counts_once_in_its_example() -> None:
    targets = torch.tensor([[5, EOS, 0], [6, EOS, 0], [5, EOS, 0], [5, EOS, 0], [5, 5, EOS], [5, 5, EOS]])
    samples = Samples(targets, targets, targets != 0, targets < 0, num_per_example=3)
    assert distinct_candidates(samples).tolist() == [True, True, False, True, True, False]
    one = replace(samples, num_per_example=6)
    assert distinct_candidates(one).tolist() == [True, True, False, False, True, False]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_reference_may_be_the_last_candidate(make_problem: Any, dropout: float) -> None:
    """With its own log-probability, of a pass without dropout."""
    problem, algorithm = make_problem(dropout=dropout), mrt(include_reference=True)
    batch, policy = problem.batch, problem.networks.policy
    samples = algorithm.draw(batch, problem.networks, None, problem.moment)
    plain = mrt(num_samples=2).draw(batch, problem.networks, None, problem.moment)
    assert samples.num_per_example == 3
    assert samples.log_probs is not None
    assert plain.log_probs is not None
    features = policy.features(policy.encode(batch.source, batch.source_mask), samples.inputs[2::3])
    log_pi = torch.log_softmax(features @ policy.output.weight.t() + policy.output.policy_bias(), -1)
    for b in range(4):
        last = 3 * b + 2
        reference = batch.reference[b][batch.reference_mask[b]]
        assert samples.targets[last][samples.mask[last]].tolist() == reference.tolist()
        expected = log_pi[b, torch.arange(len(reference)), reference]
        assert_close(samples.log_probs[last][samples.mask[last]], expected, rtol=0, atol=1e-10)
        assert not samples.forced_eos[last].any()
        for drawn, own in ((3 * b, 2 * b), (3 * b + 1, 2 * b + 1)):
            T = plain.mask.shape[1]
            assert torch.equal(samples.targets[drawn, :T], plain.targets[own])
            assert torch.equal(samples.log_probs[drawn, :T], plain.log_probs[own])
            assert not samples.mask[drawn, T:].any()


def test_one_distinct_candidate_gives_no_gradient(make_problem: Any, run: Any) -> None:
    problem = make_problem()
    with torch.no_grad():
        problem.networks.policy.output.weight.zero_()
        problem.networks.policy.output.bias.zero_()[5] = 200.0
    update = run(mrt(), problem)
    assert update.metrics["distinct"] == (4.0, 4.0)
    assert update.metrics["effective"] == pytest.approx((4.0, 4.0))
    first = update.rewards.sequence[::3]
    assert update.metrics["risk"][0] == pytest.approx(float((1 - first).sum()))
    for name, gradient in update.gradients.items():
        if name.startswith("policy"):
            assert gradient.abs().max() < 1e-12


def test_a_small_sharpness_weighs_candidates_alike(make_problem: Any, run: Any) -> None:
    update = run(mrt(sharpness=1e-9), make_problem())
    kept = plain_distinct(update.samples)
    means = [
        float(torch.stack([1 - update.rewards.sequence[m] for m in kept if m // 3 == b]).mean())
        for b in range(4)
    ]
    assert update.metrics["risk"][0] == pytest.approx(sum(means), abs=1e-6)
    assert update.metrics["effective"][0] == pytest.approx(len(kept), abs=1e-6)


def test_likelihood_alone_when_all_candidates_cost_the_same(make_problem: Any, run: Any) -> None:
    update = run(mrt(lambda_mle=1.0), make_problem(), sequence=torch.full((12,), 0.3))
    for name, gradient in run(Mle(), make_problem()).gradients.items():
        if gradient is not None:
            assert_close(update.gradients[name], gradient, rtol=0, atol=1e-12)


def test_published_setting() -> None:
    algorithm = Mrt()
    assert (algorithm.num_samples, algorithm.sharpness) == (100, 5e-3)
    assert (algorithm.include_reference, algorithm.lambda_mle) == (False, 0.0)
