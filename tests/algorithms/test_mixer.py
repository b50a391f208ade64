from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from raysq.algorithms import Mixer, Mle
from raysq.algorithms.moment import Moment
from raysq.models import StepBaseline
from raysq.types import FIRST_ACTION, Samples


def mixer(m: int = 2, **options: Any) -> Mixer:
    """The prefix at every moment is m; few enough tokens for eos to be forced."""
    return Mixer(
        **{"start_prefix": m + 1, "prefix_step": 1, "epochs_per_prefix": 99, "max_length": 4} | options
    )


def with_baseline(problem: Any) -> Any:
    baseline = StepBaseline(3, 6)
    with torch.no_grad():
        baseline.weight.copy_(torch.randn(3, 6))
    return replace(problem, networks=replace(problem.networks, baseline=baseline))


def test_the_published_schedule() -> None:
    algorithm = Mixer()
    assert algorithm.prefixes == (25, 22, 19, 16, 13, 10, 7, 4, 1)
    first_of_epoch = [algorithm.prefix(Moment(1, "s", 10 * e, epoch=e)) for e in (0, 4, 5, 9, 10, 34, 35, 99)]
    assert first_of_epoch == [22, 22, 19, 19, 16, 4, 1, 1]
    by_updates = Mixer(updates_per_prefix=100, epochs_per_prefix=1)
    assert [by_updates.prefix(Moment(1, "s", u, epoch=7)) for u in (0, 99, 100, 699, 700, 5000)] == [
        22,
        22,
        19,
        4,
        1,
        1,
    ]
    assert Mixer(start_prefix=6, prefix_step=4).prefixes == (6, 2, 1)
    assert Mixer(start_prefix=1).prefixes == (1,)


def test_a_schedule_of_one_prefix() -> None:
    assert Mixer(start_prefix=1).prefix(Moment(1, "s", 0)) == 1


