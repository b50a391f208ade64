"""The habits of CONTRIBUTING.md that a program can check: who imports whom, what is called what."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = (
    {
        "addresses",
        "arrays",
        "kernels",
        "types",
        "config",
        "options",
        "own",
        "commandline",
        "completion",
        "claim",
        "disk",
        "files",
        "lease",
        "logs",
        "memory",
        "records",
        "remote",
        "storage",
        "terminal",
        "webpage",
        "workplace",
    },
    {"data", "images", "losses", "metrics", "rewards", "proposals", "models"},
    {"decoding"},
    {"algorithms"},
    {
        "tasks",
        "training",
        "evaluation",
        "calibration",
        "tracking",
        "tracked",
        "delivery",
        "outbox",
        "progress",
        "recipe",
        "mlflow_runs",
        "mlflow_views",
        "naming",
        "inventory",
        "places",
        "finished",
        "credit",
        "prune",
        "card",
        "exported",
        "programs",
        "mlflow_model",
        "served",
    },
    {"cluster"},
    {"workflow"},
    {"sweep"},
    {"report"},
)
"""Parts of raysq: each imports from its own layer and from those above it in this list."""
RANKS = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
WHOLE_TESTS = {"integration", "theory", "benchmarks", "every_algorithm", "fuzz", "deploy"}
"""Folders of tests that mirror no part of the package."""
WHOLE_FILES = {"test_documentation.py", "test_structure.py", "test_security.py"}
"""Tests of the whole package, likewise."""


def python_files(*folders: str) -> list[Path]:
    return [path.relative_to(ROOT) for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def parsed(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), str(path))


def module_name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def imported(tree: ast.Module) -> Iterator[str]:
    """Dotted names of what a module imports, anywhere in it; ``from a import b`` is ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def top_level(name: str) -> str:
    return name.partition(".")[0]


def part_of(name: str) -> str:
    """``losses`` of ``raysq.losses.vocabulary``."""
    return name.split(".")[1]


def compares_algorithm_names(tree: ast.Module) -> bool:
    """Whether an algorithm is asked for its name: ``algorithm.name == ...``, ``in``, ``match``."""
    asked = [node.left for node in ast.walk(tree) if isinstance(node, ast.Compare)]
    asked += [node.subject for node in ast.walk(tree) if isinstance(node, ast.Match)]
    return any(re.search(r"algorithm\.name$", ast.unparse(node)) for node in asked)


def test_imported_finds_every_form() -> None:
    tree = ast.parse("import ray.train as t\ndef f():\n    from a.b import c, d\n")
    assert list(imported(tree)) == ["ray.train", "a.b.c", "a.b.d"]


def test_compares_algorithm_names() -> None:
    assert compares_algorithm_names(ast.parse("if stage.algorithm.name == 'erac': pass"))
    assert compares_algorithm_names(ast.parse("match algorithm.name:\n    case 'erac': pass"))
    assert not compares_algorithm_names(ast.parse("if algorithm.tau == 0: print(algorithm.name)"))


@pytest.mark.parametrize("path", python_files("raysq"), ids=str)
def test_imports_go_down(path: Path) -> None:
    if path == Path("raysq/__init__.py"):
        return
    inside = [name for name in imported(parsed(path)) if name.startswith("raysq.")]
    own = part_of(module_name(path))
    assert own in RANKS, f"give {own} its place in LAYERS"
    assert [name for name in inside if RANKS[part_of(name)] > RANKS[own]] == []


def test_every_folder_with_sources_is_installed() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {path.parent for path in python_files("raysq", "workflows", "tune_spaces")}
    places = setuptools["package-dir"]
    named = {Path(places.get(name, name.replace(".", "/"))) for name in setuptools["packages"]}
    assert named == folders


def test_imports_have_no_cycle() -> None:
    files = python_files("raysq")
    modules = {module_name(path) for path in files}
    graph: dict[str, set[str]] = {}
    for path in files:
        names = set(imported(parsed(path)))
        graph[module_name(path)] = (names | {name.rpartition(".")[0] for name in names}) & modules
        graph[module_name(path)] -= {"raysq", module_name(path)}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules


def test_the_package_does_not_import_its_workflows() -> None:
    for path in python_files("raysq"):
        assert not {"workflows", "tune_spaces", "tests"} & set(map(top_level, imported(parsed(path)))), path


def test_ray_is_imported_in_cluster_only() -> None:
    users = {path for path in python_files("raysq", "workflows", "tune_spaces") if imports(path, "ray")}
    assert {path for path in users if path.parts[:2] != ("raysq", "cluster")} == set()


def test_mlflow_is_imported_where_it_is_written_read_and_served_from_only() -> None:
    users = {path for path in python_files("raysq", "workflows", "tune_spaces") if imports(path, "mlflow")}
    names = ("tracking", "tracked", "mlflow_model", "served")
    assert users == {Path("raysq") / f"{name}.py" for name in names}


def imports(path: Path, package: str) -> bool:
    return package in map(top_level, imported(parsed(path)))


def test_no_module_is_a_drawer_for_everything() -> None:
    parts = {part for path in python_files("raysq", "workflows") for part in path.with_suffix("").parts}
    assert parts & {"util", "utils", "helper", "helpers", "common", "misc"} == set()


def test_no_script_shadows_a_module() -> None:
    """A script's folder comes first on sys.path: workflows/inspect.py would break every script beside it."""
    scripts = {path.stem for path in python_files("workflows", "tune_spaces")}
    taken = {*sys.stdlib_module_names, *importlib.metadata.packages_distributions(), "raysq"}
    assert scripts & taken == set()


def test_nothing_asks_an_algorithm_for_its_name() -> None:
    found = [path for path in python_files("raysq", "workflows") if compares_algorithm_names(parsed(path))]
    assert found == []


def test_tests_mirror_the_package() -> None:
    """tests/rewards/test_bleu.py tests raysq/rewards/bleu.py (or a folder of that name)."""
    strays = []
    for path in python_files("tests"):
        inner = path.relative_to("tests")
        if not inner.name.startswith("test_") or inner.parts[0] in {*WHOLE_TESTS, *WHOLE_FILES}:
            continue
        tested = ROOT / "raysq" / inner.with_name(inner.name.removeprefix("test_"))
        if not tested.exists() and not tested.with_suffix("").is_dir():
            strays.append(path)
    assert strays == []
