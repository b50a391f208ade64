import numpy as np
import pyarrow as pa
import pytest
import torch

from raysq.data.batches import collate, epoch_batches, evaluation_batches
from raysq.data.split import SCHEMA, Split
from raysq.types import EOS

SOURCES = [[4, 5], [6], [7, 8, 9], [], [4]]
TARGETS = [[5], [6, 7, 3], [8, 8], [9], []]


@pytest.fixture
def split(tmp_path):
    with pa.OSFile(str(tmp_path / "s"), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        texts = [str(i) for i in range(5)]
        writer.write_batch(pa.record_batch([SOURCES, TARGETS, texts, texts], schema=SCHEMA))
    return Split([tmp_path / "s"], 11)


def lengths(n, seed=0):
    return np.random.default_rng(seed).integers(1, 30, size=(2, n), dtype=np.int32)


def test_epoch_of_a_single_pool_literal():
    source, target = np.array([5, 4, 3, 2, 1, 9, 8]), np.array([1, 7, 7, 3, 2, 1, 6])
    batches = epoch_batches(source, target, batch_size=2, seed=1, epoch=0)
    # By target then source length: 0 (1, 5), 5 (1, 9), 4, 3, 6, 2 (7, 3), 1 (7, 4); then in random order.
    assert [b.tolist() for b in batches] == [[6, 2], [1], [4, 3], [0, 5]]
    assert {tuple(b) for b in epoch_batches(source, target, 2, seed=1, epoch=1)} == {
        (0, 5),
        (4, 3),
        (6, 2),
        (1,),
    }


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 1280, 1281, 5000])
def test_every_example_once_and_no_small_rest(n):
    batches = epoch_batches(*lengths(n), batch_size=64, seed=3, epoch=2)
    assert sorted(np.concatenate([np.zeros(0, int), *batches]).tolist()) == list(range(n))
    sizes = [len(b) for b in batches]
    assert max(sizes, default=0) <= 64
    assert min(sizes, default=0) >= min(n, 32)


def test_epochs_are_a_function_of_seed_and_epoch():
    def flat(seed, epoch):
        return np.concatenate(epoch_batches(*lengths(500), 8, seed, epoch)).tolist()

    assert flat(1, 2) == flat(1, 2)
    assert len({tuple(flat(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_pools_bucket_lengths_and_mix_examples():
    source, target = lengths(6400)
    batches = epoch_batches(source, target, 64, seed=0, epoch=0)
    spread = np.mean([np.ptp(target[b]) for b in batches])
    assert spread < 3  # 28 for batches drawn without sorting
    # Examples of one length do not always meet: another epoch puts 0's batch together anew.
    other = epoch_batches(source, target, 64, seed=0, epoch=1)
    first, second = (next(set(b.tolist()) for b in bs if 0 in b) for bs in (batches, other))
    assert len(first & second) < 32


def test_epoch_refuses_nonsense():
    with pytest.raises(ValueError, match="3 source lengths, 2 target lengths"):
        epoch_batches(np.ones(3), np.ones(2), 2, seed=0, epoch=0)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        epoch_batches(np.ones(3), np.ones(3), 0, seed=0, epoch=0)


def test_evaluation_batches_literal(split):
    assert [b.tolist() for b in evaluation_batches(split, 2)] == [[2, 0], [1, 4], [3]]


def test_collate_literal(split):
    batch = collate(split, np.array([1, 3, 0]))
    assert batch.example_ids.tolist() == [1, 3, 0]
    assert batch.source.tolist() == [[6, 2, 0], [2, 0, 0], [4, 5, 2]]
    assert batch.source_mask.tolist() == [[True, True, False], [True, False, False], [True, True, True]]
    assert batch.reference.tolist() == [[6, 7, 3, 2], [9, 2, 0, 0], [5, 2, 0, 0]]
    assert batch.reference_mask.sum(1).tolist() == [4, 2, 2]
    assert [[r.tolist() for r in rs] for rs in batch.references] == [[[6, 7, 3]], [[9]], [[5]]]
    assert batch.references[0][0].dtype == np.int32
    assert (batch.global_size, batch.offset, batch.longest_reference) == (3, 0, 5)
    assert batch.word_counts.tolist() == [0, 0, 0, 1, 0, 1, 1, 1, 2, 1, 0]  # of the whole split
    assert batch.source.dtype == batch.reference.dtype == batch.example_ids.dtype == torch.int64
    assert batch.source_mask.dtype == torch.bool


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_slices_make_up_the_global_batch(split, world_size):
    ids = np.array([2, 0, 4, 1])
    slices = [collate(split, ids, rank, world_size) for rank in range(world_size)]
    expected = [part.tolist() for part in np.array_split(ids, world_size)]
    assert [s.example_ids.tolist() for s in slices] == expected
    assert [s.offset for s in slices] == np.cumsum([0, *map(len, expected[:-1])]).tolist()
    assert {s.global_size for s in slices} == {4}
    assert {s.longest_reference for s in slices} == {5}  # example 1's, on whatever rank it is
    rows = [
        row[mask].tolist() for s in slices for row, mask in zip(s.reference, s.reference_mask, strict=True)
    ]
    assert rows == [[*TARGETS[i], 2] for i in ids]


def test_padding_reaches_the_slice_only(split):
    ids = np.array([4, 0, 1, 2])
    assert collate(split, ids, 0, 2).reference.shape == (2, 2)
    assert collate(split, ids, 1, 2).reference.shape == (2, 4)


def test_collate_refuses_nonsense(split):
    with pytest.raises(ValueError, match="3 examples in a global batch for 4 ranks"):
        collate(split, np.array([0, 1, 2]), rank=1, world_size=4)
    with pytest.raises(ValueError, match=r"rank 2 is not in \[0, 2\)"):
        collate(split, np.array([0]), rank=2, world_size=2)
    with pytest.raises(IndexError, match="example 5 of a split of 5"):
        collate(split, np.array([5]))


def test_images_are_their_features(small_captions):
    split = small_captions.splits["train"]
    batch = collate(split, np.array([7, 0, 30]), rank=0, world_size=1)
    assert batch.source.dtype == torch.float32
    rows = np.array([split.source(i)[0] for i in (7, 0, 30)])
    assert np.array_equal(batch.source.numpy(), split.features.read(rows.astype(np.int64))[:, None])
    assert batch.source_mask.tolist() == [[True]] * 3
    assert [len(references) for references in batch.references] == [3, 3, 3]
    assert batch.references[1][0].tolist() == split.target(0).tolist()
    assert batch.reference[1][batch.reference_mask[1]].tolist() == [*split.target(0).tolist(), EOS]
