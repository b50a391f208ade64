from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from raysq.algorithms import Spg
from raysq.algorithms.moment import Moment
from raysq.decoding import sample
from raysq.rewards import SentenceBleu
from raysq.rewards.bleu import prefix_bleu
from raysq.types import EOS, FIRST_ACTION, UNK

UNK_TO_V = range(UNK, 8)


def spg(**options: Any) -> Spg:
    """Samples short enough for eos to be forced."""
    return Spg(**{"num_samples": 3, "max_length": 4} | options)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize(
    "options", [{}, {"drop_rate": 0.0, "reward_factor": 1.0}, {"drop_rate": 1.0}, {"num_samples": 1}], ids=str
)
def test_the_update_is_the_textbooks(
    make_problem: Any, run: Any, textbook: Any, gradients_of: Any, options: dict[str, Any], dropout: float
) -> None:
    """-log pi of what was drawn, forced eos apart, the mean over all sequences."""
    problem = make_problem(dropout=dropout, input_feeding=bool(dropout))
    update = run(spg(**options), problem)
    samples = update.samples
    assert (samples.dropout_mask is not None) == (dropout > 0)
    book = textbook(problem, samples, update.rewards, restricted=True)
    actions = (samples.targets - FIRST_ACTION).clamp(min=0)
    chosen = book.log_pi.gather(2, actions.unsqueeze(2)).squeeze(2)
    total = -(chosen * samples.mask * ~samples.forced_eos).sum() / len(samples.mask)
    assert_close(update.loss, total.detach(), rtol=0, atol=1e-10)
    for name, gradient in gradients_of(total, problem).items():
        if name.startswith("policy"):
            assert_close(update.gradients[name], gradient, rtol=0, atol=1e-10, msg=name)
        else:
            assert update.gradients[name] is None
    assert options.get("drop_rate") != 1.0 or samples.forced_eos.any()


def test_scores_are_for_the_metrics(make_problem: Any, run: Any) -> None:
    plain = run(spg(), make_problem())
    other = run(spg(), make_problem(), token=torch.randn(12, 60), sequence=torch.full((12,), 0.5))
    assert torch.equal(plain.loss, other.loss)
    assert other.metrics["payoff"] == (6.0, 12.0)


def test_with_all_dropped_samples_are_the_policys(make_problem: Any) -> None:
    """The same numbers draw the same words as ancestral sampling."""
    problem, algorithm = make_problem(), spg(drop_rate=1.0, max_length=50)
    batch, policy = problem.batch, problem.networks.policy
    drawn = algorithm.draw(batch, problem.networks, SentenceBleu(), problem.moment)
    with torch.no_grad():
        memory = policy.encode(batch.source, batch.source_mask).repeat(3)
    uniforms = problem.moment.uniforms("samples", batch, 3, batch.longest_reference + 10)
    assert torch.equal(drawn.targets, sample(policy, memory, uniforms).targets)


def gains(prefix: list[int], reference: np.ndarray) -> dict[int, float]:
    """What every next token earns with both penalties, by the definition of BLEU."""
    before = prefix_bleu([prefix], [[reference]])[0, -1] if prefix else 0.0
    found = {
        word: prefix_bleu([[*prefix, word]], [[reference]])[0, -1] - before - (prefix[-1:] == [word])
        for word in UNK_TO_V
    }
    return found | {EOS: -1.0 * (len(prefix) < len(reference))}


def test_bang_bang(make_problem: Any) -> None:
    """With nothing dropped every token is the best there is; with some dropped some are not."""
    problem = make_problem()
    missed = {}
    for drop_rate in (0.0, 0.5):
        algorithm = Spg(num_samples=20, drop_rate=drop_rate, reward_factor=1e9)
        samples = algorithm.draw(problem.batch, problem.networks, SentenceBleu(), problem.moment)
        missed[drop_rate] = []
        for m, (row, mask) in enumerate(zip(samples.targets.tolist(), samples.mask.tolist(), strict=True)):
            reference = problem.batch.references[m // 20][0]
            for t in range(sum(mask)):
                earned = gains(row[:t], reference)
                missed[drop_rate].append(earned[row[t]] < max(earned.values()) - 1e-8)
    assert not any(missed[0.0])
    assert 0.2 < np.mean(missed[0.5]) < 0.6


def test_drops_have_random_numbers_of_their_own(make_problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the reward decides says nothing about the word that is drawn."""
    problem, purposes, uniforms = make_problem(dropout=0.3), set(), Moment.uniforms
    monkeypatch.setattr(Moment, "uniforms", lambda *of: (purposes.add(of[1]), uniforms(*of))[1])
    spg().draw(problem.batch, problem.networks, SentenceBleu(), problem.moment)
    assert purposes == {"samples", "drops", "sample dropout"}


def test_published_setting() -> None:
    algorithm = Spg()
    assert (algorithm.reward_factor, algorithm.eos_penalty, algorithm.repetition_penalty) == (1e4, 1.0, 1.0)
    assert (algorithm.num_samples, algorithm.trains) == (1, ("policy",))
    assert (algorithm.optimizer, algorithm.learning_rate, algorithm.batch_size) == ("adam", 1e-3, 64)
    assert algorithm.uses_rewards  # its draws depend on the reward, and so must its identity
