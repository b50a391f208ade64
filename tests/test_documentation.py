"""READMEs that cannot rot: their links, paths, commands, Python and quoted messages are those of the code.

Commands are parsed as the programs themselves parse them. What is not parsed is listed in ``OF_OTHERS`` and
``WITHOUT_PARSER``, each with its reason.
"""

import ast
import functools
import importlib
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from raysq.algorithms import ActorCritic, AlphaDimt, CriticTraining, Mrt, Raml, Reinforce, SoftQ, Spg, Vaml
from raysq.commandline import parse
from raysq.config import Config, flatten
from raysq.recipe import Recipe

ROOT = Path(__file__).parents[1]
TOP = ("raysq", "workflows", "tests", "tune_spaces", "deploy")
WITH_README = [
    *TOP,
    "workflows/examples",
    *(f"raysq/{part}" for part in ("algorithms", "losses", "rewards", "proposals", "tasks", "cluster")),
]
PAGES = [*ROOT.glob("*.md"), *(path for folder in TOP for path in sorted((ROOT / folder).rglob("*.md")))]
READMES = [page for page in PAGES if page.name in ("README.md", "CONTRIBUTING.md")]
OF_OTHERS = {
    ".": "the shell's",
    "cd": "the shell's",
    "echo": "the shell's",
    "export": "the shell's",
    "source": "the shell's",
    "git": "no part of the project",
    "mlflow": "MLflow's; tests/integration/test_mlflow_ui.py starts its interface",
    "ray": "Ray's; tests/integration/faults/test_job.py starts a cluster, submits and stops; a submitted "
    "command is parsed",
    "curl": "no part of the project",
    "base64": "no part of the project",
    "docker": "needs a daemon",
    "helm": "needs a cluster",
    "kubectl": "needs a cluster",
    "pip": "needs an index",
    "sudo": "needs rights",
}
"""Programs that are not ours, and why their arguments are not parsed here."""
WITHOUT_PARSER = {
    "tests/benchmarks/reward_overlap.py": "takes one folder, no settings",
    "tests/benchmarks/iwslt14_agreement.py": "takes two places, no settings",
    "-m": "a module: that it is there is tested",
}
"""What Python is given that has no settings to parse."""
STAND_INS = {"HEX": "0" * 64}
"""Placeholders that a program would refuse as they stand."""
SETTINGS = {
    "benchmark": ("tests.benchmarks.settings", "BenchmarkSettings"),
    "caption": ("workflows.caption", "CaptionSettings"),
    "credit": ("workflows.credit", "CreditSettings"),
    "evaluate": ("workflows.evaluate", "EvaluateSettings"),
    "export": ("workflows.export", "ExportSettings"),
    "extract_features": ("workflows.extract_features", "ExtractSettings"),
    "prepare": ("raysq.data.settings", "PrepareSettings"),
    "report": ("workflows.report", "ReportSettings"),
    "runs": ("workflows.runs", "RunsSettings"),
    "train_image_encoder": ("workflows.train_image_encoder", "TrainEncoderSettings"),
    "translate": ("workflows.translate", "TranslateSettings"),
    "tune": ("raysq.sweep.settings", "TuneSettings"),
    "own_text": ("own_text", "OwnText"),
}
"""Settings of the scripts that have no recipe, or more than that."""
ALGORITHMS = {
    "alpha_dimt": AlphaDimt,
    "critic": CriticTraining,
    "erac": ActorCritic,
    "mrt": Mrt,
    "oracle": SoftQ,
    "raml": Raml,
    "reinforce": Reinforce,
    "spg": Spg,
    "vaml": Vaml,
}


def of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(text: str, *languages: str) -> Iterator[str]:
    """Fenced blocks of these languages."""
    for language, body in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S):
        if language in languages:
            yield body


def commands(text: str) -> Iterator[list[str]]:
    """Words of every command in a text's blocks, pipes taken apart and redirections left out."""
    for block in blocks(text, "", "sh", "bash"):
        lines = [shlex.split(line, comments=True) for line in _joined(block) if _is_shell(line)]
        for words in filter(None, lines):
            yield from _simple(words)


def _joined(block: str) -> list[str]:
    return block.replace("\\\n", " ").splitlines()


def _is_shell(line: str) -> bool:
    """A command, not a line of a tree or a picture: these begin with no program."""
    first = line.split(maxsplit=1)[:1]
    return bool(first) and (first[0] in OF_OTHERS or first[0] in ("python", "make", ".venv/bin/python"))


def _simple(words: list[str]) -> Iterator[list[str]]:
    part: list[str] = []
    remaining = iter(words)
    for word in remaining:
        if word in ("|", "&&", ";"):
            yield part
            part = []
        elif word in ("<", ">", ">>", "2>"):
            next(remaining)
        else:
            part.append(STAND_INS.get(word, word))
    yield part


def test_commands_are_taken_apart() -> None:
    text = "```\nx/  a tree\necho 'a b' | python f.py --x 1 \\\n  --sum HEX < in > out   # why\n```\n"
    found = [["echo", "a b"], ["python", "f.py", "--x", "1", "--sum", "0" * 64]]
    assert list(commands(text)) == found


@pytest.mark.parametrize("folder", WITH_README)
def test_every_folder_says_what_it_is(folder: str) -> None:
    assert (ROOT / folder / "README.md").is_file()


