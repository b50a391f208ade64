"""What base.py gives every algorithm, and what every algorithm must keep to."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from raysq.algorithms import ALGORITHMS, ActorCritic, Algorithm, CriticTraining, Mle
from raysq.algorithms.base import critic_head, critic_input, policy_head, reference_samples
from raysq.losses import vocabulary
from raysq.types import BOS, EOS, FIRST_ACTION, PAD

EVERY = [
    Mle(),
    CriticTraining(tau=0.4, lambda_var=0.2, max_length=5),
    ActorCritic(tau=0.4, lambda_var=0.2, lambda_mle=0.3, max_length=5),
]
every_algorithm = pytest.mark.parametrize("algorithm", EVERY, ids=lambda algorithm: type(algorithm).__name__)


def test_every_algorithm_is_tested() -> None:
    assert [type(algorithm) for algorithm in EVERY] == list(ALGORITHMS)


def test_reference_samples_literal(make_problem: Any) -> None:
    samples = reference_samples(make_problem().batch)
    assert samples.targets[2].tolist() == [3, 4, EOS, PAD, PAD]
    assert samples.inputs[2].tolist() == [BOS, 3, 4, PAD, PAD]
    assert samples.lengths.tolist() == [3, 1, 2, 4]
    assert samples.num_per_example == 1
    assert not samples.forced_eos.any()


def test_critic_input_literal(make_problem: Any) -> None:
    tokens, mask = critic_input(make_problem().batch)
    assert tokens[2].tolist() == [BOS, 3, 4, EOS, PAD, PAD]
    assert torch.equal(mask, tokens != PAD)


def test_heads(make_problem: Any) -> None:
    """A policy's head forbids pad and bos, a critic's values every word."""
    policy, (critic, _) = make_problem().networks.policy, make_problem().networks.critics()
    features = torch.randn(3, 6)
    head = policy_head(policy, features)
    pi = torch.softmax(head.features @ head.weight.t() + head.bias, 1)
    assert (pi[:, :FIRST_ACTION] == 0).all()
    assert_close(pi, torch.softmax(policy.output.logits(features), 1))
    assert torch.equal(critic_head(critic, features).bias, critic.output.bias)


@every_algorithm
def test_gradients_reach_what_is_trained_and_nothing_else(
    make_problem: Any, run: Any, algorithm: Algorithm
) -> None:
    """Every network wants gradients here: an algorithm must not lean on a frozen flag."""
    update = run(algorithm, make_problem(dropout=0.3, input_feeding=True))
    for name, gradient in update.gradients.items():
        if name.split(".")[0] in algorithm.trains:
            assert gradient is not None, name
            assert gradient.isfinite().all(), name
            assert gradient.abs().max() > 0, name
        else:
            assert gradient is None, name


@every_algorithm
def test_networks_that_are_not_trained_may_be_frozen(
    make_problem: Any, run: Any, algorithm: Algorithm
) -> None:
    free, problem = make_problem(), make_problem()
    for group in {"policy", "critic", "target_critic"} - set(algorithm.trains):
        getattr(problem.networks, group).requires_grad_(False)
    expected, update = run(algorithm, free), run(algorithm, problem)
    assert_close(update.loss, expected.loss, rtol=0, atol=1e-12)
    assert_same_gradients(update.gradients, expected.gradients)


@pytest.mark.parametrize("algorithm", EVERY[1:], ids=lambda algorithm: type(algorithm).__name__)
def test_no_gradient_flows_through_rewards(make_problem: Any, run: Any, algorithm: Algorithm) -> None:
    problem = make_problem()
    rewards = run(algorithm, problem).rewards
    token, sequence, scale = (
        part.clone().requires_grad_() for part in (rewards.token, rewards.sequence, rewards.scale)
    )
    run(algorithm, problem, token=token, sequence=sequence, scale=scale)
    assert token.grad is sequence.grad is scale.grad is None
    plain, other = run(algorithm, problem), run(algorithm, problem, token=rewards.token + 1.0)
    assert abs(plain.loss - other.loss) > 1e-3  # they are read


@every_algorithm
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_padding_changes_nothing(make_problem: Any, run: Any, algorithm: Algorithm, dropout: float) -> None:
    plain = run(algorithm, make_problem(dropout=dropout))
    padded = run(algorithm, make_problem(dropout=dropout, more_padding=1))
    assert_close(padded.loss, plain.loss, rtol=0, atol=1e-12)
    assert_same_gradients(padded.gradients, plain.gradients)
    for name, pair in plain.metrics.items():
        assert padded.metrics[name] == pytest.approx(pair), name


@every_algorithm
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_ranks_share_the_batch(make_problem: Any, run: Any, algorithm: Algorithm, dropout: float) -> None:
    """Every weight counts sentences, so gradients of slices add up in proportion to these."""
    whole = run(algorithm, make_problem(dropout=dropout))
    ranks = [run(algorithm, make_problem(dropout=dropout, slice_of=cut)) for cut in ((0, 3), (3, 4))]
    gradients = {
        name: None if gradient is None else 3 / 4 * gradient + 1 / 4 * ranks[1].gradients[name]
        for name, gradient in ranks[0].gradients.items()
    }
    assert_same_gradients(gradients, whole.gradients)
    for name in whole.metrics.keys() - {"tokens"}:
        sums = [sum(numbers) for numbers in zip(*(rank.metrics[name] for rank in ranks), strict=True)]
        assert sums == pytest.approx(list(whole.metrics[name])), name


def assert_same_gradients(got: dict[str, Tensor | None], expected: dict[str, Tensor | None]) -> None:
    for name, gradient in expected.items():
        if gradient is None:
            assert got[name] is None, name
        else:
            assert_close(got[name], gradient, rtol=0, atol=1e-12, msg=name)


class Largest(TorchDispatchMode):
    """Watches every operator, in the backward pass too, for the largest tensor any of them returns."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0
        self.operator = ""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.numel() > self.elements:
                self.elements, self.operator = leaf.numel(), str(func)
        return result


@pytest.fixture
def watched_problem(make_problem: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """14 reference tokens in chunks of 5; V = 211 exceeds everything else, and sampling rarely ends early."""
    monkeypatch.setattr(vocabulary, "CHUNK_ELEMENTS", 1)
    return make_problem(dropout=0.3, target_size=211)


@every_algorithm
def test_no_operator_returns_tokens_times_vocabulary(
    watched_problem: Any, run: Any, algorithm: Algorithm
) -> None:
    with Largest() as watcher:
        update = run(algorithm, watched_problem)
    tokens = int(update.samples.mask.sum())
    if any(objective.name == "mle" for objective in update.objectives):
        tokens = min(tokens, 14)
    assert watcher.elements < tokens * 211, watcher.operator


@every_algorithm
def test_the_watcher_sees_a_product_without_chunks(
    watched_problem: Any, run: Any, monkeypatch: pytest.MonkeyPatch, algorithm: Algorithm
) -> None:
    monkeypatch.setattr(vocabulary, "CHUNK_ELEMENTS", 1 << 19)
    monkeypatch.setattr(vocabulary, "BLOCK_ROWS", 512)
    with Largest() as watcher:
        update = run(algorithm, watched_problem)
    assert watcher.elements >= int(update.samples.mask.sum()) * 211


def test_the_watcher_sees_the_backward_pass() -> None:
    features, weight = torch.randn(20, 3, requires_grad=True), torch.randn(50, 3, requires_grad=True)
    loss = (features @ weight.t()).square().sum()
    with Largest() as watcher:
        loss.backward()
    assert watcher.elements == 20 * 50
