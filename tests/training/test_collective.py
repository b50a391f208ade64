import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from raysq.training.collective import Collective

LEARNER = """
import json, pathlib, sys, time
import torch, torch.distributed as dist
from raysq.training.collective import Collective

rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
calls, all_reduce = [], dist.all_reduce
dist.all_reduce = lambda tensor: (calls.append(tensor.numel()), all_reduce(tensor))
group = Collective(rank, 2)
found = {"sums": group.sums([1e-17 + rank, 0.1, 3.0 * rank])}
calls.clear()
parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((2, 3), (4,), ())]
parameters[0].grad = torch.arange(6.0).view(3, 2).t() * (rank + 1)  # not contiguous
parameters[2].grad = torch.tensor(0.5 - rank)
before = [p.grad for p in parameters]
group.sum_gradients(iter(parameters))
found["in_place"] = all(p.grad is g for p, g in zip(parameters, before))
found["calls"] = list(calls)
found["gradients"] = [None if p.grad is None else p.grad.tolist() for p in parameters]
found["gathered"] = group.gather([(rank, "x")] * (2 - rank))
found["nothing"] = group.gather([])
if rank == 0:
    time.sleep(0.3)
    pathlib.Path(sys.argv[2] + ".rank-0-is-here").touch()
group.wait()
found["waited"] = pathlib.Path(sys.argv[2] + ".rank-0-is-here").exists()
dist.destroy_process_group()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes of a real group found."""
    meeting = tmp_path_factory.mktemp("group") / "meeting"
    learners = [
        subprocess.Popen(
            [sys.executable, "-c", LEARNER, str(rank), str(meeting)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for rank in range(2)
    ]
    try:
        return [json.loads(learner.communicate(timeout=60)[0]) for learner in learners]
    finally:
        for learner in learners:
            learner.kill()
            learner.wait()


def test_two_learners_sum_numbers(found: list[dict[str, Any]]) -> None:
    for of_rank in found:
        assert of_rank["sums"] == [1.0, 0.2, 3.0]  # float64: 0.1 has not become a float32


def test_two_learners_sum_gradients_in_one_bucket(found: list[dict[str, Any]]) -> None:
    for of_rank in found:
        assert of_rank["gradients"] == [[[0.0, 6.0, 12.0], [3.0, 9.0, 15.0]], None, 0.0]
        assert of_rank["in_place"]
        assert of_rank["calls"] == [7]


def test_two_learners_gather_in_the_order_of_their_ranks(found: list[dict[str, Any]]) -> None:
    for of_rank in found:
        assert of_rank["gathered"] == [[0, "x"], [0, "x"], [1, "x"]]
        assert of_rank["nothing"] == []


def test_a_single_learner_talks_to_nobody() -> None:
    """No process group exists here: any call would raise."""
    alone, parameter = Collective(), torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([1.0, 2.0])
    alone.sum_gradients([parameter])
    assert parameter.grad.tolist() == [1.0, 2.0]
    assert alone.sums([1.5, 2.5]) == [1.5, 2.5]
    assert alone.gather(["b", "a"]) == ["b", "a"]


def test_learners_wait_for_the_last(found: list[dict[str, Any]]) -> None:
    assert [of_rank["waited"] for of_rank in found] == [True, True]
    Collective().wait()  # alone: at once
