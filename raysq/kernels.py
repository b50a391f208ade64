"""Row losses and draws compiled for a CPU's float32: two or three passes over a row instead of a dozen.

The plain forms are in the modules that call these, beside their equations; tests compare the two. All
arrays are contiguous float32, ids int64; the kernels write into ``gradient`` and the outputs given to them.
Sums over words are of float32 in an order that suits the vector units; a number that is none (a network that
diverged) makes the row's outputs NaN.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor

from raysq.types import EOS, FIRST_ACTION

VECTORISED = {"reassoc", "nsz", "contract", "arcp"}
"""What the compiler may do to sums; it may not assume that there is no NaN."""
STRETCH = 128
"""Words whose probabilities are summed before a draw looks at each of them."""
ONE = np.float32(1.0)
LOWEST = np.float32(-87.0)
"""exp of less counts as 0."""
FINITE = np.float32(-1e30)
"""In place of minus infinity where the factor is 0."""


def compiled(*tensors: Tensor) -> bool:
    """Whether the kernels serve these: float32 on a CPU."""
    return all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in tensors)


def array(tensor: Tensor) -> NDArray[Any]:
    """A tensor's memory, contiguous."""
    return tensor.detach().contiguous().numpy()


@intrinsic
def _float_of_bits(typing_context: Any, bits: Any) -> Any:
    """The float32 with the bits of an int32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@numba.njit(inline="always", fastmath=VECTORISED)
def _exp(x: Any) -> Any:
    """exp(x) for x <= 0, to 3e-7 of itself; 0 below LOWEST (Cephes' polynomial, which vectorises)."""
    bounded = max(x, LOWEST)
    power = np.floor(bounded * np.float32(1.44269504) + np.float32(0.5))
    rest = bounded - power * np.float32(0.693359375) + power * np.float32(2.12194440e-4)
    series = np.float32(1.9875691500e-4)
    series = series * rest + np.float32(1.3981999507e-3)
    series = series * rest + np.float32(8.3334519073e-3)
    series = series * rest + np.float32(4.1665795894e-2)
    series = series * rest + np.float32(1.6666665459e-1)
    series = series * rest + np.float32(5.0000001201e-1)
    mantissa = series * rest * rest + rest + np.float32(1.0)
    value = mantissa * _float_of_bits((np.int32(power) + np.int32(127)) << np.int32(23))
    return value if x > LOWEST else np.float32(0.0)


@numba.njit(inline="always", fastmath=VECTORISED)
def _highest(row: NDArray[np.float32]) -> Any:
    highest = row[0]
    for w in range(1, len(row)):
        highest = max(highest, row[w])
    return highest


@numba.njit(inline="always", fastmath=VECTORISED)
def _masses(row: NDArray[np.float32], inverse: Any, masses: NDArray[np.float32]) -> Any:
    """masses <- exp((row - its highest) inverse); gives their sum (NaN if a number is none), the highest."""
    highest, total, strange = _highest(row), np.float32(0.0), 0
    for w in range(len(row)):
        x = (row[w] - highest) * inverse
        mass = _exp(x)
        masses[w] = mass
        total += mass
        strange += x != x
    return (total if strange == 0 else np.float32(np.nan)), highest


@numba.njit(cache=True, nogil=True, fastmath=VECTORISED)
def cross_entropy_rows(
    logits: NDArray[np.float32],
    targets: NDArray[np.int64],
    losses: NDArray[np.float32],
    gradient: NDArray[np.float32],
) -> None:
    """``raysq.losses.cross_entropy``."""
    for i in range(len(logits)):
        row, slope, target = logits[i], gradient[i], targets[i]
        total, highest = _masses(row, ONE, slope)
        losses[i] = np.log(total) - (row[target] - highest)
        scale = ONE / total
        for w in range(len(row)):
            slope[w] *= scale
        slope[target] -= ONE


@numba.njit(cache=True, nogil=True, fastmath=VECTORISED)
def actor_critic_rows(
    logits: NDArray[np.float32],
    q: NDArray[np.float32],
    target_q: NDArray[np.float32],
    forced: NDArray[np.bool_],
    tokens: NDArray[np.int64],
    tau: float,
    normalised: bool,
    values: NDArray[np.float32],
    gradient: NDArray[np.float32],
) -> None:
    """``raysq.losses.actor_critic``; eos alone is possible in forced rows.

    values [n, 5]: regularised value, the target's without entropy, online value, entropy, log pi(y).
    """
    for i in range(len(logits)):
        row, slope, online, target = logits[i], gradient[i], q[i], target_q[i]
        if forced[i]:
            slope[:] = np.float32(0.0)
            values[i] = np.float32(0.0)
            values[i, 1], values[i, 2] = target[EOS], online[EOS]
            continue
        total, highest = _masses(row, ONE, slope)
        log_total = np.log(total)
        scale = ONE / total
        surprise = of_online = of_target = squares = np.float32(0.0)
        for w in range(len(row)):
            log_pi = row[w] - highest - log_total
            mass = slope[w]
            surprise += mass * max(log_pi, FINITE)
            of_online += mass * online[w]
            of_target += mass * target[w]
        temperature = np.float32(tau)
        if normalised:
            for w in range(FIRST_ACTION, len(row)):
                log_pi = row[w] - highest - log_total
                squares += log_pi * log_pi
            temperature = np.float32(tau) / np.sqrt(squares)
        entropy, online_value = -surprise * scale, of_online * scale
        regularised = online_value + temperature * entropy
        offset = regularised - temperature * (highest + log_total)
        for w in range(len(row)):
            log_part = temperature * max(row[w], FINITE)
            slope[w] *= scale * (offset + log_part - online[w])
        values[i, 0] = regularised
        values[i, 1], values[i, 2] = of_target * scale, online_value
        values[i, 3], values[i, 4] = entropy, row[tokens[i]] - highest - log_total


@numba.njit(cache=True, nogil=True, fastmath=VECTORISED)
def state_value_rows(
    logits: NDArray[np.float32],
    target_q: NDArray[np.float32],
    forced: NDArray[np.bool_],
    tokens: NDArray[np.int64],
    values: NDArray[np.float32],
) -> None:
    """``raysq.losses.actor_critic.state_value``; values [n, 3]: without entropy, entropy, log pi(y)."""
    scratch = np.empty_like(logits[0])
    for i in range(len(logits)):
        row, target = logits[i], target_q[i]
        if forced[i]:
            values[i, 0], values[i, 1], values[i, 2] = target[EOS], np.float32(0.0), np.float32(0.0)
            continue
        total, highest = _masses(row, ONE, scratch)
        surprise = of_target = np.float32(0.0)
        for w in range(len(row)):
            surprise += scratch[w] * max(row[w] - highest, FINITE)
            of_target += scratch[w] * target[w]
        log_total = np.log(total)
        values[i, 0] = of_target / total
        values[i, 1] = log_total - surprise / total
        values[i, 2] = row[tokens[i]] - highest - log_total


@numba.njit(cache=True, nogil=True, fastmath=VECTORISED)
def distillation_rows(
    logits: NDArray[np.float32],
    q: NDArray[np.float32],
    tau: float,
    losses: NDArray[np.float32],
    gradient: NDArray[np.float32],
) -> None:
    """``raysq.losses.distillation``."""
    inverse, scratch = np.float32(1.0 / tau), np.empty_like(logits[0])
    for i in range(len(logits)):
        row, slope, online = logits[i], gradient[i], q[i]
        total, highest = _masses(row, ONE, slope)
        log_total, scale = np.log(total), ONE / total
        of_oracle, _ = _masses(online, inverse, scratch)
        expected = np.float32(0.0)
        for w in range(len(row)):
            expected += scratch[w] * max(row[w] - highest, FINITE)
        share = ONE / of_oracle
        losses[i] = log_total - expected * share
        for w in range(len(row)):
            slope[w] = slope[w] * scale - scratch[w] * share


@numba.njit(cache=True, nogil=True, fastmath=VECTORISED)
def soft_value_rows(
    q: NDArray[np.float32], tau: float, log_totals: NDArray[np.float32], policy: NDArray[np.float32]
) -> None:
    """log sum_w exp(Q_w / tau) [n], and policy <- softmax(Q / tau) [n, V]."""
    inverse = np.float32(1.0 / tau)
    for i in range(len(q)):
        row, masses = q[i], policy[i]
        total, highest = _masses(row, inverse, masses)
        log_totals[i] = highest * inverse + np.log(total)
        scale = ONE / total
        for w in range(len(row)):
            masses[w] *= scale


@numba.njit(cache=True, nogil=True, fastmath=VECTORISED)
def draw_rows(
    logits: NDArray[np.float32],
    uniforms: NDArray[np.float32],
    words: NDArray[np.int64],
    log_probs: NDArray[np.float32],
) -> None:
    """``raysq.decoding.inverse_cdf``: sums by stretch first, then the words of one stretch."""
    V = logits.shape[1]
    count = (V + STRETCH - 1) // STRETCH
    masses, sums = np.zeros(count * STRETCH, np.float32), np.empty(count, np.float32)
    for i in range(len(logits)):
        row = logits[i]
        highest, total = _highest(row), np.float64(0.0)
        for s in range(count):
            start = s * STRETCH
            here, mass, strange = row[start : start + STRETCH], np.float32(0.0), 0
            for w in range(len(here)):
                x = here[w] - highest
                each = _exp(x)
                masses[start + w] = each
                mass += each
                strange += x != x
            sums[s] = mass
            total += mass if strange == 0 else np.float32(np.nan)
        threshold, running, word = uniforms[i] * total, np.float64(0.0), -1
        for s in range(count):
            if running + sums[s] <= threshold and s < count - 1:
                running += sums[s]
                continue
            for w in range(s * STRETCH, (s + 1) * STRETCH):
                if masses[w] > 0.0:
                    word = w  # the last one that is possible, should rounding leave none above the threshold
                    running += masses[w]
                    if running > threshold:
                        break
            if word >= 0:
                break
        if word < 0:  # a number of the row is none: the loss will say so
            word = EOS
        words[i] = word
        log_probs[i] = row[word] - highest - np.log(total)


@numba.njit(cache=True, nogil=True, fastmath=VECTORISED)
def log_totals_rows(logits: NDArray[np.float32], log_totals: NDArray[np.float32]) -> None:
    """log sum_w exp(logit_w) [n]."""
    for i in range(len(logits)):
        row = logits[i]
        highest, total = _highest(row), np.float32(0.0)
        for w in range(len(row)):
            total += _exp(row[w] - highest)
        log_totals[i] = highest + np.log(total)
