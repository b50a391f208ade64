"""Checkpoints: named tensors and JSON, nothing that could run code when it is loaded.

A checkpoint is a folder of two files::

    step-00000123/tensors.safetensors
    step-00000123/state.json    {"format", "version", "step", "best", "tensors_sha256", "state", "sha256"}

It is written under a temporary name, synced and renamed, so that a folder with its final name is complete;
what a damaged disk or a cut copy makes of it is found by the digests when it is loaded. Whether a checkpoint
is the best so far is part of it: no second file can disagree after a crash.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from raysq.config import UserError
from raysq.files import parse_json, regular, sync
from raysq.remote import STATE as _STATE
from raysq.remote import TENSORS as _TENSORS

FORMAT = "raysq-checkpoint"
FORMAT_VERSION = 1

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
"""Values that come back as they went in (a tuple comes back as a list)."""

_NAME = re.compile(r"step-(\d{8,})")
_ASIDE = ".writing-"

_log = logging.getLogger(__name__)


class CheckpointError(UserError):
    """A checkpoint that cannot be read or written; names its path and the remedy."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint read back; its tensors are on the CPU and independent of the file."""

    path: Path
    step: int
    """Updates done when it was taken."""
    best: bool
    """Whether it was the best of its stage so far."""
    tensors: dict[str, Tensor]
    state: dict[str, JSON]


def save(
    folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, JSON], best: bool = False
) -> Path:
    """Write a checkpoint into ``folder`` and return its path; one of the same step is replaced.

    Half-written checkpoints of a writer that was killed are removed first. Two names for the same memory
    (tied weights) raise ``ValueError``: save one of them. So does a state that JSON cannot hold exactly.

    Raises ``CheckpointError`` where the disk is full or refuses; earlier checkpoints stay as they were.
    """
    return _write(folder, step, _snapshot(tensors), _frozen(state), best)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint whole and check its format, version and digests.

    Raises ``CheckpointError`` where it is damaged, of another version, no checkpoint of raysq, or unreadable.
    """
    try:
        return _load(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def latest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint of ``folder`` that is whole; None where there is none at all.

    One that cannot be read is skipped with a warning. Where all of them are unreadable the newest one's
    ``CheckpointError`` is raised: a run must not start afresh by itself over checkpoints it has.
    """
    return _newest(folder, best=False)


