"""How the cost of an ERAC update grows with tokens and vocabulary: times and peak memory, fits, a picture.

python -m tests.benchmarks.linearity OUTPUT_FOLDER

    seconds = a + b n + c V + d n V        n: valid tokens of the samples, V: words
    peak MiB = a + b n + c V + d n V       above networks, gradients and optimiser states

by least squares; 2^20 d bytes for a token and a word is what is kept of a [n, V] table: one in float32 is 4.
"""

from __future__ import annotations

import json
import statistics
import sys
from itertools import product
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch

mpl.use("Agg")
import matplotlib.pyplot as plt

from raysq.files import replace_json
from tests.benchmarks.measure import peak_memory, timed
from tests.benchmarks.problem import UPDATES, Problem
from tests.benchmarks.settings import BenchmarkSettings

VOCABULARIES = (1_000, 8_000, 22_822, 50_000)
LENGTHS = (11, 22, 44)
REPEATS = 3


def measured(vocabulary: int, length: int) -> dict[str, float]:
    """Tokens, median time and peak memory of an update."""
    settings = BenchmarkSettings(output_dir=Path(), device="cpu", length=length)
    erac = next(update for update in UPDATES if update.name == "erac_update")
    problem = Problem(settings, erac, vocabulary, 256)
    update = problem.ours("float32")
    update()
    assert problem.lengths is not None
    return {
        "vocabulary": vocabulary,
        "tokens": float(problem.lengths.sum()),
        "seconds": statistics.median(timed(update) for _ in range(REPEATS)),
        "peak_mib": peak_memory(update) or 0.0,
    }


def fitted(rows: list[dict[str, float]], figure: str) -> dict[str, float]:
    """The four coefficients, and the share of the variance that they explain."""
    n, v, y = (np.array([row[name] for row in rows]) for name in ("tokens", "vocabulary", figure))
    terms = np.stack((np.ones_like(n), n, v, n * v), axis=1)
    scale = terms.max(axis=0)
    coefficients = np.linalg.lstsq(terms / scale, y, rcond=None)[0] / scale
    rest = y - terms @ coefficients
    explained = 1 - float((rest**2).sum() / ((y - y.mean()) ** 2).sum())
    return dict(zip(("a", "b", "c", "d"), coefficients.tolist(), strict=True)) | {"explained": explained}


def draw(rows: list[dict[str, float]], fits: dict[str, dict[str, float]], path: Path) -> None:
    """Time by tokens and by vocabulary, memory by tokens times vocabulary."""
    figure, (by_tokens, by_words, memory) = plt.subplots(1, 3, figsize=(11, 3.2), constrained_layout=True)
    colours = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
    fit = fits["seconds"]
    for vocabulary, colour in zip(VOCABULARIES, colours, strict=True):
        some = sorted((r for r in rows if r["vocabulary"] == vocabulary), key=lambda r: r["tokens"])
        n = np.array([row["tokens"] for row in some])
        by_tokens.plot(n, [row["seconds"] for row in some], "o", color=colour, label=f"V = {vocabulary:,}")
        line = fit["a"] + fit["b"] * n + fit["c"] * vocabulary + fit["d"] * n * vocabulary
        by_tokens.plot(n, line, "-", color=colour, linewidth=1)
        memory.plot(n * vocabulary / 1e6, [row["peak_mib"] for row in some], "o-", color=colour)
    for place, colour in zip(range(len(LENGTHS)), colours, strict=False):
        some = [r for r in rows if r["length"] == LENGTHS[place]]
        label = f"{some[0]['tokens']:.0f} tokens"
        by_words.plot(
            [r["vocabulary"] for r in some], [r["seconds"] for r in some], "o-", color=colour, label=label
        )
    by_tokens.set(xlabel="tokens of the samples", ylabel="ERAC update [s]", ylim=0, xlim=0)
    by_words.set(xlabel="vocabulary [words]", ylabel="ERAC update [s]", ylim=0, xlim=0)
    memory.set(xlabel="tokens x vocabulary [million]", ylabel="peak above what stays [MiB]", ylim=0, xlim=0)
    table = np.array([0, max(r["tokens"] * r["vocabulary"] for r in rows) / 1e6])
    memory.plot(table, table * 4e6 / 2**20, ":", color="#555555", label="one [n, V] table")
    for axes in (by_tokens, by_words, memory):
        axes.legend(frameon=False, fontsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main(folder: Path) -> None:
    """Measure, fit, draw."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for length, vocabulary in product(LENGTHS, VOCABULARIES):
        rows.append(measured(vocabulary, length) | {"length": length})
        print(json.dumps(rows[-1]), flush=True)
    fits = {figure: fitted(rows, figure) for figure in ("seconds", "peak_mib")}
    print(json.dumps(fits, indent=1))
    replace_json(folder / "linearity.json", {"rows": rows, "fits": fits})
    draw(rows, fits, folder / "linearity.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
