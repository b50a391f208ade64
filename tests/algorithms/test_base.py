"""What base.py gives every algorithm; what every algorithm must keep to is in tests/every_algorithm."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from raysq import algorithms
from raysq.algorithms import ALGORITHMS, AlphaDimt, CriticTraining, Mle, SoftQ
from raysq.algorithms.base import critic_head, critic_input, policy_head, reference_samples
from raysq.types import BOS, EOS, FIRST_ACTION, PAD


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


def test_samples_come_from_the_delayed_policy_where_there_is_one(make_problem: Any) -> None:
    networks = make_problem().networks
    assert networks.sampling_policy() is networks.policy
    delayed = make_problem().networks.policy
    assert replace(networks, delayed_policy=delayed).sampling_policy() is delayed


def test_a_stage_ends_with_its_epochs_or_its_updates() -> None:
    assert Mle(max_epochs=3).most_updates(batches_per_epoch=7) == 21
    assert Mle(max_epochs=3, max_updates=20).most_updates(batches_per_epoch=7) == 20
    assert Mle(max_epochs=3, max_updates=30).most_updates(batches_per_epoch=7) == 21
    ends = [
        Mle(max_decays=2).exhausted(evaluations=9, since_best=8, decays=decays) for decays in (0, 1, 2, 3)
    ]
    assert ends == [False, False, True, True]


def test_a_rate_that_falls_linearly_decays_too() -> None:
    falling = Mle(learning_rate=0.8, linear_decay=True, max_updates=8, decay=0.5)
    assert [falling.learning_rates(u, 0)["policy"] for u in (0, 2, 4, 8)] == pytest.approx([0.8, 0.6, 0.4, 0])
    assert falling.learning_rates(4, 2) == pytest.approx({"policy": 0.1})


def test_every_algorithm_is_in_the_index() -> None:
    """raysq/algorithms/README.md names the file of each, and no other."""
    folder = Path(algorithms.__file__).parent
    named = set(re.findall(r"^\|[^|]+\|[^|]+\| `(\w+)\.py` \|", (folder / "README.md").read_text(), re.M))
    assert named == {algorithm.__module__.rpartition(".")[2] for algorithm in ALGORITHMS}


def test_where_rouge_scores_text_it_chooses_the_checkpoints() -> None:
    """In BLEU's place, greedy and oracle's too; a critic is chosen by its TD error all the same."""
    for scoring in ("bleu", "captions"):
        assert Mle().selection_by(scoring) == ("bleu", "max")
    assert Mle().selection_by("rouge") == ("rouge", "max")
    assert AlphaDimt().selection_by("rouge") == ("greedy_rouge", "max")
    assert SoftQ().selection_by("rouge") == ("oracle_rouge", "max")
    assert CriticTraining().selection_by("rouge") == ("td_error", "min")