@pytest.mark.parametrize("m", [1, 2, 3])
def test_the_prefix_is_the_references(make_problem: Any, m: int) -> None:
    """Sequences begin with m tokens of the reference, eos among them; what follows is the policy's."""
    problem = make_problem()
    algorithm = mixer(m, num_samples=2, max_length=9)
    samples = algorithm.draw(problem.batch, problem.networks, None, problem.moment)
    assert samples.from_reference is not None
    for i in range(8):
        reference = problem.batch.reference[i // 2][problem.batch.reference_mask[i // 2]].tolist()
        copied = min(m, len(reference))
        assert samples.targets[i].tolist()[:copied] == reference[:copied]
        marked = samples.from_reference[i].tolist()
        assert marked == [t < copied for t in range(len(marked))]
        if copied == len(reference):
            assert samples.targets[i][samples.mask[i]].tolist() == reference
    assert (samples.mask & ~samples.from_reference).any()
    free = samples.mask & ~samples.from_reference & ~samples.forced_eos
    assert ((samples.log_probs != 0) == free).all()


def test_what_follows_is_drawn_by_the_policy_given_the_prefix(make_problem: Any) -> None:
    """The same uniform numbers decide, so log-probabilities are those of a teacher-forced pass."""
    problem = make_problem(dropout=0.3)
    samples = mixer(2, max_length=9).draw(problem.batch, problem.networks, None, problem.moment)
    policy, batch = problem.networks.policy, problem.batch
    features = policy.features(
        policy.encode(batch.source, batch.source_mask), samples.inputs, samples.dropout_mask
    )
    log_pi = torch.log_softmax(features @ policy.output.weight.t() + policy.output.policy_bias(), -1)
    chosen = log_pi.gather(2, samples.targets.unsqueeze(2)).squeeze(2)
    free = samples.mask & ~samples.from_reference & ~samples.forced_eos
    assert free.any()
    assert samples.log_probs is not None
    assert_close(samples.log_probs[free], chosen[free], rtol=0, atol=1e-10)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("num_samples", [1, 2])
@pytest.mark.parametrize("form", ["original", "erpo"])
def test_the_update_is_the_textbooks(
    make_problem: Any, run: Any, textbook: Any, gradients_of: Any, form: Any, num_samples: int, dropout: float
) -> None:
    problem = with_baseline(make_problem(dropout=dropout))
    update = run(mixer(2, form=form, num_samples=num_samples, nll_weight=0.3), problem)
    samples: Samples = update.samples
    assert samples.forced_eos.any()
    book = textbook(problem, samples, update.rewards, restricted=True)
    log_pi = book.log_pi.gather(2, (samples.targets - FIRST_ACTION).clamp(min=0).unsqueeze(2)).squeeze(2)
    policy, baseline, batch = problem.networks.policy, problem.networks.baseline, problem.batch
    memory = policy.encode(batch.source, batch.source_mask).repeat(num_samples)
    features = policy.features(memory, samples.inputs, samples.dropout_mask).detach()
    loss, squared = torch.zeros(()), torch.zeros(())
    for i in range(len(samples.mask)):
        reference = batch.reference_mask[i // num_samples].sum()
        for t in range(int(samples.mask[i].sum())):
            if t < min(2, reference):
                loss = loss - 0.3 * log_pi[i, t]
                continue
            if form == "original":
                step = min(t, 2)
                predicted = features[i, t] @ baseline.weight[step] + baseline.bias[step]
                squared = squared + (predicted - update.rewards.sequence[i]) ** 2
                advantage = update.rewards.sequence[i] - predicted.detach()
            else:
                advantage = update.rewards.token[i, 2:].sum() / update.rewards.scale[i]
            if not samples.forced_eos[i, t]:
                loss = loss - 0.7 * advantage * log_pi[i, t]
    loss, squared = loss / len(samples.mask), squared / len(samples.mask)
    assert_close(update.loss, (loss + squared).detach(), rtol=0, atol=1e-10)
    for name, gradient in gradients_of(loss, problem).items():
        if name.startswith("policy"):
            assert_close(update.gradients[name], gradient, rtol=0, atol=1e-10, msg=name)
        else:
            assert update.gradients[name] is None
    assert [o.name for o in update.objectives] == ["baseline"] * (form == "original") + ["mle", "policy"]
    if form == "original":
        for parameter, gradient in zip(
            baseline.parameters(), torch.autograd.grad(squared, list(baseline.parameters())), strict=True
        ):
            assert_close(parameter.grad, gradient, rtol=0, atol=1e-10)


@pytest.mark.parametrize("form", ["original", "erpo"])
def test_a_prefix_above_every_reference_is_mle(make_problem: Any, run: Any, form: Any) -> None:
    """Also where references are as long as samples may be; at w = 1/2 it is half of MLE."""
    mle = run(Mle(), make_problem())
    for weight in (1.0, 0.5):
        algorithm = mixer(5, form=form, nll_weight=weight, max_length=3)
        update = run(algorithm, with_baseline(make_problem()))
        assert update.samples.mask.sum() == 14
        assert not update.samples.forced_eos.any()
        assert_close(update.loss, weight * mle.loss, rtol=0, atol=1e-12)
        for name, gradient in mle.gradients.items():
            if gradient is not None:
                assert_close(update.gradients[name], weight * gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", ["original", "erpo"])
def test_reinforce_reads_nothing_of_the_prefix_and_of_padding(make_problem: Any, run: Any, form: Any) -> None:
    """With w = 0 the loss is that of the drawn rows; rewards inside the prefix do not matter to ERPO."""
    algorithm = mixer(2, form=form, nll_weight=0.0)
    problem = with_baseline(make_problem())
    update = run(algorithm, problem)
    token = update.rewards.token.clone()
    token[:, :2] += 5.0
    token[~update.samples.mask] += 5.0
    other = run(algorithm, problem, token=token * update.samples.mask)
    assert_close(other.loss, update.loss, rtol=0, atol=1e-12)
    drawn = update.samples.mask & ~update.samples.from_reference
    assert update.metrics["entropy"][1] == float(drawn.sum())


def test_an_empty_reference_earns_nothing(make_problem: Any, run: Any) -> None:
    """Its rewards by token have the factor 0."""
    nothing = {"token": torch.zeros(4, 5), "scale": torch.zeros(4)}
    update = run(mixer(1, form="erpo"), make_problem(), **nothing)
    assert update.loss.isfinite()
    assert update.metrics["advantage"][0] == 0


def test_networks_and_their_rates() -> None:
    assert Mixer(form="erpo").trains == ("policy",)
    original = Mixer(learning_rate=0.8, baseline_learning_rate=0.3, decay=0.5)
    assert original.trains == ("policy", "baseline")
    assert original.learning_rates(7, decays=2) == pytest.approx({"policy": 0.2, "baseline": 0.3})


def test_published_setting() -> None:
    algorithm = Mixer()
    assert (algorithm.optimizer, algorithm.learning_rate, algorithm.batch_size) == ("sgd", 0.2, 32)
    assert (algorithm.clip_norm, algorithm.nll_weight, algorithm.num_samples) == (10.0, 0.5, 1)
    assert algorithm.learning_rates(0, algorithm.max_decays)["policy"] > 1e-4
    assert algorithm.learning_rates(0, algorithm.max_decays + 1)["policy"] < 1e-4