def best(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint that was saved as the best; as ``latest`` otherwise."""
    return _newest(folder, best=True)


class CheckpointWriter:
    """Writes checkpoints in a thread of its own, so that the learner goes on.

    Keeps the last ``keep_last`` checkpoints and the best one, and removes the rest. At most one is being
    written: a second ``submit`` waits for the first. An error of the thread is raised by the next ``submit``,
    ``wait`` or ``close``, once. One writer per folder.
    """

    def __init__(self, folder: Path, keep_last: int = 2) -> None:
        if keep_last < 1:
            raise ValueError(f"keep_last is {keep_last}, must be at least 1")
        self.folder = folder
        self._keep_last = keep_last
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def submit(
        self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, JSON], best: bool = False
    ) -> None:
        """Copy tensors and state now, and have them written; the caller may change both afterwards.

        Raises what ``save`` raises; a full disk appears at the next call.
        """
        self.wait()
        self._pending = self._thread.submit(
            self._write_and_prune, step, _snapshot(tensors), _frozen(state), best
        )

    def wait(self) -> None:
        """Return when what was submitted is on the disk; raise the error that prevented it."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Wait for the last checkpoint and end the thread."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write_and_prune(self, step: int, tensors: dict[str, Tensor], state: str, best: bool) -> None:
        _write(self.folder, step, tensors, state, best)
        self._prune(step)

    def _prune(self, step: int) -> None:
        """Keep the last few up to ``step`` and the newest best one."""
        paths = _paths(self.folder)
        # those beyond the step just written were passed over when training went on from an earlier one;
        # left in place they would be taken for the newest
        kept = {path for path in paths if _step(path) <= step}
        recent = sorted(kept, key=_step)[-self._keep_last :]
        best = next((path for path in sorted(kept, key=_step, reverse=True) if _is_best(path)), None)
        for path in paths:
            if path not in recent and path != best:
                _remove(path)


def _snapshot(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU that share no memory with the originals."""
    owners: dict[tuple[object, ...], str] = {}
    for name, tensor in tensors.items():
        place = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        owner = owners.setdefault(place, name)
        if owner != name and tensor.numel() > 0:
            raise ValueError(f"tensors {owner!r} and {name!r} are one piece of memory: save one of them")
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def _frozen(state: Mapping[str, JSON]) -> str:
    """The state as JSON text; ``ValueError`` where reading it back would give something else."""
    _require_text_keys(state, "state")
    return json.dumps(state, sort_keys=True, allow_nan=False)


def _require_text_keys(value: object, place: str) -> None:
    # json would turn the keys of an optimiser's {0: ...} into text without a word
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{place}: key {key!r} is not text and would not come back from JSON")
            _require_text_keys(item, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for item in value:
            _require_text_keys(item, place)


def _write(folder: Path, step: int, tensors: dict[str, Tensor], state: str, best: bool) -> Path:
    path = folder / f"step-{step:08d}"
    aside = folder / f"{_ASIDE}{path.name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for half_written in folder.glob(f"{_ASIDE}*"):
            _remove(half_written)
        aside.mkdir()
        _write_files(aside, step, tensors, state, best)
        if path.exists():
            path.rename(folder / f"{_ASIDE}replaced-{path.name}")
        aside.rename(path)
        sync(folder)
        _remove(folder / f"{_ASIDE}replaced-{path.name}")
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)  # gives its space back; the next writer removes it anyway
        raise CheckpointError(
            f"cannot write checkpoint {path}: {_reason(error)}; "
            "free space or make it writable and repeat the command, which continues from the last checkpoint"
        ) from error
    return path


def _write_files(aside: Path, step: int, tensors: dict[str, Tensor], state: str, best: bool) -> None:
    save_file(tensors, aside / _TENSORS)
    with (aside / _TENSORS).open("rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    header = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "step": step,
        "best": best,
        "tensors_sha256": digest,
        "state": json.loads(state),
    }
    header["sha256"] = _digest(header)
    with (aside / _STATE).open("w", encoding="utf-8") as text:
        json.dump(header, text, allow_nan=False)
        text.flush()
        os.fsync(text.fileno())
    shutil.copymode(aside / _STATE, aside / _TENSORS)  # safetensors makes it private to its owner
    sync(aside)


def _load(path: Path) -> Checkpoint:
    header = _load_header(path)
    try:
        with regular(path / _TENSORS).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != header["tensors_sha256"]:
            raise _damaged(path, f"the digest of {_TENSORS} differs")
        # load_file maps the file; a clone outlives the folder's removal, on network file systems too
        tensors = {name: tensor.clone() for name, tensor in load_file(path / _TENSORS).items()}
    except (FileNotFoundError, SafetensorError) as error:
        raise _damaged(path, _reason(error)) from error
    return Checkpoint(path, header["step"], header["best"], tensors, header["state"])


def _load_header(path: Path) -> dict:
    """``state.json``, checked; everything but the tensors."""
    try:
        header = parse_json(regular(path / _STATE).read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is no checkpoint: it has no {_STATE}; give a step-* folder") from error
    except ValueError as error:
        raise _damaged(path, f"{_STATE}: {_reason(error)}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no checkpoint of raysq; give a folder that raysq wrote")
    if header.get("version") != FORMAT_VERSION:
        raise CheckpointError(
            f"checkpoint {path} has format version {header.get('version')}, this raysq reads "
            f"{FORMAT_VERSION}; use the raysq that wrote it, or start afresh with --reuse never"
        )
    if header.pop("sha256", None) != _digest(header):
        raise _damaged(path, f"the digest of {_STATE} differs")
    for name, kind in (("step", int), ("best", bool), ("tensors_sha256", str), ("state", dict)):
        if not isinstance(header.get(name), kind):
            raise _damaged(path, f"{_STATE} has no {name}")
    return header


def _newest(folder: Path, *, best: bool) -> Checkpoint | None:
    damaged: list[CheckpointError] = []
    for path in sorted(_paths(folder), key=_step, reverse=True):
        try:
            if best and not _load_header(path)["best"]:
                continue
            found = _load(path)
        except OSError as error:  # may be whole: passing it over would train on from an older one
            raise _unreadable(path, error) from error
        except CheckpointError as error:
            damaged.append(error)
        else:
            for reason in damaged:
                _log.warning("passed over: %s", reason)
            return found
    if damaged:
        raise damaged[0]
    return None


def _paths(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _is_best(path: Path) -> bool:
    try:
        return bool(_load_header(path)["best"])
    except CheckpointError:
        return False  # unreadable: not worth keeping as the best


def _remove(path: Path) -> None:
    """Remove a folder, if it is there, so that a half-removed one is never taken for a checkpoint."""
    if not path.exists():
        return
    aside = path if path.name.startswith(_ASIDE) else path.with_name(f"{_ASIDE}removed-{path.name}")
    path.rename(aside)
    shutil.rmtree(aside)


def _digest(header: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(header, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {path} is damaged ({reason}); remove that folder, and the one before it is used"
    )


def _unreadable(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(f"cannot read checkpoint {path}: {_reason(error)}; make it readable and try again")


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())