@pytest.mark.parametrize("page", PAGES, ids=of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        linked = page.parent / place if place else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*READMES, ROOT / "SECURITY.md"], ids=of)
def test_paths_are_there(page: Path) -> None:
    """In backquotes, and at the beginning of lines in blocks; capitals are placeholders."""
    text = page.read_text(encoding="utf-8")
    named = re.findall(rf"`((?:{'|'.join(TOP)})/[^`\s]*)`", text)
    named += re.findall(rf"^((?:{'|'.join(TOP)})/\S*)\s", "\n".join(blocks(text, "")), re.M)
    for name in named:
        path = name.partition("::")[0].rstrip(",.;:/")
        if not re.search(r"[A-Z]{3}", path.rpartition("/")[2]) or path.endswith(".md"):
            assert list(ROOT.glob(path)), name


@pytest.mark.parametrize("page", READMES, ids=of)
def test_commands_are_understood(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "workflows" / "examples")
    for words in commands(page.read_text(encoding="utf-8")):
        check(words)


def check(words: list[str]) -> None:
    """Refuse a command whose program, target or arguments are not there."""
    program, *arguments = words
    if program == "ray" and "--" in arguments:
        check(arguments[arguments.index("--") + 1 :])
    elif program == "make":
        targets = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.M))
        assert {word for word in arguments if "=" not in word} <= targets, words
    elif program.endswith("python"):
        script, *arguments = arguments
        if script == "-m":
            assert importlib.util.find_spec(arguments[0]) is not None, words
        else:
            assert (ROOT / script).is_file(), words
            if script not in WITHOUT_PARSER:
                check_arguments(Path(script).stem, arguments)
    else:
        assert program in OF_OTHERS, f"list {program} in OF_OTHERS, with its reason"


def check_arguments(stem: str, arguments: list[str]) -> None:
    """Parse them as the script does. Raises UserError where it would refuse them."""
    recipe = None
    if stem in SETTINGS:
        module, name = SETTINGS[stem]
        settings: type[Config] = getattr(importlib.import_module(module), name)
        defaults = importlib.import_module("raysq.data.settings").task_defaults if stem == "prepare" else None
    elif stem == "plain_pytorch":
        assert arguments == []
        return
    else:
        recipe = _recipe(stem)
        settings, defaults = recipe.config_class(), recipe.defaults
        if recipe.tasks:
            arguments = ["--task", recipe.tasks[0].name, *arguments]
    try:
        config = parse(settings, arguments, prog="", description="", defaults_for=defaults)
    except SystemExit:  # --help and --print-config were shown
        return
    if recipe is not None:
        recipe.check(config)
    if stem == "tune" and not config.space.endswith(".py"):
        importlib.import_module("workflows.tune").space_named(config.space)


def _recipe(stem: str) -> Recipe:
    inside = (ROOT / "workflows" / "examples" / f"{stem}.py").is_file()
    return importlib.import_module(stem if inside else f"workflows.{stem}").RECIPE


def test_what_is_wrong_is_refused() -> None:
    from raysq.config import UserError

    for wrong in (["workflows/erac.py", "--erac.taus", "1"], ["workflows/prepare.py", "--task", "tsv"]):
        with pytest.raises(UserError):
            check(["python", *wrong])
    for missing in (["make", "dinner"], ["python", "workflows/ercc.py"], ["rae", "start"]):
        with pytest.raises(AssertionError):
            check(missing)


@pytest.mark.parametrize("page", [page for page in READMES if "```python" in page.read_text()], ids=of)
def test_python_runs(page: Path) -> None:
    for body in blocks(page.read_text(encoding="utf-8"), "python"):
        exec(compile(body, of(page), "exec"), {"__name__": "readme"})


@functools.cache
def _texts() -> list[str]:
    """Every string constant of the package and of its programs."""
    files = [path for folder in ("raysq", "workflows") for path in (ROOT / folder).rglob("*.py")]
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in files)
    nodes = (node for tree in trees for node in ast.walk(tree))
    return [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]


def test_quoted_messages_are_messages() -> None:
    text = (ROOT / "workflows" / "README.md").read_text(encoding="utf-8")
    table = text.partition("## When something is wrong")[2]
    quoted = [said for row in re.findall(r"^\| (.*?) \|", table, re.M) for said in re.findall("`(.*?)`", row)]
    assert len(quoted) > 15
    assert [said for said in quoted if not any(said in constant for constant in _texts())] == []


def test_temperatures_are_the_defaults() -> None:
    text = (ROOT / "raysq" / "algorithms" / "README.md").read_text(encoding="utf-8")
    table = text.partition("## Temperatures are not comparable")[2].partition("\n## ")[0]
    defaults: Mapping[str, object] = {
        f"{stage}.{key}": value
        for stage, kind in ALGORITHMS.items()
        for key, value in flatten(kind()).items()
    }
    rows = re.findall(r"^\| (`.*?) \| ([\d.e]+) \|", table, re.M)
    assert len(rows) == 8
    for names, value in rows:
        known = [name for name in re.findall("`(.*?)`", names) if name in defaults]
        assert known
        assert [defaults[name] for name in known] == [float(value)] * len(known)


def test_a_script_of_the_examples_shadows_nothing() -> None:
    stems = {path.stem for path in (ROOT / "workflows" / "examples").glob("*.py")}
    assert not stems & (
        set(sys.stdlib_module_names) | {path.stem for path in (ROOT / "workflows").glob("*.py")}
    )


@pytest.mark.parametrize("path", sorted((ROOT / "workflows" / "examples").glob("*.py")), ids=of)
def test_examples_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60
