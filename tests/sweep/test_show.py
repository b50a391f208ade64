from io import StringIO
from typing import Any

from rich.console import Console

from raysq.sweep.show import best_text, closing_table
from raysq.sweep.space import Arm, Axis, Range, Space

SPACE = Space("s", "S", (Arm("ERAC", "erac", axes=(Axis("rate", Range(0.1, 1.0)),)),))


def row(rate: float, dev: float | None, **more: Any) -> dict[str, Any]:
    found = {"arm": "ERAC", "values": {"rate": rate}, "seed": 1, "state": "finished", "folder": f"at {rate}"}
    if dev is not None:
        scores = {"bleu": dev, "rouge": 100 - dev}
        found |= {"dev": scores, "test": scores, "updates": 7, "seconds": 2.0}
    return found | more


def test_the_best_by_the_dev_score_and_which_way_is_up() -> None:
    rows = [row(0.2, 30.0), row(0.3, 31.5), row(0.4, None)]
    assert best_text(rows, SPACE) == "best dev bleu 31.50: ERAC rate=0.3, in at 0.3"
    rouge = Space("s", "S", SPACE.arms, metric="rouge")
    assert best_text(rows, rouge) == "best dev rouge 70.00: ERAC rate=0.2, in at 0.2"
    least = Space("s", "S", SPACE.arms, mode="min")
    assert best_text(rows, least).startswith("best dev bleu 30.00")
    assert best_text(rows[2:], SPACE) == "no trial has come to a score"


def test_columns_are_what_some_trial_has() -> None:
    console = Console(width=200, record=True, file=StringIO())
    console.print(closing_table([row(0.2, 30.0, member=1, round=2), row(0.4, None, member=2, round=2)]))
    text = console.export_text()
    for heading in ("member", "round", "test BLEU", "test ROUGE", "dev ROUGE"):
        assert heading in text
    assert "CIDEr" not in text
    assert "sample" not in text
    assert "70.00" in text
