"""The loss of every algorithm over 30 updates is what it was: see ``golden/``, and CONTRIBUTING.md."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from raysq.algorithms import ALGORITHMS
from raysq.algorithms.moment import Moment
from raysq.data.batches import epoch_batches

GOLDEN = Path(__file__).parent / "golden"
REWRITE = "RAYSQ_REWRITE_GOLDEN"
COMMAND = f"{REWRITE}=1 .venv/bin/python -m pytest tests/every_algorithm/test_golden_curves.py"
NUM_UPDATES = 30


def loss_curves(trial: Any) -> dict[str, list[float]]:
    """Each term of the loss by update, to 9 digits, over six epochs and two decays."""
    train = trial.corpus.splits["train"]
    curves: dict[str, list[float]] = {}
    update = epoch = 0
    while update < NUM_UPDATES:
        batches = epoch_batches(train.source_lengths, train.target_lengths, 8, 1, epoch)
        for update_of_epoch, ids in enumerate(batches):
            metrics = trial.update(Moment(1, "golden", update, epoch, update_of_epoch, update // 10), ids)
            for name, (total, weight) in metrics.items():
                if name.startswith("loss_"):
                    curves.setdefault(name.removeprefix("loss_"), []).append(float(f"{total / weight:.9g}"))
            update += 1
        epoch += 1
    return curves


def test_the_loss_curve_is_the_golden_one(make_trial: Any, small_case: Any) -> None:
    """In float64, so that machines agree to far more digits than are compared."""
    path = GOLDEN / f"{small_case.name}.json"
    curves = loss_curves(make_trial(small_case.algorithm, small_case.dropout))
    assert {len(curve) for curve in curves.values()} == {NUM_UPDATES}
    if REWRITE in os.environ:
        lines = (f"{json.dumps(name)}: {json.dumps(curve)}" for name, curve in sorted(curves.items()))
        path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        return
    assert path.exists(), f"no golden curve: write it with {COMMAND}"
    golden = json.loads(path.read_text(encoding="utf-8"))
    assert curves.keys() == golden.keys()
    for name, curve in golden.items():
        assert curves[name] == pytest.approx(curve, rel=1e-6, abs=1e-9), f"{name}; if wanted: {COMMAND}"


def test_every_golden_curve_is_of_an_algorithm() -> None:
    names = {algorithm_class.__name__ for algorithm_class in ALGORITHMS}
    assert {path.stem for path in GOLDEN.iterdir()} <= names
