from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from raysq.algorithms import Mle, Raml, Vaml
from raysq.algorithms.base import critic_input
from raysq.algorithms.rows import source_weights
from raysq.rewards import SentenceBleu
from raysq.types import EOS, FIRST_ACTION, Samples

OPTIONS: list[dict[str, Any]] = [
    {},
    {"vaml_coeff": 0.0},
    {"vaml_coeff": 1.0},
    {"tau": 3.0, "temperature": 0.1},
    {"samples_from": "oracle", "extra_length": 0},
]


def vaml(**options: Any) -> Vaml:
    """At most 3 sequences an example; both kinds of target are common."""
    return Vaml(**{"vaml_coeff": 0.5, "num_samples": 3} | options)


def draw(algorithm: Vaml, problem: Any) -> Samples:
    return algorithm.draw(problem.batch, problem.networks, SentenceBleu(), problem.moment)


def textbook(algorithm: Vaml, problem: Any, update: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Likelihood and cross entropy [M, T], and which of the two each token takes; weighted, 0 in padding.

    pad and bos are cut out of the vocabulary.
    """
    samples, batch, moment = update.samples, problem.batch, problem.moment
    policy, oracle, N = problem.networks.policy, problem.networks.critic, samples.num_per_example
    M, T = samples.mask.shape
    masks = moment.dropout_mask("mle dropout", batch, N, batch.longest_reference, policy)
    features = policy.features(
        policy.encode(batch.source, batch.source_mask).repeat(N),
        samples.inputs,
        None if masks is None else masks[:, :T],
    )
    memory = oracle.encode(*critic_input(batch)).repeat(N)
    log_pi, q = (
        (rows @ network.output.weight.t() + network.output.bias)[..., FIRST_ACTION:]
        for network, rows in ((policy, features), (oracle, oracle.features(memory, samples.inputs)))
    )
    log_pi = torch.log_softmax(log_pi, -1)
    actions = (samples.targets - FIRST_ACTION).clamp(min=0)
    likelihood = -log_pi.gather(2, actions.unsqueeze(2)).squeeze(2)
    cross_entropy = -(torch.softmax(q / algorithm.tau, -1).detach() * log_pi).sum(-1)
    weight = torch.exp(update.rewards.sequence / algorithm.temperature).view(-1, N)
    weight = (weight / weight.sum(1, keepdim=True)).view(M, 1)
    if algorithm.samples_from == "oracle":
        weight = torch.full((M, 1), 1 / N)
    weight = weight * samples.mask * ~samples.forced_eos
    longest = batch.longest_reference + algorithm.extra_length
    distilled = moment.uniforms("distilled", batch, N, longest)[:, :T] < algorithm.vaml_coeff
    return weight * likelihood, weight * cross_entropy, distilled


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
    algorithm, problem = vaml(**options), make_problem(input_feeding=input_feeding, dropout=dropout)
    update = run(algorithm, problem)
    likelihood, cross_entropy, distilled = textbook(algorithm, problem, update)
    mle, distillation = (likelihood * ~distilled).sum(), (cross_entropy * distilled).sum()
    assert [(o.name, o.per, o.coefficient) for o in update.objectives] == [
        ("mle", "example", 1.0),
        ("vaml", "example", 1.0),
    ]
    for objective, total in zip(update.objectives, (mle, distillation), strict=True):
        assert_close(objective.total.detach(), total.detach(), rtol=0, atol=1e-10)
    loss = (mle + distillation) / 4
    assert_close(update.loss, loss.detach(), rtol=0, atol=1e-10)
    expected = gradients_of(loss, problem)
    for name, gradient in update.gradients.items():
        if name.startswith("policy"):
            assert_close(gradient, expected[name], rtol=0, atol=1e-10, msg=name)
        else:
            assert gradient is None, name
    tokens, chosen = int(update.samples.mask.sum()), int((distilled & update.samples.mask).sum())
    assert update.metrics["tokens"] == (tokens, 1.0)
    assert (update.metrics["nll"][1], update.metrics["cross_entropy"][1]) == (tokens - chosen, chosen)
    if 0 < algorithm.vaml_coeff < 1:
        assert 0.2 < chosen / tokens < 0.8
        assert update.metrics["nll"][0] > 0
        assert update.metrics["cross_entropy"][0] > 0


def test_source_weights_literal() -> None:
    """Shares of 1 : 4 and, though exp(1000) overflows, 1 : 1; -inf is no share."""
    scores = torch.tensor([0.0, 3.0, 1000.0, 1000.0, 5.0, -torch.inf])
    scores[:2].log1p_()
    assert_close(source_weights(scores, 2), torch.tensor([0.2, 0.8, 0.5, 0.5, 1.0, 0.0]))
    assert_close(source_weights(torch.zeros(6), 3), torch.full((6,), 1 / 3))


def test_without_the_oracle_it_is_raml(make_problem: Any, run: Any) -> None:
    """The limit vaml_coeff = 0, both as published."""
    update = run(vaml(vaml_coeff=0.0), make_problem(dropout=0.3))
    raml = run(Raml(num_samples=3), make_problem(dropout=0.3))
    assert torch.equal(update.samples.targets, raml.samples.targets)
    assert_close(update.loss, raml.loss, rtol=0, atol=1e-12)
    assert update.objectives[1].total == 0
    for name, gradient in raml.gradients.items():
        if gradient is not None:
            assert_close(update.gradients[name], gradient, rtol=0, atol=1e-12, msg=name)
    assert abs(update.loss - run(vaml(), make_problem(dropout=0.3)).loss) > 1e-2


def test_with_the_reference_alone_that_is_mle(make_problem: Any, run: Any) -> None:
    update = run(vaml(vaml_coeff=0.0, num_samples=1), make_problem(dropout=0.3))
    expected = run(Mle(), make_problem(dropout=0.3))
    assert_close(update.loss, expected.loss, rtol=0, atol=1e-12)
    for name, gradient in expected.gradients.items():
        if gradient is not None:
            assert_close(update.gradients[name], gradient, rtol=0, atol=1e-12, msg=name)


def test_the_samples_are_the_reference_and_ngram_replacements(make_problem: Any) -> None:
    problem = make_problem()
    batch, samples = problem.batch, draw(vaml(), problem)
    assert samples.num_per_example == 3
    assert torch.equal(samples.targets[::3], batch.reference)
    assert torch.equal(samples.mask, batch.reference_mask.repeat_interleave(3, 0))
    assert not samples.forced_eos.any()
    assert not torch.equal(samples.targets, batch.reference.repeat_interleave(3, 0))
    last = samples.lengths - 1  # nothing is protected: the last word goes too
    references = batch.reference.repeat_interleave(3, 0)
    assert (samples.targets != references).gather(1, last.unsqueeze(1)).any()


def test_the_oracle_draws_given_the_reference_at_its_temperature(make_problem: Any) -> None:
    """Frequencies of the first word of 20,000 draws."""
    problem = make_problem()
    algorithm = vaml(samples_from="oracle", num_samples=5000, tau=0.4, extra_length=0)
    samples = draw(algorithm, problem)
    assert (samples.log_probs < 0).any()
    assert samples.dropout_mask is None
    assert samples.mask.shape[1] <= 6
    assert samples.forced_eos.any()
    oracle, batch = problem.networks.critic, problem.batch
    bos = samples.inputs[::5000, :1]
    with torch.no_grad():
        features = oracle.features(oracle.encode(*critic_input(batch)), bos)[:, 0]
        expected = torch.softmax(oracle.output.logits(features) / 0.4, 1)
    counts = torch.stack([torch.bincount(t, minlength=8) for t in samples.targets[:, 0].view(4, 5000)])
    assert (counts[:, :EOS] == 0).all()
    assert_close(counts / 5000, expected, rtol=0, atol=0.025)
    assert (expected - 1 / 6).abs().max() > 0.1


def test_no_choice_is_no_loss(make_problem: Any, run: Any) -> None:
    """eos forced at the maximum length has neither likelihood nor a target of the oracle's."""
    algorithm, problem = vaml(samples_from="oracle", extra_length=0), make_problem()
    update = run(algorithm, problem)
    assert update.samples.forced_eos.any()
    free = replace(update.samples, forced_eos=torch.zeros_like(update.samples.forced_eos))
    likelihood, cross_entropy, distilled = textbook(algorithm, problem, replace(update, samples=free))
    everything = torch.where(distilled, cross_entropy, likelihood).sum() / 4
    assert everything > update.loss + 0.1


def test_only_distilled_rows_ask_the_oracle(make_problem: Any, run: Any) -> None:
    """A moved oracle moves the cross entropy and nothing else."""
    problem, moved = make_problem(), make_problem()
    with torch.no_grad():
        moved.networks.critic.output.bias[EOS] += 3.0
    (mle, cross_entropy), (mle_moved, cross_entropy_moved) = (
        [objective.total for objective in run(vaml(), each).objectives] for each in (problem, moved)
    )
    assert mle == mle_moved
    assert abs(cross_entropy - cross_entropy_moved) > 0.1


@pytest.mark.parametrize("changed", [{"ngram": {"max_ngram": 2}}, {"temperature": 0.5}], ids=str)
def test_what_the_oracles_draws_do_not_need_is_refused(changed: dict[str, Any]) -> None:
    (name,) = changed
    with pytest.raises(ValueError, match=rf"`{name}(\.max_ngram)?` has no effect with `samples_from` oracle"):
        Vaml(samples_from="oracle", **changed)


def test_published_setting() -> None:
    algorithm = Vaml()
    assert algorithm.optimizer == "sgd"
    assert algorithm.learning_rates(update=1000, decays=1) == {"policy": 0.3}
    assert (algorithm.batch_size, algorithm.max_epochs, algorithm.max_decays) == (42, 30, 6)
    assert (algorithm.tau, algorithm.vaml_coeff, algorithm.num_samples, algorithm.temperature) == (
        0.4,
        0.2,
        5,
        1.0,
    )
    assert (algorithm.ngram.max_ngram, algorithm.ngram.length, algorithm.ngram.protect_last) == (
        4,
        "uniform",
        False,
    )
    assert (algorithm.critic_form, algorithm.selection) == ("oracle", ("bleu", "max"))
    assert algorithm.model_free
    assert not Vaml(samples_from="oracle").model_free
