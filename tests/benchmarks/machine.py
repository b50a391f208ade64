"""What the machine is and what it can do: the limits that the figures of the suites are held against."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.measure import compare
from tests.benchmarks.settings import BenchmarkSettings

COPIED = 256 * 2**20
"""Bytes of a copy: more than any cache holds."""
CHUNK_ROWS = 64
BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")
"""Flags of a processor that multiplies bfloat16 itself."""


def product_rate(
    rows: int,
    inner: int,
    columns: int,
    *,
    precision: str = "float32",
    device: str = "cpu",
    preallocated: bool = True,
    repeats: int = 3,
) -> float:
    """Rate of the product [rows, inner] x [inner, columns] with torch's threads, the median [GFLOP/s].

    The right factor is a transposed [columns, inner], as an output layer's weight is. 2 rows inner columns
    operations count.

    Args:
        rows: of the left factor.
        inner: common size.
        columns: of the right factor.
        precision: ``float32`` or ``bfloat16``, of factors and result.
        device: where.
        preallocated: whether the result is written to memory that is there; if not, each product asks for
            memory, which the kernel has to clear and map.
        repeats: products that count.
    """
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    left = torch.randn(rows, inner, device=device).to(dtype)
    right = torch.randn(columns, inner, device=device).to(dtype).t()
    out = torch.empty(rows, columns, dtype=dtype, device=device)
    kept = out if preallocated else None
    times = compare({"product": lambda: torch.mm(left, right, out=kept)}, repeats)
    return 2e-9 * rows * inner * columns / times["product"].spread().median


def copy_rate(*, device: str = "cpu", num_bytes: int = COPIED, repeats: int = 5) -> float:
    """Bytes read plus bytes written of a copy from memory to memory, the median [GB/s]."""
    source = torch.ones(num_bytes // 4, device=device)
    target = torch.empty_like(source)
    times = compare({"copy": lambda: target.copy_(source)}, repeats)
    return 2e-9 * num_bytes / times["copy"].spread().median


def describe(settings: BenchmarkSettings) -> dict[str, Any]:
    """machine.json: what the machine is, the versions, and the rates it reaches with these threads."""
    flags = _processor().get("flags", "").split()
    return {
        "name": name(settings),
        "cores": len(os.sched_getaffinity(0)),
        "threads": settings.num_threads,
        "bf16_instructions": [flag for flag in BF16_INSTRUCTIONS if flag in flags],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "rates": rates(
            settings.device,
            rows=settings.batch_size * settings.length,
            hidden=(settings.hidden or (256,))[0],
            vocabulary=(settings.vocabulary or (22_822,))[0],
        ),
    }


def name(settings: BenchmarkSettings) -> str:
    """One line: the GPU, or the processor with its cores and the threads used."""
    if settings.device == "cuda":
        return torch.cuda.get_device_name()
    model = _processor().get("model name", platform.machine())
    return f"{model}, {len(os.sched_getaffinity(0))} cores, threads used: {settings.num_threads}"


def rates(device: str, *, rows: int, hidden: int, vocabulary: int) -> dict[str, float]:
    """Product rates of an output layer over a batch's tokens [GFLOP/s], and the copy rate [GB/s], by name.

    ``chunk``: a few rows, so that the result stays in cache; ``allocated``: into memory that is asked for.
    """
    found = {"copy_gb_per_second": copy_rate(device=device)}
    shapes = (("whole", rows, True), ("whole_allocated", rows, False), ("chunk", min(rows, CHUNK_ROWS), True))
    for precision in ("float32", "bfloat16"):
        for what, count, preallocated in shapes:
            found[f"{precision}_{what}_gflops"] = product_rate(
                count,
                hidden,
                vocabulary,
                precision=precision,
                device=device,
                preallocated=preallocated,
            )
    return found


def _processor() -> dict[str, str]:
    """The first processor's entry of /proc/cpuinfo; empty where there is none."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    lines = path.read_text().split("\n\n")[0].splitlines()
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
