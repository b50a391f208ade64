"""The equations that size a cluster. Pure functions; times in seconds, sizes in bytes, rates a second.

L learners, R reward workers, S sample workers of one learner, M sequences that a learner has scored in an
update, W bytes of the policy's weights. deploy/CAPACITY.md says where each constant comes from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

INLINE_BYTES = 100_000
"""Arguments and results up to here travel inside Ray's messages and take no room in an object store."""


def slowdown(processes: int, cores: int, when_full: float) -> float:
    """How many times as long work takes when so many processes work at once.

        s(p) = 1 + (s(c) - 1) (p - 1) / (c - 1)    for p <= c cores
        s(p) = s(c) p / c                          beyond: they take turns

    Args:
        processes: p, those that work at the same time.
        cores: c, that they share (hyperthreads count).
        when_full: s(c), measured; 1 where cores share nothing.
    """
    if processes <= 1:
        return 1.0
    if processes > cores:
        return when_full * processes / cores
    return 1 + (when_full - 1) * (processes - 1) / (cores - 1)


def pipelined_seconds(works: Sequence[float], cores: int, when_full: float) -> float:
    """Time of a round that processes work through side by side, round after round: the longest part, or all.

    max(max_i w_i, s(c) / c sum_i w_i)

    Args:
        works: w_i, each process's part of a round, as long as it takes alone.
        cores: c, that they share.
        when_full: s(c).
    """
    return max(*works, sum(works) * when_full / cores)


def compute_seconds(fixed: float, per_sentence: float, sentences: float) -> float:
    """Arithmetic of an update: a + b n; a (optimiser, gradients of whole tables) no learner can share."""
    return fixed + per_sentence * sentences


def ring_all_reduce_seconds(
    num_bytes: float, learners: int, bytes_per_second: float, latency: float
) -> float:
    """Sum of a vector over learners in a ring: 2 (L - 1)/L bytes / bandwidth + 2 (L - 1) latency.

    Each learner sends 2 (L - 1) messages of bytes / L. 0 for a single learner.
    """
    if learners == 1:
        return 0.0
    return 2 * (learners - 1) / learners * num_bytes / bytes_per_second + 2 * (learners - 1) * latency


def all_reduces_seconds(
    num_bytes: float, calls: int, learners: int, bytes_per_second: float, latency: float
) -> float:
    """Of an update with several sums (each network's gradient, two of a few numbers), one after another.

    2 (L - 1)/L bytes / bandwidth + calls 2 (L - 1) latency, bytes of all together.
    """
    once = ring_all_reduce_seconds(num_bytes, learners, bytes_per_second, latency)
    return once + (calls - 1) * ring_all_reduce_seconds(0.0, learners, bytes_per_second, latency)


def reward_calls(pairs: int, workers: int) -> int:
    """Calls that a learner makes in an update: min(R, M). Workers beyond M are never asked."""
    return min(workers, pairs)


def reward_seconds(
    pairs: int, workers: int, learners: int, *, call: float, service: float, pair: float
) -> float:
    """From the learners' sending, all at once, to the last reply: c + L (s + p M / min(R, M)).

    Each of the min(R, M) workers that are asked has a call of M / min(R, M) pairs from every learner.

    Args:
        pairs: M, of one learner.
        workers: R.
        learners: L.
        call: c, what a call takes on its way there and back.
        service: s, of a call at the worker, whatever is in it.
        pair: p, for a pair at the worker.
    """
    calls = reward_calls(pairs, workers)
    return call + learners * (service + pair * pairs / calls)


def reward_workers_needed(
    pairs: int, learners: int, window: float, *, call: float, service: float, pair: float
) -> int:
    """Fewest reward workers whose replies come before they are needed: R >= L M p / (w - c - L s).

    Args:
        pairs, learners, call, service, pair: as of ``reward_seconds``.
        window: w, from the sending to the moment at which a learner needs the rewards.

    Raises:
        ValueError: no number is enough, because calls alone fill the window, or because more than M workers
            would have to be asked.
    """
    left = window - call - learners * service
    if left <= 0:
        raise ValueError(f"calls of {learners} learners alone take longer than the {window:g} s there are")
    needed = max(1, math.ceil(learners * pairs * pair / left - 1e-9))
    if needed > pairs:
        raise ValueError(f"{needed} workers are needed, and no more than {pairs} are ever asked")
    return needed


