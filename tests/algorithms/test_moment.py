from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from raysq.algorithms.moment import Moment, seeded_generator

MOMENT = Moment(seed=1, stage="erac", update=7)


def test_seeded_generator_is_a_function_of_its_parts() -> None:
    """A literal, so that a change of the digest, which changes every run, is noticed."""
    first, second = (torch.rand(3, generator=seeded_generator(1, "erac", 7, "samples")) for _ in range(2))
    assert torch.equal(first, second)
    assert seeded_generator(1, "erac", 7, "samples").initial_seed() == 5415825883717021697
    others = [
        (2, "erac", 7, "samples"),
        (1, "critic", 7, "samples"),
        (1, "erac", 8, "samples"),
        (1, "erac", 7),
    ]
    assert not any(torch.equal(first, torch.rand(3, generator=seeded_generator(*parts))) for parts in others)


def test_uniforms_differ_by_every_field_and_purpose(make_problem: Any) -> None:
    batch = make_problem().batch
    drawn = [
        moment.uniforms(purpose, batch, 2, 6)
        for moment in (
            MOMENT,
            replace(MOMENT, seed=2),
            replace(MOMENT, stage="critic"),
            replace(MOMENT, update=8),
        )
        for purpose in ("samples", "dropout")
    ]
    assert all(numbers.shape == (8, 6) for numbers in drawn)
    assert all(((numbers >= 0) & (numbers < 1)).all() for numbers in drawn)
    assert len({tuple(numbers.flatten().tolist()) for numbers in drawn}) == 8


def test_other_draws_neither_disturb_nor_are_disturbed(make_problem: Any) -> None:
    batch = make_problem().batch
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = MOMENT.uniforms("samples", batch, 1, 4)
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(MOMENT.uniforms("samples", batch, 1, 4), first)


@pytest.mark.parametrize("N", [1, 3])
def test_ranks_take_their_slices(make_problem: Any, N: int) -> None:
    whole = MOMENT.uniforms("samples", make_problem().batch, N, 5, 2)
    cuts = (0, 1, 3, 3, 4)
    parts = [
        MOMENT.uniforms("samples", replace_slice(make_problem().batch, first, last), N, 5, 2)
        for first, last in pairwise(cuts)
    ]
    assert [len(part) for part in parts] == [N, 2 * N, 0, N]
    assert torch.equal(torch.cat(parts), whole)


def replace_slice(batch: Any, first: int, last: int) -> Any:
    return replace(
        batch, example_ids=batch.example_ids[first:last], source=batch.source[first:last], offset=first
    )


def test_dropout_masks_are_scaled_and_follow_their_rate(make_problem: Any) -> None:
    problem = make_problem(dropout=0.3)
    policy = problem.networks.policy
    mask = MOMENT.dropout_mask("dropout", problem.batch, 50, 20, policy)
    assert mask is not None
    assert mask.shape == (200, 20, policy.hidden_size)
    assert mask.dtype == policy.output.weight.dtype
    assert set(mask.unique().tolist()) == {0.0, 1 / 0.7}
    assert (mask == 0).double().mean().item() == pytest.approx(0.3, abs=0.01)
    assert mask.mean().item() == pytest.approx(1, abs=0.015)


def test_no_dropout_mask_without_dropout(make_problem: Any) -> None:
    problem = make_problem(dropout=0.0)
    assert MOMENT.dropout_mask("dropout", problem.batch, 1, 4, problem.networks.policy) is None
