"""Encodes shards of images by Ray Data: a pool of actors, each with the network, takes one by one.

A worker decodes and encodes: where it waits for one, other workers of the same GPU do the other.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Literal

import numpy as np
import ray
import ray.data
import torch

from raysq.cluster.connection import attach, chosen_device, start, stop
from raysq.config import Unfinished, UserError
from raysq.images.encoder import ImageEncoder
from raysq.images.extraction import EncodedShard, EncodeShards, Extraction, encode_shard
from raysq.images.store import EncoderRecord

ENVIRONMENT = {
    # of errors that are none: it fears that an actor's arguments may get lost, which the driver holds
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
"""What Ray reads from the environment, where the user has not set it."""


class EncodingWorker:
    """Encodes shards; runs as a Ray process."""

    def __init__(self, extraction: Extraction, weights: str, image_size: int | None, device: str) -> None:
        # stated, not inherited: more workers use more cores, and features stay equal to the last bit
        torch.set_num_threads(1)
        self._extraction, self._weights = extraction, weights
        self._image_size, self._device = image_size, device

    @cached_property
    def _encoder(self) -> ImageEncoder:
        return ImageEncoder.load(self._weights, self._image_size, self._device)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The row of the one shard in ``batch["number"]``; of a user's mistake its text instead."""
        number, features = int(batch["number"][0]), b""
        rest: dict[str, Any] = {"node": os.uname().nodename}
        try:
            shard = encode_shard(self._extraction, self._encoder, number)
        except UserError as error:  # raised here, it would reach the user with Ray's traceback
            rest["mistake"] = str(error)
        else:
            features = shard.features.tobytes()
            rest |= {"names": shard.names, "skipped": shard.skipped}
            rest["encoder"] = self._encoder.record.identity
        return {"number": [number], "features": [features], "rest": [json.dumps(rest)]}


@contextmanager
def encoding_on_ray(
    extraction: Extraction,
    weights: str,
    image_size: int | None,
    expected: EncoderRecord,
    num_workers: int,
    device: Literal["auto", "cpu", "cuda"],
    *,
    verbose: bool = False,
) -> Iterator[EncodeShards]:
    """Encoding by ``num_workers`` actors, on the cluster that RAY_ADDRESS names or one started for this.

    Args:
        extraction: what is encoded.
        weights: as `ImageEncoder.load`.
        image_size: likewise.
        expected: what the weights are here.
        num_workers: actors, with a CPU each; they share the GPUs.
        device: where they compute; auto takes GPUs where there are any.
        verbose: show Ray's log lines.

    Raises:
        UserError: no cluster answers, it lacks CPUs or GPUs, or its nodes cannot read the weights or read
            others.
        Unfinished: a worker failed.
    """
    ours = not ray.is_initialized()
    if ours:
        _connect(verbose)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = verbose
    if not verbose:
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    try:
        chosen, share = _room(num_workers, device, ray.cluster_resources())

        def encode(numbers: Sequence[int]) -> Iterator[EncodedShard]:
            if not numbers:
                return
            rows = ray.data.from_items(
                [{"number": number} for number in numbers], override_num_blocks=len(numbers)
            )
            encoded = rows.map_batches(
                EncodingWorker,
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=min(num_workers, len(numbers))),
                num_cpus=1,
                num_gpus=share,
                fn_constructor_args=(extraction, weights, image_size, chosen),
            )
            for row in encoded.iter_rows():
                yield _shard(row, weights, expected)

        yield encode
    except ray.exceptions.RayError as error:
        first = str(error).partition("The above exception was")[0]  # what follows is Ray's own
        why = first.strip().splitlines()[-1]
        raise Unfinished(f"an encoding worker failed ({why}): mend that, then repeat the command") from error
    finally:
        if ours:
            stop()


def _room(
    num_workers: int, device: Literal["auto", "cpu", "cuda"], there: Mapping[str, float]
) -> tuple[str, float]:
    """Where workers compute, and each one's share of a GPU. Raises UserError where there is not enough."""
    chosen, cpus, gpus = chosen_device(device, there), there.get("CPU", 0.0), there.get("GPU", 0.0)
    if chosen == "cuda" and not gpus:
        raise UserError("--device cuda: there is no GPU: give --device auto or cpu")
    if num_workers > cpus:
        raise UserError(f"--num-workers {num_workers}: there are {cpus:g} CPUs: lower it")
    if chosen == "cpu":
        return chosen, 0.0
    return chosen, min(1.0, math.floor(100 * gpus / num_workers) / 100)


def _connect(verbose: bool) -> None:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    address = os.environ.get("RAY_ADDRESS", "local")
    if address == "local":
        start(verbose=verbose)
    else:
        attach(address, verbose)


def _shard(row: dict[str, Any], weights: str, expected: EncoderRecord) -> EncodedShard:
    rest = json.loads(row["rest"])
    if "mistake" in rest:
        raise UserError(f"{rest['mistake']} (said by a worker on {rest['node']})")
    if rest["encoder"] != expected.identity:
        raise UserError(
            f"--weights {weights} are others on {rest['node']} than here: give the same everywhere"
        )
    features = np.frombuffer(row["features"], np.float32).reshape(-1, expected.feature_size)
    return EncodedShard(int(row["number"]), tuple(rest["names"]), features, rest["skipped"])
