import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from raysq.proposals import EditProposal, HammingReplacement, Proposal, UniformNoise, propose
from raysq.types import BOS, EOS, PAD, UNK, Batch

MakeBatch = Callable[..., Batch]


def sequences(samples) -> list[list[int]]:
    """The words of every sample, by the mask."""
    return [row[mask].tolist()[:-1] for row, mask in zip(samples.targets, samples.mask, strict=True)]


def test_the_layout_of_samples(make_batch: MakeBatch) -> None:
    samples = propose(HammingReplacement(rate=0), make_batch(0, 1), 2, (1, 0), keep_reference=False)
    first, second = [4, 5, 6, EOS], [6, EOS, PAD, PAD]
    assert samples.targets.tolist() == [first, first, second, second]
    first, second = [BOS, 4, 5, 6], [BOS, 6, PAD, PAD]
    assert samples.inputs.tolist() == [first, first, second, second]
    assert samples.mask.tolist() == [[True] * 4] * 2 + [[True, True, False, False]] * 2
    assert not samples.forced_eos.any()
    assert samples.num_per_example == 2
    assert samples.targets.dtype == samples.inputs.dtype == torch.int64


def test_samples_of_other_lengths(make_batch: MakeBatch, proposal: Proposal) -> None:
    """Targets end in eos, inputs are their predecessors, pads fill up."""
    samples = propose(proposal, make_batch(0, 1, 2, 3), 50, (1, 0), keep_reference=False)
    words = sequences(samples)
    lengths = [len(row) for row in words]
    assert samples.lengths.tolist() == lengths
    if isinstance(proposal, EditProposal):
        assert {1, 2, 3, 4, 5, 6} <= set(lengths)
    for m, row in enumerate(words):
        assert samples.targets[m].tolist()[: len(row) + 1] == [*row, EOS]
        assert samples.inputs[m].tolist()[: len(row) + 1] == [BOS, *row]
        assert (samples.targets[m, len(row) + 1 :] == PAD).all()
        assert (samples.inputs[m, len(row) + 1 :] == PAD).all()


def test_log_proposal_is_the_density_of_each_sequence(make_batch: MakeBatch, proposal: Proposal) -> None:
    batch = make_batch(0, 1, 2, 3)
    samples = propose(proposal, batch, 5, (1, 0), keep_reference=True)
    words = [np.array(row, np.int32) for row in sequences(samples)]
    expected = [
        proposal.log_density([words[m]], batch.references[m // 5][0], batch.word_counts)[0] for m in range(20)
    ]
    assert samples.log_proposal is not None
    assert samples.log_proposal.dtype == torch.float64
    assert torch.isfinite(samples.log_proposal).all()
    assert_close(samples.log_proposal, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)
    without = propose(proposal, batch, 5, (1, 0), keep_reference=True, with_density=False)
    assert without.log_proposal is None
    assert torch.equal(without.targets, samples.targets)


def test_the_reference_is_kept(make_batch: MakeBatch) -> None:
    noise = UniformNoise(rate=1.0)
    batch = make_batch(0, 1, 2, 3)
    kept = sequences(propose(noise, batch, 3, (1, 0), keep_reference=True))
    assert kept[::3] == [[4, 5, 6], [6], [4, 3, 5, 6, 4], [5, 3]]
    assert UNK not in kept[7] + kept[8] + kept[10] + kept[11]
    assert sequences(propose(noise, batch, 1, (1, 0), keep_reference=True)) == kept[::3]


def test_an_example_has_the_same_samples_in_every_batch(make_batch: MakeBatch, proposal: Proposal) -> None:
    whole = sequences(propose(proposal, make_batch(0, 1, 2, 3), 20, (3, 5), keep_reference=False))
    parts = [
        sequences(propose(proposal, make_batch(i), 20, (3, 5), keep_reference=False)) for i in (0, 1, 2, 3)
    ]
    turned = sequences(propose(proposal, make_batch(2, 0), 20, (3, 5), keep_reference=False))
    assert whole == [row for part in parts for row in part]
    assert turned == parts[2] + parts[0]


@pytest.mark.parametrize("moment_seed", [(3, 6), (4, 5), (5, 3)])
def test_seed_and_epoch_change_the_samples(make_batch: MakeBatch, moment_seed: tuple[int, int]) -> None:
    noise = UniformNoise(rate=1.0)
    first = sequences(propose(noise, make_batch(2), 20, (3, 5), keep_reference=False))
    other = sequences(propose(noise, make_batch(2), 20, moment_seed, keep_reference=False))
    assert first != other


def test_examples_have_streams_of_their_own(make_batch: MakeBatch) -> None:
    """The same reference under two ids."""
    batch = make_batch(2, 2)
    batch.example_ids[1] = 7
    words = sequences(propose(UniformNoise(rate=1.0), batch, 20, (3, 5), keep_reference=False))
    assert words[:20] != words[20:]


def test_specials_are_never_proposed(make_batch: MakeBatch, proposal: Proposal) -> None:
    """Nor is unk, but where the reference has it (examples 2 and 3, and only at most as often)."""
    samples = propose(proposal, make_batch(0, 1, 2, 3), 2000, (1, 0), keep_reference=False)
    words = sequences(samples)
    assert {word for row in words[:4000] for word in row} == {4, 5, 6}
    assert {word for row in words for word in row} == {3, 4, 5, 6}
    assert max(row.count(UNK) for row in words) == 1
    unknown = [
        np.array([4, 3, 6], np.int32),
        np.array([4, EOS, 6], np.int32),
        np.array([BOS, 5, 6], np.int32),
    ]
    reference = np.array([4, 5, 6], np.int32)
    assert (proposal.log_density(unknown, reference, make_batch(0).word_counts) == -np.inf).all()


def test_no_draws_and_no_words(make_batch: MakeBatch, proposal: Proposal) -> None:
    counts, generator = make_batch(0).word_counts, np.random.default_rng(1)
    reference, empty = np.array([4, 5], np.int32), np.array([], np.int32)
    assert proposal.draw(reference, 0, counts, generator) == []
    assert proposal.log_density([], reference, counts).shape == (0,)
    drawn = proposal.draw(empty, 3, counts, generator)
    if not isinstance(proposal, EditProposal):
        assert [row.tolist() for row in drawn] == [[], [], []]
        assert proposal.log_density([empty, reference], empty, counts).tolist() == [0.0, -np.inf]


def test_proposals_are_picklable(proposal: Proposal) -> None:
    assert pickle.loads(pickle.dumps(proposal)) == proposal
