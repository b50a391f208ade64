"""Sweeps a tune space with Ray Tune: every distinct stage of its trials is trained once.

python workflows/tune.py --space tau --task demo
python workflows/tune.py --space seed_grid --task multi30k --data-dir data/multi30k --dry-run

The same command continues a sweep that was interrupted, and takes up what other commands have trained.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from raysq.commandline import run_command
from raysq.config import UserError
from raysq.recipe import Recipe
from raysq.report.papers import TABLES
from raysq.sweep.settings import TuneSettings
from raysq.sweep.space import Space

WORKFLOWS = Path(__file__).parent
SPACES = WORKFLOWS.parent / "tune_spaces"


def main(settings: TuneSettings) -> int:
    """Run the space; returns the exit status."""
    from raysq.sweep.sweep import run

    return run(space_named(settings.space), settings, recipe_named)


def space_named(name: str) -> Space:
    """The space in a file of tune_spaces, or in a file of the user's."""
    path = Path(name) if name.endswith(".py") else SPACES / f"{name}.py"
    if not path.is_file():
        names = sorted(file.stem for file in SPACES.glob("[!_]*.py"))
        raise UserError(f"--space {name}: must be one of {', '.join(names)}, or the path of a file of yours")
    space = getattr(_module(path), "SPACE", None)
    if not isinstance(space, Space):
        raise UserError(f"--space {name}: {path} must define SPACE, a raysq.sweep.space.Space")
    try:
        space.check_types()
    except UserError as error:
        raise UserError(f"--space {name}: {path}: {error}") from error
    for table in (space.table, space.rouge_table):
        if table is not None and table not in TABLES:
            raise UserError(
                f"--space {name}: {path} names table {table}: it must be one of {', '.join(TABLES)}, or none"
            )
    return space


def recipe_named(name: str) -> Recipe:
    """The recipe of a workflow beside this one."""
    path = WORKFLOWS / f"{name}.py"
    recipe = getattr(_module(path), "RECIPE", None) if path.is_file() else None
    if not isinstance(recipe, Recipe):
        raise UserError(f"recipe {name} of the tune space: there is no workflow {path.name} with a RECIPE")
    return recipe


def _module(path: Path) -> ModuleType:
    found = spec_from_file_location(f"raysq_loaded_{path.stem}", path)
    assert found is not None
    assert found.loader is not None
    module = module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # whatever a file of the user's does
        raise UserError(f"{path} cannot be loaded ({type(error).__name__}: {error}): mend it") from error
    return module


if __name__ == "__main__":
    sys.exit(run_command(TuneSettings, main, description=__doc__))
