"""One of several trials that log to one MLflow server: python -m ...postgresql_trial URI FOLDER NUMBER"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from raysq.delivery import Delivery
from raysq.tracking import Tracker, Update
from raysq.training.journal import Journal

STEPS = 240
INTERRUPTED = 130
"""Step after which the driver is another; the learner goes on from a checkpoint before it."""
CHECKPOINT = 100
PACE = 0.02
"""Between two lines of the journal [s]."""
PATIENCE = 300.0
"""For what is left in the end [s]."""


def metrics(number: int, step: int) -> dict[str, float]:
    """What a trial measures at a step: the same when the step is done again."""
    found = {f"train/{name}": number + step / 1000 + place for place, name in enumerate("abcde")}
    return found | ({"dev/bleu": 100 * number + step / 10} if step % 20 == 0 else {})


def train(tracker: Tracker, journal: Path, run_id: str, first: int, last: int) -> None:
    """Steps ``first .. last - 1``, delivered while they are made."""
    delivery = Delivery(tracker, poll_seconds=0.1)
    delivery.add(journal, run_id)
    with Journal(journal) as writer:
        for step in range(first, last):
            writer.write(step, metrics(int(sys.argv[3]), step))
            time.sleep(PACE)
    assert delivery.close(PATIENCE) == [], "not all was delivered in time"


def main(uri: str, folder: Path, number: int) -> None:
    """Connect, wait for the others, log; run id and the time it took go to a file of the trial's own."""
    tracker = Tracker(uri, "trials")
    run_id = tracker.create_run(f"trial {number}", {}, {"number": number})
    own = folder / str(number)
    own.mkdir()
    (own / "ready").touch()
    while not (folder / "go").exists():
        time.sleep(0.05)
    began, journal = time.time(), own / "journal.jsonl"
    train(tracker, journal, run_id, 0, INTERRUPTED)
    if number % 2:  # MLflow is asked how far it came, instead of the note beside the journal
        journal.with_name(f"{journal.name}.delivered.json").unlink()
    train(tracker, journal, run_id, CHECKPOINT, STEPS)
    ended = time.time()
    tracker.send(Update(run_id, status="FINISHED"))
    (own / "done.json").write_text(json.dumps({"run_id": run_id, "began": began, "ended": ended}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