def sample_workers_needed(draw: float, update: float) -> int:
    """Sample workers of one learner that keep up while they may draw ahead: S >= d / u.

    Args:
        draw: d, time of one worker for a learner's share of a batch, rewards included.
        update: u, of the learner when samples are there.
    """
    return max(1, math.ceil(draw / update - 1e-9))


def stale_cycle_seconds(
    max_staleness: int, workers: int, *, ready: float, draw: float, update: float
) -> float:
    """K + 1 updates whose samples all come from the snapshot taken at the first of them.

        f_j = max(f_{j-1}, ready + (floor(j / S) + 1) d) + u,  j = 0 .. K,  f_{-1} = 0

    Args:
        max_staleness: K.
        workers: S, of this learner.
        ready: from the snapshot to its copy at the workers.
        draw: d, as of ``sample_workers_needed``.
        update: u, likewise.
    """
    finished = 0.0
    for j in range(max_staleness + 1):
        finished = max(finished, ready + (j // workers + 1) * draw) + update
    return finished


def broadcast_seconds(
    num_bytes: float,
    receivers: int,
    bytes_per_second: float,
    latency: float,
    form: Literal["star", "chain", "tree"] = "star",
    chunk: float = 5 * 2**20,
) -> float:
    """Weights from one node to n others.

        star    n W / b + l                          the sender's link carries every copy
        chain   (W + (n - 1) min(k, W)) / b + n l    each node passes chunks of k bytes on
        tree    ceil(log2(n + 1)) (W / b + l)        each that has all of it sends it to another

    Ray's nodes pull whole objects from a node that has all of them: pulled at once that is the star; pulled
    one after another it comes nearer to the tree.
    """
    if receivers == 0:
        return 0.0
    once = num_bytes / bytes_per_second
    if form == "star":
        return receivers * once + latency
    if form == "chain":
        return once + (receivers - 1) * min(chunk, num_bytes) / bytes_per_second + receivers * latency
    return math.ceil(math.log2(receivers + 1)) * (once + latency)


def object_store_bytes(weights: float, samples: float, ahead: int, learners: int = 1) -> float:
    """Room that a node's object store needs: L (2 W + (a + 1) s).

    Twice the weights, because a snapshot is put before the one before it is let go; s counts only above
    ``INLINE_BYTES``.

    Args:
        weights: W.
        samples: s, of one learner's share of a batch, as they travel back.
        ahead: a, updates that are drawn ahead.
        learners: whose snapshots are on the node.
    """
    kept = samples if samples > INLINE_BYTES else 0.0
    return learners * (2 * weights + (ahead + 1) * kept)


def poll_seconds(learners: int, poll: float, interval: float) -> float:
    """Time between two looks of Ray Train's controller at a learner: max(i, L q).

    Reports of evaluations are taken, and lost learners noticed, by these; updates do not wait for them.

    Args:
        learners: L.
        poll: q, the controller's time for one of them.
        interval: i, that it leaves at least (``RAY_TRAIN_HEALTH_CHECK_INTERVAL_S``).
    """
    return max(interval, learners * poll)


def points_per_second(stages: int, updates_per_second: float, points: float, log_every: int) -> float:
    """Metrics that the driver's one writer has to deliver: stages points updates / log_every.

    Learners of one stage share a journal, so this grows with a sweep's stages, not with learners.
    """
    return stages * points * updates_per_second / log_every


def most_stages(point: float, updates_per_second: float, points: float, log_every: int) -> int:
    """Stages that train at once before the delivery falls behind: floor(log_every / (t points u)).

    Args:
        point: t, time to deliver one point.
        updates_per_second: u, of each stage.
        points: in a line of the journal.
        log_every: updates in a line.
    """
    return math.floor(1 / (point * points_per_second(1, updates_per_second, points, log_every)) + 1e-9)


def efficiency(alone: float, learners: int, together: float) -> float:
    """Share of L learners' time that is the work of one: alone / (L together) for a batch that is shared."""
    return alone / (learners * together)
