"""A Ray session of this machine that commands can join."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from raysq.cluster.connection import ENVIRONMENT


@contextmanager
def session(num_cpus: int) -> Iterator[str]:
    """Ray with so many CPUs, which need not be there, until the block ends; its address.

    Who joins it needs this process's environment, which holds a token.
    """
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for name, value in {**ENVIRONMENT, **token}.items():
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
