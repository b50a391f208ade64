"""Run storage of a cluster: Ray's own records beside a run's, and whether all nodes see local folders."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raysq.addresses import address_of
from raysq.config import UserError
from raysq.data.manifest import MANIFEST
from raysq.places import Places
from raysq.remote import Remote

PATIENCE = 60.0
"""For the answers of nodes [s]."""
Markers = Mapping[str, tuple[str, str]]
"""By option and folder a file there, and the digest of its content."""


def run_storage(folder: Path) -> dict[str, Any]:
    """Where Ray Train or Tune keeps its own records, as its run configuration takes it."""
    remote = Remote.of(folder)
    if remote is None:
        return {"storage_path": str(folder)}
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    # the file system that raysq itself uses: what names storage and credentials is said once
    return {
        "storage_path": remote.root.lstrip("/"),
        "storage_filesystem": PyFileSystem(FSSpecHandler(remote.system)),
    }


def check_shared(places: Places) -> None:
    """On a cluster of several nodes: see that those that learners may get see the folders of a run.

    Nodes that join later are not looked at.

    Raises:
        UserError: one does not see a folder that is a local path.
    """
    if not ray.is_initialized():
        return
    own = ray.get_runtime_context().get_node_id()
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    others = {node["NodeID"]: node["NodeManagerAddress"] for node in nodes if node["NodeID"] != own}
    if not others:
        return
    with _marked(places) as markers:
        looks = [
            ray.remote(num_cpus=0)(unseen)
            .options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
            .remote(markers)
            for node in others
        ]
        for address, missing in zip(others.values(), ray.get(looks, timeout=PATIENCE), strict=True):
            if missing:
                raise UserError(
                    f"{missing[0]}: node {address} of the cluster does not see this folder, and learners may "
                    "work there: give a folder that all nodes share (NFS), or an address as s3://bucket/runs"
                )


def unseen(markers: Markers) -> list[str]:
    """Options and folders whose file is not here, or is another."""
    return [named for named, (file, digest) in markers.items() if _digest(Path(file)) != digest]


@contextmanager
def _marked(places: Places) -> Iterator[Markers]:
    """A file in each local folder, or where that will be; of prepared data its manifest."""
    made: list[Path] = []
    markers: dict[str, tuple[str, str]] = {}
    try:
        for option, folder in (("--output-dir", places.output), ("--store-dir", places.store)):
            if address_of(folder) is None:
                there = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
                file = there / f".raysq-{uuid.uuid4().hex}"
                try:
                    file.write_text(file.name)
                except OSError as error:  # who wants to know whether it is shared has to write there
                    raise UserError(
                        f"{option} {folder}: {there} cannot be written ({error.strerror}): give another"
                    ) from error
                made.append(file)
                markers[f"{option} {folder}"] = (str(file), _digest(file))
        if places.data is not None and address_of(places.data) is None:
            file = places.data / MANIFEST
            if file.is_file():  # else what reads it says so
                markers[f"--data-dir {places.data}"] = (str(file), _digest(file))
        yield markers
    finally:
        for file in made:
            file.unlink(missing_ok=True)


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""
