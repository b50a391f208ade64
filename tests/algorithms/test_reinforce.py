from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from raysq.algorithms import Mle, Reinforce
from raysq.decoding import greedy
from raysq.models import StepBaseline
from raysq.types import EOS, FIRST_ACTION, Rewards, Samples

OPTIONS: list[dict[str, Any]] = [
    {"baseline": "none"},
    {"baseline": "none", "credit": "sequence", "num_samples": 1},
    {"baseline": "learned"},
    {"baseline": "learned", "credit": "sequence", "tau": 0.3},
    {"baseline": "greedy"},
    {"baseline": "greedy", "num_samples": 1, "tau": 0.3},
    {"baseline": "leave_one_out"},
    {"baseline": "leave_one_out", "num_samples": 3, "lambda_mle": 0.4},
    {"baseline": "group_normalised", "num_samples": 3},
    {"baseline": "none", "tau": 0.3},
    {"baseline": "none", "tau": 0.3, "future_entropy": False},
    {"baseline": "leave_one_out", "sample_dropout": False},
    {"baseline": "leave_one_out", "ratio_clip": 0.2, "tau": 0.3},
]


def reinforce(**options: Any) -> Reinforce:
    """Samples short enough for eos to be forced."""
    return Reinforce(**{"num_samples": 2, "max_length": 4} | options)


def with_baseline(problem: Any) -> Any:
    """With a learned baseline of two steps, not the one it starts from."""
    baseline = StepBaseline(2, 6)
    with torch.no_grad():
        baseline.weight.copy_(torch.randn(2, 6))
        baseline.bias.copy_(torch.tensor([0.3, -0.4]))
    return replace(problem, networks=replace(problem.networks, baseline=baseline))


def drawn_of(algorithm: Reinforce, samples: Samples) -> list[int]:
    """Which sequences are trained on: not the last of each example where it is the greedy one."""
    N = samples.num_per_example
    return [m for m in range(len(samples.mask)) if algorithm.baseline != "greedy" or m % N < N - 1]


