from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from raysq.algorithms import Mle, Noising
from raysq.rewards import SentenceBleu
from raysq.types import BOS, EOS, FIRST_ACTION, Samples

SIDES = pytest.mark.parametrize("side", ["inputs", "both"])


def draw(algorithm: Noising, problem: Any) -> Samples:
    return algorithm.draw(problem.batch, problem.networks, SentenceBleu(), problem.moment)


@SIDES
def test_what_is_noisy(make_problem: Any, side: str) -> None:
    """At rate 1 every word is a draw; eos, bos and the lengths stay."""
    problem = make_problem(more_padding=2)
    samples, reference = draw(Noising(rate=1.0, side=side), problem), problem.batch.reference[:, :5]
    noisy = samples.inputs[:, 1:]
    words = samples.mask[:, 1:]
    assert (samples.inputs[:, 0] == BOS).all()
    assert torch.equal(samples.mask, reference != 0)
    assert (noisy[words] > FIRST_ACTION).all()
    assert not torch.equal(noisy[words], reference[:, :-1][words])
    assert (samples.targets.gather(1, samples.lengths.unsqueeze(1)) == EOS).all()
    if side == "inputs":
        assert torch.equal(samples.targets, reference)
    else:
        assert torch.equal(samples.targets[:, :-1][words], noisy[words])


@SIDES
def test_the_update_is_the_textbooks(
    make_problem: Any, run: Any, textbook: Any, gradients_of: Any, side: str
) -> None:
    problem = make_problem()
    update = run(Noising(rate=0.6, side=side), problem)
    log_pi = textbook(problem, update.samples, update.rewards, restricted=True).log_pi
    actions = (update.samples.targets - FIRST_ACTION).clamp(min=0)
    chosen = log_pi.gather(2, actions.unsqueeze(2)).squeeze(2)
    loss = -(chosen * update.samples.mask).sum() / 4
    assert_close(update.loss, loss.detach(), rtol=0, atol=1e-10)
    for name, gradient in gradients_of(loss, problem).items():
        if name.startswith("policy"):
            assert_close(update.gradients[name], gradient, rtol=0, atol=1e-10, msg=name)
    assert abs(update.loss - run(Mle(), problem).loss) > 1e-3


def test_noise_is_drawn_once_an_epoch(make_problem: Any) -> None:
    problem = make_problem()
    later, next_epoch = (
        replace(problem, moment=replace(problem.moment, **changes))
        for changes in ({"update": 9}, {"epoch": 1})
    )
    first, again, other = (draw(Noising(rate=0.6), each).targets for each in (problem, later, next_epoch))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_settings() -> None:
    """Those of MLE, so that the noise is all that differs; the rate is our choice."""
    algorithm = Noising()
    assert (algorithm.rate, algorithm.side) == (0.1, "both")
    assert algorithm.model_dump(exclude={"rate", "side"}) == Mle().model_dump()
    assert algorithm.model_free
