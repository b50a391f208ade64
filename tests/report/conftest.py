import pytest

from raysq.tracking import Tracker, default_uri
from tests.report.store import Store


@pytest.fixture(scope="session")
def database(tmp_path_factory):
    """One MLflow store for the tests of the report: creating its tables takes seconds."""
    folder = tmp_path_factory.mktemp("report store")
    Tracker(default_uri(folder), "first")
    return folder


@pytest.fixture
def store(database, tmp_path, request):
    """An experiment of its own for each test."""
    name = request.node.name
    return Store(Tracker(default_uri(database), name), name, tmp_path / "files")
