"""One Ray cluster for all integration tests: small, local, ended with the session."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from raysq.data.corpus import GeneratedText
from raysq.data.prepare import PrepareSettings, prepare
from raysq.tasks.grammar import generate
from tests.integration.finished_run import finished_run as finished_run

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",  # or every report takes two seconds
}


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A local cluster of 4 (logical) CPUs; the dashboard is on because Ray Train asks it for state."""
    folder = tempfile.mkdtemp(prefix="ray")  # short: Ray's sockets lie in it, and their paths are limited
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        ray.init(
            address="local",
            num_cpus=4,
            include_dashboard=True,
            object_store_memory=150 * 2**20,
            log_to_driver=False,
            logging_level="ERROR",
            _temp_dir=folder,
        )
        yield
        ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared corpus of 300 generated training pairs."""
    folder = tmp_path_factory.mktemp("corpus") / "prepared"
    text = GeneratedText("test", generate(sizes={"train": 300, "dev": 20, "test": 20}))
    settings = PrepareSettings(task="demo", output_dir=folder, min_count=1, max_ratio=0)
    return prepare(settings, text).folder