def plain_returns(algorithm: Reinforce, samples: Samples, rewards: Rewards) -> Tensor:
    """What each token [M, T] is said to earn beyond what other sequences say, one by one."""
    N, log_probs = samples.num_per_example, samples.log_probs
    assert log_probs is not None
    result = torch.zeros(samples.mask.shape)
    for m in drawn_of(algorithm, samples):
        group = list(range(m // N * N, m // N * N + N))
        R = [float(rewards.sequence[j]) for j in group]
        own = R[m % N]
        T = int(samples.mask[m].sum())
        for t in range(T):
            if algorithm.baseline == "greedy":
                value = own - R[-1]
            elif algorithm.baseline == "leave_one_out":
                value = own - (sum(R) - own) / (N - 1)
            elif algorithm.baseline == "group_normalised":
                mean = sum(R) / N
                deviation = (sum((r - mean) ** 2 for r in R) / N) ** 0.5
                value = (own - mean) / (deviation + 1e-4)
            elif algorithm.credit != "sequence":
                value = sum(float(rewards.token[m, k]) for k in range(t, T))
            else:
                value = own
            if algorithm.future_entropy:
                value -= algorithm.tau * sum(float(log_probs[m, k]) for k in range(t + 1, T))
            result[m, t] = value
    return result


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_update_is_the_textbooks(
    make_problem: Any, run: Any, textbook: Any, gradients_of: Any, options: dict[str, Any], dropout: float
) -> None:
    algorithm, problem = reinforce(**options), with_baseline(make_problem(dropout=dropout))
    update = run(algorithm, problem)
    samples, N = update.samples, algorithm.num_samples
    assert samples.forced_eos.any()
    masks = samples.dropout_mask
    assert (masks is None or bool((masks == 1).all())) == (dropout == 0 or not algorithm.sample_dropout)
    book = textbook(problem, samples, update.rewards, restricted=True)
    chosen = (samples.targets - FIRST_ACTION).clamp(min=0).unsqueeze(2)
    log_pi = book.log_pi.gather(2, chosen).squeeze(2)
    weight = torch.zeros(samples.mask.shape)
    weight[drawn_of(algorithm, samples)] = 1.0
    weight *= samples.mask
    advantages = plain_returns(algorithm, samples, update.rewards)
    if algorithm.baseline == "learned":
        baseline, features = problem.networks.baseline, features_of(problem, samples)
        own = [min(t, 1) for t in range(samples.mask.shape[1])]
        predicted = torch.stack(
            [features[:, t] @ baseline.weight[s] + baseline.bias[s] for t, s in enumerate(own)], 1
        )
        squared = (((predicted - advantages) ** 2) * weight).sum() / (4 * N)
        advantages = advantages - predicted.detach()
    free = weight * ~samples.forced_eos
    policy = -((advantages * log_pi + algorithm.tau * book.entropy) * free).sum() / (4 * N)
    terms = {"policy": policy}
    if algorithm.baseline == "learned":
        terms["baseline"] = squared
    if algorithm.lambda_mle:
        terms["mle"] = algorithm.lambda_mle / 4 * book.likelihood_loss(dropout > 0)
    assert [o.name for o in update.objectives] == list(terms)
    for name, gradient in gradients_of(torch.stack(list(terms.values())).sum(), problem).items():
        if name.startswith("policy"):
            assert_close(update.gradients[name], gradient, rtol=0, atol=1e-10, msg=name)
        else:
            assert update.gradients[name] is None
    if algorithm.ratio_clip is None:  # the clipped form has another value, and the gradient of this one
        for objective in update.objectives:
            value = objective.coefficient / 4 * objective.total.detach()
            assert_close(value, terms[objective.name].detach(), rtol=0, atol=1e-10, msg=objective.name)
    if algorithm.baseline == "learned":
        expected = torch.autograd.grad(squared, list(baseline.parameters()))
        for parameter, gradient in zip(baseline.parameters(), expected, strict=True):
            assert_close(parameter.grad, gradient, rtol=0, atol=1e-10)
            assert gradient.abs().max() > 1e-3


def features_of(problem: Any, samples: Samples) -> Tensor:
    policy, batch = problem.networks.policy, problem.batch
    memory = policy.encode(batch.source, batch.source_mask).repeat(samples.num_per_example)
    return policy.features(memory, samples.inputs, samples.dropout_mask).detach()


@pytest.mark.parametrize(
    "options",
    [
        {"baseline": "greedy"},
        {"baseline": "group_normalised"},
        {"tau": 0.3},
        {"lambda_mle": 0.3},
        {"baseline": "none", "credit": "sequence"},
        {"baseline": "none"},
    ],
    ids=str,
)
def test_every_option_matters(make_problem: Any, run: Any, options: dict[str, Any]) -> None:
    plain, other = (run(reinforce(**given), make_problem()) for given in ({}, options))
    assert abs(plain.loss - other.loss) > 1e-3


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_greedy_sequence_travels_last_and_without_dropout(make_problem: Any, dropout: float) -> None:
    problem, algorithm = make_problem(dropout=dropout), reinforce(baseline="greedy", max_length=6)
    networks, batch = problem.networks, problem.batch
    samples = algorithm.draw(batch, networks, None, problem.moment)
    assert samples.num_per_example == 3
    memory = networks.policy.encode(batch.source, batch.source_mask)
    expected = greedy(networks.policy, memory, 6)
    assert words(samples, [2, 5, 8, 11]) == words(expected, range(4))
    assert (samples.dropout_mask is None) == (dropout == 0)
    if samples.dropout_mask is not None:
        assert (samples.dropout_mask[2::3] == 1).all()
    plain = reinforce(baseline="none", max_length=6).draw(batch, networks, None, problem.moment)
    assert words(samples, [0, 1, 3, 4, 6, 7, 9, 10]) == words(plain, range(8))


def words(samples: Samples, rows: Any) -> list[list[int]]:
    return [samples.targets[m][samples.mask[m]].tolist() for m in rows]


def test_a_sample_that_is_the_greedy_sequence_has_no_advantage(make_problem: Any, run: Any) -> None:
    """A policy with one continuation draws what it decodes."""
    problem = make_problem()
    with torch.no_grad():
        problem.networks.policy.output.weight.zero_()
        problem.networks.policy.output.bias.zero_()[5] = 200.0
    samples = reinforce(baseline="greedy").draw(problem.batch, problem.networks, None, problem.moment)
    assert words(samples, [0]) == words(samples, [2]) == [[5, 5, 5, EOS]]
    payoff = torch.tensor([0.7, 0.1, 0.4, 0.9]).repeat_interleave(3)  # the same words earn the same
    update = run(reinforce(baseline="greedy"), problem, sequence=payoff)
    assert update.metrics["advantage_squared"][0] == 0
    no_policy_gradient(update.gradients)


def no_policy_gradient(gradients: dict[str, Tensor | None], limit: float = 0.0) -> None:
    for name, gradient in gradients.items():
        if name.startswith("policy"):
            assert gradient is not None
            assert gradient.abs().max() <= limit, name


def test_advantages_of_a_group_sum_to_zero(make_problem: Any, run: Any) -> None:
    """Seen at an algorithm's own advantages, each on every token of its sequence."""
    algorithm, problem = reinforce(num_samples=3), make_problem()
    update = run(algorithm, problem)
    rows = algorithm._advantages(update.rewards, update.samples, update.samples)
    ends = update.samples.mask.sum(1).cumsum(0) - 1
    by_group = rows[ends].view(4, 3)
    assert_close(by_group.sum(1), torch.zeros(4), rtol=0, atol=1e-12)
    assert by_group.abs().min() > 1e-3
    assert_close(
        rows, rows[ends].repeat_interleave(update.samples.mask.sum(1))
    )  # the same at all tokens, eos too


@pytest.mark.parametrize("baseline", ["leave_one_out", "group_normalised"])
def test_one_distinct_payoff_in_each_group_gives_no_gradient(
    make_problem: Any, run: Any, baseline: Any
) -> None:
    """Normalised ones exactly: in single precision the mean of three times 0.9 is another number."""
    algorithm, equal = reinforce(baseline=baseline, num_samples=3), torch.full((12,), 0.9)
    update = run(algorithm, make_problem(), sequence=equal)
    no_policy_gradient(update.gradients, limit=1e-10)
    single = replace(update.rewards, sequence=equal.float())
    advantages = algorithm._advantages(single, update.samples, update.samples)
    assert advantages.abs().max() < (1e-10 if baseline == "group_normalised" else 1e-6)


def test_normalised_advantages_do_not_know_the_scale_of_payoffs(make_problem: Any, run: Any) -> None:
    algorithm = reinforce(baseline="group_normalised", num_samples=3)
    plain = run(algorithm, make_problem())
    other = run(algorithm, make_problem(), sequence=7 * plain.rewards.sequence + 3)
    assert_close(other.loss, plain.loss, rtol=1e-3, atol=0)


def test_clipping_reads_the_policy_that_drew(make_problem: Any, run: Any) -> None:
    """Fresh samples: ratio 1, REINFORCE's gradient. Samples of another policy: other ratios, some clipped."""
    problem = make_problem()
    clipped, plain = (run(reinforce(ratio_clip=c), problem) for c in (0.05, None))
    n = clipped.metrics["ratio"][1]
    assert clipped.metrics["ratio"][0] == pytest.approx(n)
    assert clipped.metrics["clipped"][0] == 0
    for name, gradient in plain.gradients.items():
        if gradient is not None:
            assert_close(clipped.gradients[name], gradient, rtol=0, atol=1e-12)
    delayed = make_problem().networks.policy
    with torch.no_grad():
        delayed.output.bias.add_(torch.randn(8))
    stale = replace(problem, networks=replace(problem.networks, delayed_policy=delayed))
    update = run(reinforce(ratio_clip=0.05), stale)
    assert abs(update.metrics["ratio"][0] / update.metrics["ratio"][1] - 1) > 0.01
    assert update.metrics["clipped"][0] > 0


def test_likelihood_alone_without_payoffs(make_problem: Any, run: Any) -> None:
    nothing = {"token": torch.zeros(8, 4), "sequence": torch.zeros(8)}
    update = run(reinforce(lambda_mle=1.0), make_problem(), **nothing)
    mle = run(Mle(), make_problem())
    assert_close(update.loss, mle.loss, rtol=0, atol=1e-12)
    for name, gradient in mle.gradients.items():
        if gradient is not None:
            assert_close(update.gradients[name], gradient, rtol=0, atol=1e-12)


def test_metrics_leave_the_greedy_sequence_out(make_problem: Any, run: Any) -> None:
    update = run(reinforce(baseline="greedy"), make_problem())
    drawn = [m for m in range(12) if m % 3 < 2]
    tokens = float(update.samples.mask[drawn].sum())
    assert update.metrics["tokens"] == (tokens, 1.0)
    assert update.metrics["payoff"] == pytest.approx((float(update.rewards.sequence[drawn].sum()), 8))
    assert update.metrics["sample_length"] == (tokens - 8, 8.0)


def test_networks_and_their_rates() -> None:
    assert reinforce().trains == ("policy",)
    learned = reinforce(baseline="learned", learning_rate=0.8, baseline_learning_rate=0.3, decay=0.5)
    assert learned.trains == ("policy", "baseline")
    assert learned.learning_rates(7, decays=2) == pytest.approx({"policy": 0.2, "baseline": 0.3})


def test_a_group_needs_two() -> None:
    for baseline in ("leave_one_out", "group_normalised"):
        with pytest.raises(ValueError, match="`num_samples` must be 2 or more with `baseline`"):
            Reinforce(baseline=baseline, num_samples=1)
    assert Reinforce(baseline="greedy", num_samples=1).num_samples == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"credit": "to_go"}, "`credit` has no effect unless `baseline` is none or learned"),
        ({"baseline": "greedy", "credit": "sequence"}, "`credit` has no effect"),
        ({"future_entropy": False}, "`future_entropy` has no effect unless `tau` is above 0"),
    ],
    ids=str,
)
def test_settings_without_effect_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Reinforce(**options)


def test_published_setting() -> None:
    algorithm = Reinforce()
    assert (algorithm.baseline, algorithm.num_samples, algorithm.tau) == ("leave_one_out", 5, 0.0)
    assert (algorithm.optimizer, algorithm.learning_rate) == ("adam", 5e-5)
