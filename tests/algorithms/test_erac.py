from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from raysq.algorithms import ActorCritic, CriticTraining, Mle
from raysq.rewards.scoring import ScoredRewards

OPTIONS: list[dict[str, Any]] = [
    {},
    {"tau": 0.0},
    {"entropy_gradient": "normalised"},
    {"future_entropy": False},
    {"forced_eos": "unrestricted"},
    {"variance": "sum"},
    {"lambda_mle": 0.0},
    {"lambda_var": 0.0},
    {"num_samples": 3},
    {"sample_dropout": False},
]


def actor_critic(**options: Any) -> ActorCritic:
    """Entropy and penalties large enough to matter, samples short enough for eos to be forced."""
    return ActorCritic(**{"tau": 0.4, "lambda_var": 0.2, "lambda_mle": 0.3, "max_length": 4} | options)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("input_feeding", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_update_is_the_textbooks(
    make_problem: Any,
    run: Any,
    textbook: Any,
    gradients_of: Any,
    options: dict[str, Any],
    input_feeding: bool,
    dropout: float,
) -> None:
    algorithm = actor_critic(**options)
    problem = make_problem(input_feeding=input_feeding, dropout=dropout)
    update = run(algorithm, problem)
    assert update.samples.forced_eos.any()
    assert not update.samples.mask.all()
    masks = update.samples.dropout_mask
    assert (masks is None or bool((masks == 1).all())) == (dropout == 0 or not algorithm.sample_dropout)
    book = textbook(problem, update.samples, update.rewards, restricted=algorithm.forced_eos == "restricted")
    M = 4 * algorithm.num_samples
    target_tau = algorithm.tau if algorithm.future_entropy else 0.0
    terms = {
        "policy": (book.policy_loss(algorithm.tau, algorithm.entropy_gradient), M, 1.0),
        "mle": (book.likelihood_loss(dropout > 0), 4, algorithm.lambda_mle),
        "td": ((book.td_error(target_tau) ** 2).sum(), M, 1.0),
        "variance": (book.variance(algorithm.variance), M, algorithm.lambda_var),
    }
    terms = {name: term for name, term in terms.items() if term[2]}
    loss = torch.stack([coefficient * total / weight for total, weight, coefficient in terms.values()]).sum()
    assert [objective.name for objective in update.objectives] == list(terms)
    for objective in update.objectives:
        total, _, coefficient = terms[objective.name]
        assert objective.per == ("example" if objective.name == "mle" else "sequence")
        assert objective.coefficient == coefficient
        assert_close(objective.total.detach(), total.detach(), rtol=0, atol=1e-10, msg=objective.name)
    assert_close(update.loss, loss.detach(), rtol=0, atol=1e-10)
    for name, gradient in gradients_of(loss, problem).items():
        if name.startswith("target_critic"):
            assert update.gradients[name] is None
        else:
            assert_close(update.gradients[name], gradient, rtol=0, atol=1e-10, msg=name)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_without_temperature_it_is_actor_critic(
    make_problem: Any, run: Any, textbook: Any, gradients_of: Any, dropout: float
) -> None:
    """AC: the policy ascends sum_w pi_w Q_w, the critic's target is r + sum_w pi_w Qbar_w; no entropy."""
    problem = make_problem(dropout=dropout)
    update = run(actor_critic(tau=0.0, lambda_mle=0.0, lambda_var=0.0), problem)
    book = textbook(problem, update.samples, update.rewards, restricted=True)
    value = (book.expected(book.target_q) * book.mask).detach()
    targets = update.rewards.token + torch.nn.functional.pad(value[:, 1:], (0, 1))
    chosen = book.q.gather(2, update.samples.targets.unsqueeze(2)).squeeze(2)
    ascended = (book.expected(book.q.detach()) * book.mask * ~book.forced).sum()
    loss = ((((targets - chosen) * book.mask) ** 2).sum() - ascended) / 4
    assert_close(update.loss, loss.detach(), rtol=0, atol=1e-10)
    for name, gradient in gradients_of(loss, problem).items():
        if not name.startswith("target_critic"):
            assert_close(update.gradients[name], gradient, rtol=0, atol=1e-10, msg=name)


def test_the_form_of_the_entropys_gradient_means_nothing_to_actor_critic(make_problem: Any, run: Any) -> None:
    plain, other = (
        run(actor_critic(tau=0.0, entropy_gradient=form), make_problem()) for form in ("exact", "normalised")
    )
    assert torch.equal(plain.loss, other.loss)
    for name, gradient in plain.gradients.items():
        if gradient is not None:
            assert torch.equal(gradient, other.gradients[name]), name


@pytest.mark.parametrize(
    "options",
    [
        {"tau": 0.0},
        {"entropy_gradient": "normalised"},
        {"future_entropy": False},
        {"forced_eos": "unrestricted"},
        {"lambda_mle": 0.0},
    ],
    ids=str,
)
def test_every_option_matters(make_problem: Any, run: Any, options: dict[str, Any]) -> None:
    plain, other = (run(actor_critic(**given), make_problem()) for given in ({}, options))
    assert abs(plain.loss - other.loss) > 1e-3


def test_likelihood_alone_when_the_critic_is_indifferent(make_problem: Any, run: Any) -> None:
    """A Q that is the same for every word and tau = 0 leave the policy nothing but the likelihood."""
    problem = make_problem()
    critic, _ = problem.networks.critics()
    with torch.no_grad():
        critic.output.weight.zero_()
        critic.output.bias.fill_(0.7)
    both = run(actor_critic(tau=0.0, lambda_mle=0.3), problem).gradients
    zero = run(actor_critic(tau=0.0, lambda_mle=0.0), problem).gradients
    for name in (name for name in both if name.startswith("policy")):
        assert_close(zero[name], torch.zeros_like(both[name]), rtol=0, atol=1e-12)
    assert both["policy.output.weight"].abs().max() > 1e-3


def test_learning_rates_warm_up_and_decay_for_the_policy_alone() -> None:
    plain = ActorCritic()
    assert plain.learning_rates(update=0, decays=0) == {"policy": 1e-4, "critic": 1e-4}
    assert plain.learning_rates(update=9, decays=2) == pytest.approx({"policy": 0.81e-4, "critic": 1e-4})
    warm = ActorCritic(
        learning_rate=0.8, critic_learning_rate=0.3, decay=0.5, critic_only_updates=10, warmup_updates=4
    )
    rates = [warm.learning_rates(update, decays=1)["policy"] for update in (0, 9, 10, 11, 12, 13, 14, 500)]
    assert rates == pytest.approx([0, 0, 0.1, 0.2, 0.3, 0.4, 0.4, 0.4])
    assert {warm.learning_rates(update, decays=1)["critic"] for update in range(20)} == {0.3}
    still = ActorCritic(learning_rate=0.8, critic_only_updates=3)
    assert [still.learning_rates(update, 0)["policy"] for update in (2, 3, 4)] == [0.0, 0.8, 0.8]


def test_linear_decay_brings_the_policys_rate_to_zero() -> None:
    """1 - update / max_updates, besides the decays and the warm-up; the critic's rate stands."""
    annealed = ActorCritic(
        learning_rate=0.8, critic_learning_rate=0.3, decay=0.5, max_updates=100, linear_decay=True
    )
    rates = [annealed.learning_rates(update, 0)["policy"] for update in (0, 25, 50, 99, 100)]
    assert rates == pytest.approx([0.8, 0.6, 0.4, 0.008, 0.0])
    assert annealed.learning_rates(25, decays=2) == pytest.approx({"policy": 0.15, "critic": 0.3})
    warm = annealed.model_copy(update={"critic_only_updates": 10, "warmup_updates": 20})
    assert [warm.learning_rates(update, 0)["policy"] for update in (9, 19, 29, 75)] == pytest.approx(
        [0.0, 0.8 * 0.81 * 0.5, 0.8 * 0.71, 0.2]
    )
    with pytest.raises(ValueError, match="`max_updates` must be above 0 with `linear_decay`"):
        ActorCritic(linear_decay=True)


@pytest.mark.parametrize(("algorithm", "group"), [(Mle, "policy"), (CriticTraining, "critic")])
def test_learning_rates_of_a_single_network(algorithm: Any, group: str) -> None:
    plain = algorithm(learning_rate=0.6, decay=0.5)
    assert [plain.learning_rates(10, decays) for decays in (0, 1, 3)] == [
        {group: 0.6},
        {group: 0.3},
        {group: pytest.approx(0.075)},
    ]
    annealed = algorithm(learning_rate=0.6, decay=0.5, max_updates=10, linear_decay=True)
    assert [annealed.learning_rates(update, 1)[group] for update in (0, 5, 9)] == pytest.approx(
        [0.3, 0.15, 0.03]
    )


def test_published_setting() -> None:
    algorithm = ActorCritic()
    assert (algorithm.optimizer, algorithm.beta1, algorithm.beta2) == ("adam", 0.0, 0.999)
    assert (algorithm.num_samples, algorithm.extra_length, algorithm.max_length) == (1, 10, 50)
    assert (algorithm.tau, algorithm.target_tau()) == (0.045, 0.045)
    assert ActorCritic(future_entropy=False).target_tau() == 0.0
    assert (algorithm.target_rate, algorithm.lambda_var, algorithm.lambda_mle) == (1e-3, 1e-3, 0.1)
    assert (algorithm.decay, algorithm.max_decays, algorithm.max_epochs) == (0.9, 6, 30)
    assert algorithm.selection == ("bleu", "max")


def delayed_problem(make_problem: Any, shift: float, dropout: float = 0.3) -> Any:
    """A delayed policy, apart from the policy by a shift of its output."""
    problem = make_problem(dropout=dropout)
    delayed = make_problem(dropout=dropout).networks.policy
    with torch.no_grad():
        delayed.output.bias.add_(shift * torch.randn(8))
    return replace(problem, networks=replace(problem.networks, delayed_policy=delayed))


def test_a_delayed_policy_draws_and_values_the_targets_actions(
    make_problem: Any, run: Any, textbook: Any, gradients_of: Any
) -> None:
    """Bahdanau et al., Algorithm 1: trajectories and p' of the TD target; the gradient is the policy's."""
    problem = delayed_problem(make_problem, shift=1.0)
    algorithm = actor_critic(delayed_policy_rate=0.1, lambda_mle=0.0, lambda_var=0.0)
    update = run(algorithm, problem)
    assert all(parameter.grad is None for parameter in problem.networks.delayed_policy.parameters())
    of_policy = run(algorithm, make_problem(dropout=0.3))
    assert not torch.equal(update.samples.log_probs, of_policy.samples.log_probs)
    delayed = replace(problem, networks=replace(problem.networks, policy=problem.networks.delayed_policy))
    assert torch.equal(run(algorithm, delayed).samples.targets, update.samples.targets)
    own, drawing = (textbook(p, update.samples, update.rewards, restricted=True) for p in (problem, delayed))
    td = (
        drawing.targets(algorithm.tau) - own.q.gather(2, update.samples.targets.unsqueeze(2)).squeeze(2)
    ) ** 2
    loss = ((td * own.mask).sum() + own.policy_loss(algorithm.tau)) / 4
    assert_close(update.loss, loss.detach(), rtol=0, atol=1e-10)
    for name, gradient in gradients_of(loss, problem).items():
        if not name.startswith("target_critic"):
            assert_close(update.gradients[name], gradient, rtol=0, atol=1e-10, msg=name)


def test_a_delayed_policy_that_does_not_lag_changes_nothing(make_problem: Any, run: Any) -> None:
    plain = run(actor_critic(), make_problem(dropout=0.3))
    copied = run(actor_critic(delayed_policy_rate=1.0), delayed_problem(make_problem, shift=0.0))
    assert_close(copied.loss, plain.loss, rtol=0, atol=1e-12)
    for name, gradient in plain.gradients.items():
        if gradient is not None:
            assert_close(copied.gradients[name], gradient, rtol=0, atol=1e-12, msg=name)


def test_a_snapshot_draws_and_leaves_the_targets_to_the_policy(make_problem: Any, run: Any) -> None:
    """The same samples give the same TD target, Eq. 19 of the current policy, whoever drew them."""
    algorithm, problem = actor_critic(), delayed_problem(make_problem, shift=1.0)
    stale = run(algorithm, problem)
    assert problem.networks.delayed_policy is not None
    current = replace(problem, networks=replace(problem.networks, delayed_policy=None))
    pending = ScoredRewards(stale.rewards, 0.0)
    objectives, _ = algorithm.objectives(
        current.batch, stale.samples, pending, current.networks, current.moment
    )
    for found, expected in zip(stale.objectives, objectives, strict=True):
        assert found.name == expected.name
        assert torch.equal(found.total, expected.total), found.name
    delayed = run(actor_critic(delayed_policy_rate=0.1), problem)
    assert torch.equal(delayed.samples.targets, stale.samples.targets)
    (td,), (td_of_delayed,) = ([o.total for o in u.objectives if o.name == "td"] for u in (stale, delayed))
    assert abs(td - td_of_delayed) > 1e-3


def test_entropy_that_is_not_there_is_not_left_out() -> None:
    with pytest.raises(ValueError, match="`future_entropy` has no effect unless `tau` is above 0"):
        ActorCritic(tau=0.0, future_entropy=False)


def test_following_rates() -> None:
    assert ActorCritic().following_rates() == {"target_critic": 1e-3}
    delayed = ActorCritic(delayed_policy_rate=0.01)
    assert delayed.following_rates() == {"target_critic": 1e-3, "delayed_policy": 0.01}
