"""The wheel, installed where the repository is not: its workflows run as modules."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raysq.recipe import package_digest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SOURCES = ("raysq", "workflows", "tune_spaces", "pyproject.toml", "README.md", "LICENSE")
TINY = [
    "--network.hidden-size=16",
    "--network.embedding-size=16",
    "--decoding.max-length=12",
    "--decoding.beam-size=1",
    *(f"--{stage}.max-updates=4" for stage in ("mle", "critic", "erac")),
    *(f"--{stage}.evaluate-every=2" for stage in ("mle", "critic", "erac")),
]

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with the wheel, and with the packages that it needs from this one."""
    place = tmp_path_factory.mktemp("wheel")
    copy = place / "copy"  # building writes beside the sources
    copy.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    python = place / "environment" / "bin" / "python"
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", place, copy]
    make = [sys.executable, "-m", "venv", "--without-pip", python.parents[1]]
    for command in (build, make):
        subprocess.run(command, check=True, capture_output=True, text=True)
    (wheel,) = place.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", wheel]
    subprocess.run(pip, check=True, capture_output=True, text=True)
    (packages,) = (python.parents[1] / "lib").glob("python*/site-packages")
    here = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "needed.pth").write_text("".join(f"{path}\n" for path in here))
    return python


@pytest.fixture
def command(installed: Path, tmp_path: Path) -> Iterator[Command]:
    """Run the environment's Python in an empty folder."""
    foreign = ("RAY_", "PYTHON", "MLFLOW_")
    env = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    env |= {"HOME": str(tmp_path), "RAY_USAGE_STATS_ENABLED": "0"}

    # short: Ray's sockets lie in it, and their paths are limited
    with tempfile.TemporaryDirectory(prefix="rsq", dir="/tmp", ignore_cleanup_errors=True) as short:

        def run(*arguments: object) -> subprocess.CompletedProcess[str]:
            whole = [str(installed), *map(str, arguments)]
            mine = env | {"RAY_TMPDIR": short}
            return subprocess.run(whole, cwd=tmp_path, env=mine, capture_output=True, text=True, timeout=600)

        yield run


def test_a_workflow_runs_outside_the_repository_and_names_commands_as_it_was_started(
    command: Command, data: Path, tmp_path: Path
) -> None:
    done = command("-m", "raysq.workflows.erac", *TINY, f"--data-dir={data}", "--quiet")
    assert done.returncode == 0, done.stdout + done.stderr
    run = tmp_path / "runs" / "erac-demo-seed1"
    assert f"results: {run / 'result.json'}" in done.stdout
    shown = command("-m", "raysq.workflows.runs", "--run", run)
    assert f"evaluate:  python -m raysq.workflows.evaluate --run {run}\n" in shown.stdout
    evaluated = command("-m", "raysq.workflows.evaluate", "--run", run, "--output-dir=results")
    assert evaluated.returncode == 0, evaluated.stderr
    helped = command("-m", "raysq.workflows.erac", "--help")
    assert helped.stdout.startswith("usage: python -m raysq.workflows.erac ")


def test_tune_spaces_are_installed_too(command: Command, data: Path) -> None:
    done = command("-m", "raysq.workflows.tune", "--space=tau", f"--data-dir={data}", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "30 trials, 48 distinct stages" in done.stdout
    other = command("-m", "raysq.workflows.tune", "--space=taau")
    assert other.returncode == 2
    assert other.stderr.startswith("error: --space taau: must be one of alpha, comparison, dropout, ")


def test_what_needs_the_repository_says_so(command: Command) -> None:
    done = command("-m", "raysq.workflows.benchmark", "--suite=rewards", "--output-dir=x")
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no tests/benchmarks in ")
    assert len(done.stderr.splitlines()) == 1


def test_stages_of_a_checkout_and_of_the_wheel_are_the_same(command: Command) -> None:
    """Recipes and tune spaces lie inside the package there, and must not make its sources others."""
    done = command("-c", "import raysq.recipe as r; print(r.package_digest(), r.__file__)")
    assert done.returncode == 0, done.stderr
    digest, file = done.stdout.split()
    assert digest == package_digest()
    assert "environment" in Path(file).parts
