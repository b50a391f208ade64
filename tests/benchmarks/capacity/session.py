"""A Ray session of this machine that commands can join."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


def ask_for_a_token() -> None:
    """Have Ray's processes ask for a token that only this process and its children know.

    Call it before anything imports Ray, which looks once whether it is to ask.
    """
    if os.environ.setdefault("RAY_AUTH_MODE", "token") == "token":
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


@contextmanager
def session(num_cpus: int) -> Iterator[str]:
    """Ray with so many CPUs, which need not be there, until the block ends; its address."""
    import ray

    from raysq.cluster.connection import ENVIRONMENT

    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    folder = tempfile.mkdtemp(prefix="ray")  # short: sockets lie in it, and their paths are limited
    try:
        context = ray.init(
            address="local",
            num_cpus=num_cpus,
            include_dashboard=False,
            object_store_memory=512 * 2**20,
            log_to_driver=False,
            logging_level="ERROR",
            _temp_dir=folder,
        )
        yield context.address_info["gcs_address"]
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
