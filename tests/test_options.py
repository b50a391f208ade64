import importlib
import pkgutil
from collections.abc import Iterator
from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

import raysq
from raysq.commandline import parse
from raysq.config import Config, UserError, WorkflowConfig, as_typed, flatten
from raysq.options import help_text, options_of
from tests.test_commandline import JointTraining
from tests.test_commandline import Recipe as Workflow


class Stage(Config):
    """A ``stage``.

    Second paragraph.
    """

    tau: float = Field(0.045, ge=0, lt=1)
    """Entropy weight."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """How long the dev score
    may stand still [epochs]."""
    form: Literal["plain", "released"] = "plain"
    """Which ``form``."""
    corpus: str
    """What to read."""


class Recipe(Config):
    seed: int = Field(1, ge=0)
    """Source of all randomness."""
    first: Stage = Stage(corpus="text", tau=0.04)
    second: Stage = Field(Stage(corpus="speech"), description="Again, on speech.")


def configs_of_the_package() -> Iterator[type[Config]]:
    """Every settings class of raysq outside the folder that imports Ray."""
    for module in pkgutil.walk_packages(raysq.__path__, "raysq."):
        if not module.name.startswith(("raysq.cluster", "raysq.tracking")):
            importlib.import_module(module.name)
    pending: list[type[Config]] = [Config]
    while pending:
        pending += (found := pending.pop()).__subclasses__()
        if found.__module__.startswith("raysq."):
            yield found


def test_every_field_of_the_package_has_a_docstring() -> None:
    bare = {
        f"{config.__name__}.{name}"
        for config in configs_of_the_package()
        for name, field in config.model_fields.items()
        if not field.description and not hasattr(field.annotation, "model_fields")
    }
    assert bare == set()


def test_help_is_grouped_with_choices_range_default_and_unit() -> None:
    text = help_text(Recipe, "python recipe.py", "A recipe\nin two stages.\n\nMore about it.")
    opening, rest = text.split("\n\nsecond: ")
    assert opening == (
        "usage: python recipe.py [--OPTION VALUE]...\n"
        "\n"
        "A recipe in two stages.\n"
        "\n"
        "Workflow\n"
        "  --seed INTEGER\n"
        "      Source of all randomness. (at least 0; default 1)\n"
        "\n"
        "first: A stage.\n"
        "  --first.tau NUMBER\n"
        "      Entropy weight. (at least 0 and below 1; default 0.04)\n"
        "  --first.patience INTEGER\n"
        "      How long the dev score may stand still. (at least 1; default none; in\n"
        "      epochs)\n"
        "  --first.form CHOICE\n"
        "      Which form. (plain or released; default plain)\n"
        "  --first.corpus TEXT\n"
        "      What to read. (default text)"
    )
    assert rest.startswith(
        "Again, on speech.\n  --second.tau NUMBER\n      Entropy weight. (at least 0 and below 1;"
    )


def test_help_lists_every_field_in_80_columns() -> None:
    text = help_text(WorkflowConfig, "python workflows/erac.py", "")
    for name in WorkflowConfig.model_fields:
        assert f"\n  --{name.replace('_', '-')} " in text
    for command in ("--config FILE", "--print-config", "--debug", "-h, --help"):
        assert f"\n  {command}\n" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_required_field_says_so() -> None:
    (corpus,) = (option for option in options_of(Stage) if option.key == "corpus")
    assert corpus.description == "What to read. (required)"


def test_a_stage_must_be_annotated_with_the_class_of_its_default() -> None:
    class Special(Stage):
        pass

    class Careless(Config):
        stage: Stage = Special(corpus="x")

    with pytest.raises(TypeError, match="stage: annotate it Special, the class of its default"):
        list(options_of(Careless))


WORDS = st.sampled_from(
    ["--erac.tau", "--seed", "--erac", "--quiet", "=", "1", "-1", "none", "nan", "0.9,0.999", "--", ""]
)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.lists(st.lists(WORDS | st.text(max_size=5), max_size=3).map("".join), max_size=5))
def test_any_arguments_are_settings_or_a_users_error(argv: list[str]) -> None:
    try:
        made = parse(Workflow, argv, prog="x", description="")
    except UserError:
        pass
    except SystemExit:
        assert {"--help", "-h", "--print-config", "--print_config"} & set(argv)
    else:
        assert isinstance(made, Workflow)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(
    st.floats(min_value=1e-300, allow_infinity=False, allow_nan=False),
    st.tuples(*[st.floats(allow_infinity=False, allow_nan=False)] * 2),
    st.lists(st.integers().map(lambda n: 2 * n), min_size=1).map(tuple),
    st.none() | st.integers(min_value=1),
    st.booleans(),
)
def test_settings_come_back_from_how_they_are_typed(
    tau: float, betas: tuple[float, float], sizes: tuple[int, ...], limit: int | None, entropy: bool
) -> None:
    meant = Workflow(erac=JointTraining(tau=tau, betas=betas, sizes=sizes, limit=limit, entropy=entropy))
    argv = [f"--{key}={as_typed(value)}" for key, value in flatten(meant).items()]
    assert parse(Workflow, argv, prog="x", description="") == meant
