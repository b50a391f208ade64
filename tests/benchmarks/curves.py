"""Journals of stages -> one picture: dev BLEU, dev |TD error| and samples' BLEU against updates.

python tests/benchmarks/curves.py OUTPUT.png CRITIC_FOLDER JOINT_FOLDER [CONTROL_FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from raysq.training.journal import read


def curve(folder: Path, metric: str) -> tuple[list[int], list[float]]:
    """Updates and values of a metric in a stage's journal; a replayed step counts once."""
    records, _ = read(folder / "journal.jsonl")
    points = {r.step: r.metrics[metric] for r in records if metric in r.metrics}
    return list(points), list(points.values())


def main(output: Path, critic: Path, joint: Path, control: Path | None) -> None:
    """Draw and save."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), constrained_layout=True)
    left.plot(*curve(critic, "train/td_error"), color="#bbbbbb", label="samples in training")
    left.plot(*curve(critic, "dev/td_error"), "o-", color="#0072B2", label="dev")
    left.set(title="critic pre-training", xlabel="updates", ylabel="|TD error| (reward of a token)", ylim=0)
    left.legend(frameon=False)
    right.plot(*curve(joint, "dev/bleu"), "o-", color="#D55E00", label="ERAC, dev BLEU")
    right.plot(*curve(joint, "dev/sample_bleu"), "o--", color="#D55E00", label="ERAC, dev sample BLEU")
    if control is not None:
        right.plot(*curve(control, "dev/bleu"), "s-", color="#009E73", label="continued MLE, dev BLEU")
        right.plot(
            *curve(control, "dev/sample_bleu"), "s--", color="#009E73", label="continued MLE, sample BLEU"
        )
    right.set(title="joint stage and control", xlabel="updates", ylabel="BLEU")
    right.legend(frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncol=2)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(output, dpi=110)


if __name__ == "__main__":
    paths = [Path(argument) for argument in sys.argv[1:]]
    main(paths[0], paths[1], paths[2], paths[3] if len(paths) > 3 else None)
