"""Where learners run: on the cluster that RAY_ADDRESS names, else on this machine for this run alone."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from raysq.commandline import Terminated
from raysq.config import TrainingCommand, Unfinished, UserError

Device = Literal["cpu", "cuda"]

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # ray.train.report blocks for one interval
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_task_events_report_interval_ms": "0",  # or its gcs keeps 3 KiB of each of the last 100,000 calls
    "RAY_worker_niceness": "0",  # of clusters started here; at Ray's 15 any other load holds learners up
}
"""What Ray reads from the environment, where the user has not set it."""
THIS_MACHINE = "this machine"
PATIENCE = 5.0
"""Time without free CPUs or GPUs after which the command says that it waits [s]."""
REMINDER = 60.0
"""Time between two lines that say so again [s]."""
LOST_PATIENCE = 300.0
"""Time that a cluster which has lost a node has until it has another [s]."""


@contextmanager
def connection(config: TrainingCommand, say: Callable[[str], None], num_places: int = 0) -> Iterator[Device]:
    """See to it that the learners find room, before a run writes anything; yields where each of them trains.

    Stays attached to the cluster that RAY_ADDRESS names until the block ends. Without RAY_ADDRESS nothing is
    started yet: ``run_on_ray`` does that, when there is something to train.

    Args:
        config: learners, device, and whether to wait for CPUs and GPUs that are not there.
        say: prints a line.
        num_places: what the reward and sample workers take of ``config.worker_resource``.

    Raises:
        UserError: no cluster answers, or it lacks CPUs, GPUs or places for the workers.
    """
    address = os.environ.get("RAY_ADDRESS", "local")
    if address == "local":
        there = _this_machine()
        device = chosen_device(config.device, there)
        lacking = _learner_shortage(config, device, there, THIS_MACHINE)
        if lacking:
            raise UserError(lacking)
        if config.worker_resource is not None:
            raise UserError(
                f"--worker-resource {config.worker_resource}: {THIS_MACHINE} alone has none of it: leave it "
                "out, or name a cluster that has it with RAY_ADDRESS"
            )
        yield device
        return
    attach(address, config.verbose)
    try:
        there, place = ray.cluster_resources(), f"the cluster at {address}"
        device = chosen_device(config.device, there)
        lacking = _lacking(config, device, num_places, there, place)
        if lacking and not config.wait_for_resources:
            raise UserError(f"{lacking}, or add --wait-for-resources")
        _wait_for_room(config, device, num_places, place, say)
        yield device
    finally:
        stop()


def start(*, verbose: bool = False) -> None:
    """Start Ray on this machine, for this process alone. Raises ``Unfinished`` where it does not start."""
    try:
        _init(
            verbose,
            address="local",
            num_cpus=_cores(),
            # costs seconds; without it Ray Train complains every second, to a log that is hidden then
            include_dashboard=verbose,
            dashboard_host="127.0.0.1",
            object_store_memory=256 * 2**20,
        )
    except Exception as error:  # Ray has no class of its own for it
        why = str(error).strip().partition("\n")[0]
        raise Unfinished(
            f"Ray has not started on this machine ({why}): it has 30 s for that; repeat the command when the "
            "machine is less busy"
        ) from error


def stop() -> None:
    """End Ray in this process, or leave the cluster."""
    with _our_sigterm():
        ray.shutdown()


def learner_resources(device: str) -> dict[str, float]:
    """What one learner takes."""
    return {"CPU": 1, "GPU": 1} if device == "cuda" else {"CPU": 1}


def chosen_device(wanted: Literal["auto", "cpu", "cuda"], there: Mapping[str, float]) -> Device:
    """``auto`` takes GPUs where there are any; what is asked for stays as it is."""
    if wanted == "auto":
        return "cuda" if there.get("GPU", 0) > 0 else "cpu"
    return wanted


def _learner_shortage(
    config: TrainingCommand, device: str, there: Mapping[str, float], place: str
) -> str | None:
    """What ``place`` lacks for the learners that are enough, and the remedy."""
    if config.min_learners:
        return shortage(config.min_learners, device, there, place, "--min-learners")
    return shortage(config.num_learners, device, there, place)


def shortage(
    num_learners: int, device: str, there: Mapping[str, float], place: str, option: str = "--num-learners"
) -> str | None:
    """What ``place`` lacks for so many learners, and the remedy; None where it has all, free or taken."""
    for resource, each in learner_resources(device).items():
        needed, has = each * num_learners, there.get(resource, 0)
        if needed <= has:
            continue
        if has < each and resource == "GPU":
            return f"--device cuda: {place} has no GPU: give --device auto or cpu"
        remedy = "lower it, or give --device cpu" if resource == "GPU" else "lower it"
        return f"{option} {num_learners} needs {needed:g} {resource}s, {place} has {has:g}: {remedy}"
    return None


def worker_shortage(num_places: int, resource: str, there: Mapping[str, float], place: str) -> str | None:
    """What ``place`` lacks of a custom resource for so many workers, and the remedy; None where it has it."""
    has = there.get(resource, 0)
    if num_places <= has:
        return None
    more = json.dumps({resource: math.ceil(num_places - has)}, separators=(",", ":"))
    return (
        f"--worker-resource {resource}: {num_places} reward and sample workers take one each, {place} has "
        f"{has:g}: lower --num-reward-workers or --num-sample-workers, or start a node with --resources "
        f"'{more}'"
    )


def _lacking(
    config: TrainingCommand, device: str, num_places: int, there: Mapping[str, float], place: str
) -> str | None:
    """What ``place`` lacks for learners or for workers, and the remedy."""
    lacking = _learner_shortage(config, device, there, place)
    if lacking is None and config.worker_resource is not None:
        return worker_shortage(num_places, config.worker_resource, there, place)
    return lacking


class Room:
    """The room of a run's learners and workers, on a cluster whose nodes may be lost and replaced.

    Args:
        config: learners, and whether to wait without end for a node.
        device: where each of them trains.
        say: prints a line.
        num_places: what the reward and sample workers take of ``config.worker_resource``.
    """

    def __init__(
        self, config: TrainingCommand, device: str, say: Callable[[str], None], num_places: int = 0
    ) -> None:
        self._config, self._device, self._say = config, device, say
        self._num_places = num_places
        self._lost = self._said = 0.0

    def check(self) -> None:
        """Say what the cluster lacks, now and then.

        Raises:
            Unfinished: it has lacked that for ``LOST_PATIENCE``, and is not to be awaited.
        """
        there = ray.cluster_resources()
        place = "what is left of the cluster"
        lacking = _lacking(self._config, self._device, self._num_places, there, place)
        now = time.monotonic()
        if lacking is None:
            self._lost = self._said = 0.0
            return
        self._lost = self._lost or now
        if now - self._lost > LOST_PATIENCE and not self._config.wait_for_resources:
            raise Unfinished(
                f"{lacking}, or add a node; repeat the command to continue from the last checkpoint"
            )
        if not self._said or now - self._said > REMINDER:
            self._said = now
            self._say(f"waiting for a node: {lacking.rpartition(': ')[0]}")


def _this_machine() -> dict[str, float]:
    import torch

    return {"CPU": _cores(), "GPU": torch.cuda.device_count()}


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def attach(address: str, verbose: bool) -> None:
    """Attach this process to a running cluster. Raises UserError where none answers there."""
    remedy = "give HOST:PORT as `ray start` prints it, or unset RAY_ADDRESS to train on this machine alone"
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=5).close()
        except (OSError, ValueError) as error:
            raise UserError(f"RAY_ADDRESS {address}: no cluster answers there ({error}): {remedy}") from error
    try:
        _init(verbose, address=address)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(
            f"RAY_ADDRESS {address}: Ray cannot attach to it ({error}): {remedy}; where the cluster asks for "
            "a token, export RAY_AUTH_MODE=token"
        ) from error


def _init(verbose: bool, **options: Any) -> None:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not verbose:
        options |= {"logging_level": "ERROR", "log_to_driver": False}
    with _our_sigterm():
        try:
            ray.init(**options)
        except SystemExit:
            raise Terminated from None  # by the handler that ray.init puts in place of ours


@contextmanager
def _our_sigterm() -> Iterator[None]:
    """Ray puts a handler of its own in place of ours when it starts, and none when it ends."""
    ours = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, ours)


def _wait_for_room(
    config: TrainingCommand, device: Device, num_places: int, place: str, say: Callable[[str], None]
) -> None:
    """Return when learners and workers could start; a reservation on trial, which an autoscaler sees too."""
    bundles = [learner_resources(device)] * (config.min_learners or config.num_learners)
    if config.worker_resource is not None:
        bundles += [{config.worker_resource: 1.0}] * num_places
    needed: dict[str, float] = {}
    for bundle in bundles:
        for name, amount in bundle.items():
            needed[name] = needed.get(name, 0) + amount
    room = placement_group(bundles)
    try:
        if room.wait(PATIENCE):
            return
        while True:
            free = ray.available_resources()
            said = (
                f"{amount:g} {name}{'s' if name in ('CPU', 'GPU') else ''} (free now: {free.get(name, 0):g})"
                for name, amount in needed.items()
            )
            say(f"waiting for {' and '.join(said)} on {place}")
            if room.wait(REMINDER):
                return
    finally:
        remove_placement_group(room)
