"""What `ray job submit --working-dir .` uploads of a checkout."""

import shutil
import zipfile
from pathlib import Path

from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package

from tests.deploy.manifests import ROOT

LIMIT = 100 * 2**20
"""What Ray's job server takes. [bytes]"""


def uploaded(folder: Path, package: Path) -> set[str]:
    """Names of the files in the package that Ray makes of a working directory."""
    create_package(str(folder), package, include_gitignore=True, excludes=get_runtime_env_default_excludes())
    with zipfile.ZipFile(package) as opened:
        return {name for name in opened.namelist() if not name.endswith("/")}


def test_data_runs_and_environments_stay_here(tmp_path: Path) -> None:
    folder = tmp_path / "checkout"
    for name in ("raysq", "workflows", "data", "runs/a", ".venv/lib", "build", ".git", "raysq/__pycache__"):
        (folder / name).mkdir(parents=True)
        (folder / name / "file.py").touch()
    shutil.copy(ROOT / ".gitignore", folder)
    (folder / "raysq" / "data").mkdir()  # a part of the package, not of the corpora
    (folder / "raysq" / "data" / "file.py").touch()
    assert uploaded(folder, tmp_path / "package.zip") == {
        ".gitignore",
        "raysq/file.py",
        "raysq/data/file.py",
        "workflows/file.py",
    }


def test_the_repository_is_far_below_the_limit(tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    ignored = shutil.ignore_patterns(".git", ".venv", "__pycache__", "runs", ".mypy_cache", ".ruff_cache")
    shutil.copytree(ROOT, copy, ignore=ignored)
    names = uploaded(copy, tmp_path / "package.zip")
    assert {"workflows/erac.py", "tune_spaces/tau.py", "raysq/workflow.py", "pyproject.toml"} <= names
    assert (tmp_path / "package.zip").stat().st_size < LIMIT / 10
