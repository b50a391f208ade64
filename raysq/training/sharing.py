"""Runs on storage elsewhere: what a command and its learners send and fetch while they work.

Each machine has working copies of its own (`raysq.addresses`). The learner that writes a stage's checkpoints
sends what is new every `INTERVAL` seconds and at the stage's end, as the command does with its output folder;
what was sent is what a killed run continues from, on any machine. For local folders nothing of it is done.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from raysq.addresses import address_of, moved, written
from raysq.config import Unfinished, UserError
from raysq.records import RESULT
from raysq.storage import fetch_file, pull, push, writing
from raysq.training.collective import Collective
from raysq.training.spec import StageSpec

INTERVAL = 10.0
"""Between two times that what is new is sent, or fetched [s]."""
PATIENCE = 60.0
"""With a learner of this machine whose command was killed [s]."""
JOURNAL = "journal.jsonl"

_log = logging.getLogger(__name__)


def here(spec: StageSpec, copies: Path) -> StageSpec:
    """A stage as told by a machine whose working copies lie in ``copies``, with its folders on this one."""
    named = ("policy_from", "critic_from", "updates_of", "continues")
    parents = {name: moved(place, copies) for name in named if (place := getattr(spec, name)) is not None}
    return replace(spec, folder=moved(spec.folder, copies), **parents)  # type: ignore[arg-type]


@contextmanager
def shared_stage(spec: StageSpec, collective: Collective, device: str) -> Iterator[None]:
    """What a learner needs of run storage for a stage, before it; what it wrote there, after it.

    Raises:
        UserError: the storage cannot be used.
        Unfinished: it does not answer.
    """
    if address_of(spec.folder) is None:
        yield
        return
    pull(spec.folder, patience=PATIENCE)
    for parent in (spec.policy_from, spec.critic_from, spec.updates_of, spec.continues):
        if parent is not None:
            pull(parent, only=("checkpoints", RESULT))
    collective.wait(device)  # for those that share these copies: from here on rank 0 writes to them
    if collective.rank == 0:
        with pushed(spec.folder):
            yield
    else:
        yield
    collective.wait(device)  # what others start from has arrived


@contextmanager
def pushed(folder: Path) -> Iterator[None]:
    """Send what is new in a working copy every `INTERVAL` seconds, and at the end, whatever ends it.

    Raises:
        UserError: the storage could not be used in the end.
        Unfinished: it did not answer in the end.
    """
    if address_of(folder) is None:
        yield
        return
    with writing(folder), _every_interval(lambda: push(folder), f"{written(folder)} lacks what is new"):
        yield


class Journals:
    """The journals of stages, as who delivers their metrics reads them: of folders elsewhere copies.

    Args:
        output: folder of the command; copies lie in ``journals`` there.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self._copies: dict[Path, Path] = {}

    def of(self, folder: Path) -> Path:
        """The journal of a stage's folder, which need not exist yet."""
        if address_of(folder) is None:
            return folder / JOURNAL
        copy = self._copies[folder] = self._output / "journals" / f"{folder.name}.jsonl"
        fetch_file(folder, JOURNAL, copy)
        return copy

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Keep the copies up to date, for the last time at the end."""
        if not self._copies:
            yield
            return
        with _every_interval(self._fetch, "journals lack what is new"):
            yield

    def _fetch(self) -> None:
        for folder, copy in tuple(self._copies.items()):
            fetch_file(folder, JOURNAL, copy)


@contextmanager
def _every_interval(act: Callable[[], None], failed: str) -> Iterator[None]:
    """``act`` now and then in a thread of its own, and at the end in this one."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(INTERVAL):
            try:
                act()
            except (UserError, Unfinished) as error:  # the next time, or the last one, makes up for it
                _log.warning("%s: %s", failed, error)

    thread = threading.Thread(target=repeat, name="storage", daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        ended.set()
        thread.join()
        try:
            act()
        except (UserError, Unfinished) as error:  # not in place of what ended it
            _log.warning("%s: %s", failed, error)
        raise
    ended.set()
    thread.join()
    act()
