"""Processes that compute pure functions for the learners: reward workers and sample workers.

A call that dies with its process is made again on the restarted one; so how many there are, and what happens
to them, changes nothing but the time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from raysq.config import Unfinished, UserError
from raysq.logs import Sender

MAX_RETRIES = 3
"""Times a call is repeated when its worker dies under it."""
NOBODY = Sender()
"""For workers outside any run."""


def create_workers(
    what: Literal["reward", "sample"],
    kind: type,
    num_workers: int,
    *arguments: object,
    by: Sender = NOBODY,
    num_cpus: float = 0.0,
    resource: str | None = None,
) -> list[Any]:
    """Start Ray processes of a class and return their handles, at once.

    Create them in the driver and keep the handles there as long as they are needed; copies may travel to
    learners. A worker that dies is restarted without bound, a call repeated at most ``MAX_RETRIES`` times.

    Args:
        what: they are for.
        kind: the class; importable on every node.
        num_workers: how many, at least 1.
        arguments: of the class, before its own ``Sender``; picklable.
        by: the run they work for, and how they log.
        num_cpus: CPUs that each reserves.
        resource: custom resource of which each takes one; none: they start on any node.

    Raises:
        ValueError: ``num_workers`` < 1.
    """
    if num_workers < 1:
        raise ValueError(f"num_workers must be at least 1, not {num_workers}")
    remote_class = ray.remote(
        num_cpus=num_cpus,
        resources=None if resource is None else {resource: 1},
        max_restarts=-1,
        max_task_retries=MAX_RETRIES,
        scheduling_strategy="SPREAD",
    )(kind)
    return [
        remote_class.remote(*arguments, replace(by, process=f"{what}-worker-{number}"))
        for number in range(num_workers)
    ]


def less_memory(what: Literal["reward", "sample"]) -> str:
    """What to lower where these workers have no memory."""
    return f"lower --num-{what}-workers, or the batch size or num_samples of the stage"


def collect(calls: list[Any], what: Literal["reward", "sample"], timeout_seconds: float) -> list[Any]:
    """Results of calls, in order; waits for them.

    Raises:
        UserError: a worker met a mistake of the user.
        Unfinished: a worker was lost for good or did not answer in time; learners started again would meet
            the same.
        Exception: what else the called function raised, with the worker's traceback.
    """
    try:
        return ray.get(calls, timeout=timeout_seconds)
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise
    except GetTimeoutError as error:
        raise Unfinished(
            f"{what}s were not there after {timeout_seconds:g} s: a {what} worker hangs, or finds no node to "
            "start on; see `ray status` and the worker's log, then repeat the command to continue from the "
            "last checkpoint"
        ) from error
    except RayError as error:
        raise Unfinished(
            f"a {what} worker died, and again at each of {MAX_RETRIES} repetitions: see its log for what "
            f"kills it (often want of memory: {less_memory(what)}), then repeat the command to continue from "
            "the last checkpoint"
        ) from error
