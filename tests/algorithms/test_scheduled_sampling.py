from dataclasses import replace
from math import log
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from raysq.algorithms import Mle, ScheduledSampling
from raysq.algorithms.moment import Moment
from raysq.decoding import inverse_cdf
from raysq.decoding.sampling import shift_right
from raysq.rewards import SentenceBleu
from raysq.types import FIRST_ACTION


def at(update: int, of_epoch: int = 0) -> Moment:
    return Moment(seed=1, stage="test", update=update, update_of_epoch=of_epoch)


def test_the_schedule() -> None:
    """One half after k ln k updates."""
    algorithm = ScheduledSampling()
    assert (algorithm.k, algorithm.optimizer, algorithm.batch_size) == (500, "adam", 64)
    assert algorithm.teacher_probability(at(0)) == pytest.approx(500 / 501)
    assert algorithm.teacher_probability(at(3107)) == pytest.approx(0.5, abs=1e-3)
    summaries = ScheduledSampling(k=600)
    assert summaries.teacher_probability(at(3838)) == pytest.approx(0.5, abs=1e-3)
    assert algorithm.teacher_probability(at(1000)) == pytest.approx(500 / (500 + 7.38905609893))
    assert algorithm.teacher_probability(at(10_000_000)) == 0.0
    assert algorithm.teacher_probability(at(round(500 * log(500)))) > algorithm.teacher_probability(at(3200))


def test_the_released_schedule_never_gets_far() -> None:
    """An epoch of 2,286 updates ends with 16.2 % of own words, one of 3,125 with 23.4 % at k = 600."""
    for k, update, share in ((500, 2286, 0.162), (600, 3125, 0.234)):
        algorithm = ScheduledSampling(k=k, per_epoch_reset=True)
        assert 1 - algorithm.teacher_probability(at(50_000, update)) == pytest.approx(share, abs=1e-3)
        assert ScheduledSampling(k=k).teacher_probability(at(50_000, update)) < 1e-9


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("more_padding", [0, 7])
@pytest.mark.parametrize("input_feeding", [False, True])
def test_with_the_teacher_alone_it_is_mle(
    make_problem: Any, run: Any, input_feeding: bool, more_padding: int, dropout: float
) -> None:
    """To the last dropout mask."""
    mle, scheduled = (
        run(
            algorithm,
            make_problem(input_feeding=input_feeding, more_padding=more_padding, dropout=dropout),
        )
        for algorithm in (Mle(), ScheduledSampling(k=1e12))
    )
    assert_close(scheduled.loss, mle.loss, rtol=0, atol=1e-12)
    for name, gradient in mle.gradients.items():
        if gradient is None:
            assert scheduled.gradients[name] is None
        else:
            assert_close(scheduled.gradients[name], gradient, rtol=0, atol=1e-12, msg=name)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("input_feeding", [False, True])
def test_the_update_is_the_textbooks(
    make_problem: Any, run: Any, textbook: Any, gradients_of: Any, input_feeding: bool, dropout: float
) -> None:
    """-log pi of the reference given the mixed inputs, under the masks of the draws."""
    problem = make_problem(input_feeding=input_feeding, dropout=dropout, more_padding=4)
    problem = replace(problem, moment=replace(problem.moment, update=3107))
    update = run(ScheduledSampling(), problem)
    samples, batch, policy = update.samples, problem.batch, problem.networks.policy
    width = batch.longest_reference
    assert torch.equal(samples.targets, batch.reference[:, :width])
    own = samples.inputs != shift_right(samples.targets, samples.mask)
    assert own.any()
    book = textbook(problem, samples, update.rewards, restricted=True)
    actions = (samples.targets - FIRST_ACTION).clamp(min=0)
    total = -(book.log_pi.gather(2, actions.unsqueeze(2)).squeeze(2) * samples.mask).sum() / 4
    assert_close(update.loss, total.detach(), rtol=0, atol=1e-10)
    for name, gradient in gradients_of(total, problem).items():
        if name.startswith("policy"):
            assert_close(update.gradients[name], gradient, rtol=0, atol=1e-10, msg=name)
        else:
            assert update.gradients[name] is None
    with torch.no_grad():  # the policy's own words are its draws under the loss's own masks
        memory = policy.encode(batch.source, batch.source_mask)
        logits = policy.output.logits(
            policy.features(memory, samples.inputs, samples.dropout_mask).flatten(0, 1)
        )
    uniforms = problem.moment.uniforms("samples", batch, 1, width)
    drawn = inverse_cdf(logits, uniforms.roll(-1, 1).flatten())[0].view(4, width)
    assert torch.equal(samples.inputs[:, 1:][own[:, 1:]], drawn[:, :-1][own[:, 1:]])
    assert update.metrics["teacher_probability"] == (pytest.approx(0.5, abs=1e-3), 1.0)


def test_coins_have_random_numbers_of_their_own(make_problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose word is read says nothing about the word that is drawn."""
    problem, purposes, uniforms = make_problem(dropout=0.3), set(), Moment.uniforms
    monkeypatch.setattr(Moment, "uniforms", lambda *of: (purposes.add(of[1]), uniforms(*of))[1])
    ScheduledSampling().draw(problem.batch, problem.networks, SentenceBleu(), problem.moment)
    assert purposes == {"samples", "own inputs", "mle dropout"}


def test_every_token_has_a_coin_of_its_own(make_problem: Any) -> None:
    """Over many updates the inputs differ from the reference at every place, and rows from each other."""
    problem, algorithm = make_problem(), ScheduledSampling()
    plain = shift_right(problem.batch.reference, problem.batch.reference_mask)
    changed = torch.zeros(plain.shape)
    for seed in range(200):
        moment = replace(problem.moment, update=3107, seed=seed)
        samples = algorithm.draw(problem.batch, problem.networks, SentenceBleu(), moment)
        changed += samples.inputs != plain
    may = problem.batch.reference_mask.clone()
    may[:, 0] = False
    assert (changed[~may] == 0).all()
    assert (changed[may] > 30).all()
    assert (changed[may] < 140).all()
