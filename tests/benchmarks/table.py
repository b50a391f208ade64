"""Result files of finished runs -> one Markdown table: mean and spread (min .. max) over seeds, by stage.

    python tests/benchmarks/table.py RESULT.json ...

A stage that several files share (the MLE actor) counts once per seed; diverged stages are left out, marked †.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import mean

COLUMNS = (("test", "bleu"), ("test", "sample_bleu"), ("dev", "bleu"), ("dev", "sample_bleu"))


def cell(values: list[float]) -> str:
    """``mean (min .. max)``, or the value of a single run."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{mean(values):.2f} ({min(values):.2f} .. {max(values):.2f})"


def main(paths: list[Path]) -> None:
    """Print the table."""
    stages: dict[str, dict[int, dict]] = {}
    for path in paths:
        result = json.loads(path.read_text())
        for entry in result["stages"]:
            if "bleu" in entry["test"]:
                stages.setdefault(entry["name"], {})[result["seed"]] = entry
    print("| stage | seeds | test BLEU | test sample BLEU | dev BLEU | dev sample BLEU | updates | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for name, by_seed in stages.items():
        kept = {seed: e for seed, e in by_seed.items() if e["state"] == "finished"}
        seeds = ", ".join(map(str, sorted(kept))) + "†" * (len(by_seed) - len(kept))
        cells = [cell([e[split][metric] for e in kept.values()]) for split, metric in COLUMNS]
        updates = " / ".join(str(kept[seed]["updates"]) for seed in sorted(kept))
        seconds = f"{mean(e['seconds'] for e in kept.values()):.0f}"
        print(f"| {name} | {seeds} | {' | '.join(cells)} | {updates} | {seconds} |")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
