"""What a node is asked; whole clusters are in tests/integration/faults/test_storage.py."""

from pathlib import Path

import pytest

from raysq.addresses import placed
from raysq.cluster.run_storage import _marked, run_storage, unseen
from raysq.config import UserError
from raysq.places import Places


def places(output: Path, store: Path, data: Path | None = None) -> Places:
    return Places(output, store, "sqlite:////mlflow.db", data)


def test_every_local_folder_has_a_marker_which_does_not_stay(tmp_path: Path) -> None:
    data, stages = tmp_path / "data", tmp_path / "stages"
    for folder in (data, stages):
        folder.mkdir()
    (data / "manifest.json").write_text("{}")
    output = tmp_path / "runs" / "a"
    with _marked(places(output, stages, data)) as markers:
        assert list(markers) == [f"--output-dir {output}", f"--store-dir {stages}", f"--data-dir {data}"]
        assert [Path(file).parent for file, _ in markers.values()] == [tmp_path, stages, data]
        assert unseen(markers) == []
        Path(markers[f"--output-dir {output}"][0]).unlink()  # as a node sees it that has folders of its own
        (data / "manifest.json").write_text('{"another": 1}')
        assert unseen(markers) == [f"--output-dir {output}", f"--data-dir {data}"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["data", "manifest.json", "stages"]


def test_addresses_need_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSQ_CACHE", str(tmp_path))
    runs = placed("memory://x/runs")
    with _marked(places(runs / "a", runs / "stages", placed("memory://x/data"))) as markers:
        assert markers == {}


def test_a_folder_that_cannot_be_written_is_told_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--output-dir /proc/runs/a: /proc cannot be written"):
        _marked(places(Path("/proc/runs/a"), tmp_path)).__enter__()


def test_rays_own_records_lie_where_the_run_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_storage(tmp_path / "ray") == {"storage_path": str(tmp_path / "ray")}
    monkeypatch.setenv("RAYSQ_CACHE", str(tmp_path))
    there = run_storage(placed("memory://x/runs/a/ray"))
    assert there["storage_path"] == "x/runs/a/ray"
    with there["storage_filesystem"].open_output_stream("x/runs/a/ray/file") as file:
        file.write(b"1")
    assert there["storage_filesystem"].get_file_info("x/runs/a/ray/file").size == 1
