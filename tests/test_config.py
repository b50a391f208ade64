import json
from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from raysq.config import (
    Config,
    DecodingConfig,
    NetworkConfig,
    UserError,
    WorkflowConfig,
    as_typed,
    digest,
    flatten,
)


class Inner(Config):
    tau: float = Field(0.045, ge=0)
    """Entropy weight."""
    betas: tuple[float, float] = (0.0, 0.999)
    """Adam's."""
    limit: int | None = None
    """None: no limit."""


class Outer(Config):
    data: Path = Path("data/demo")
    """A folder."""
    flag: bool = True
    """A switch."""
    inner: Inner = Inner(tau=0.04)


def test_a_config_is_frozen_and_strict() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Inner().tau = 0.1  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        Inner.model_validate({"taau": 0.1})
    with pytest.raises(ValidationError, match="finite"):
        Inner(tau=float("nan"))


def test_defaults_are_validated_too() -> None:
    class Bad(Config):
        tau: float = Field(-1.0, ge=0)

    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Bad()


def test_attribute_docstrings_are_descriptions() -> None:
    assert Inner.model_fields["tau"].description == "Entropy weight."


def test_flatten() -> None:
    assert flatten(Outer()) == {
        "data": "data/demo",
        "flag": True,
        "inner.tau": 0.04,
        "inner.betas": "0.0,0.999",
        "inner.limit": None,
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "none"), (True, "true"), (0.1, "0.1"), (("a", False), "a,false"), (Path("x/y"), "x/y")],
)
def test_as_typed(value: object, text: str) -> None:
    assert as_typed(value) == text


def test_digest_is_of_canonical_json() -> None:
    # printf '{"a":0.1,"b":[1,null]}' | sha256sum
    expected = "99c2505ae8eb72b771949758f938c727cf72ff32be52cf9c9ad18d37882eddf5"
    assert digest({"b": [1, None], "a": 0.1}) == digest({"a": 0.1, "b": [1, None]}) == expected


def test_digest_sees_the_last_bit_of_a_float() -> None:
    assert digest({"a": 0.1 + 0.2}) != digest({"a": 0.3})


def test_digest_refuses_what_json_cannot_hold() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest({"a": float("nan")})
    with pytest.raises(TypeError, match="not JSON serializable"):
        digest({"a": Path("x")})


def test_published_network_and_decoding() -> None:
    assert flatten(NetworkConfig()) == {
        "embedding_size": 256,
        "hidden_size": 256,
        "attention": "dot",
        "critic_attention": "additive",
        "critic_embedding": "separate",
        "critic_embedding_range": 0.1,
        "input_feeding": False,
        "dropout": 0.3,
        "oracle_dropout": 0.1,
        "precision": "float32",
        "init_range": 0.1,
    }
    assert flatten(DecodingConfig()) == {
        "scoring": "bleu",
        "beam_size": 5,
        "max_length": 100,
        "length_normalisation": 0.0,
        "batch_size": 100,
    }


def test_common_options_of_a_workflow() -> None:
    assert json.loads(WorkflowConfig().model_dump_json()) == {
        "task": "demo",
        "data_dir": None,
        "seed": 1,
        "output_dir": None,
        "store_dir": None,
        "tracking_uri": None,
        "device": "auto",
        "num_learners": 1,
        "min_learners": 0,
        "num_reward_workers": 1,
        "num_sample_workers": 1,
        "worker_resource": None,
        "sampling": "learner",
        "max_staleness": 0,
        "gradient_accumulation": 1,
        "wait_for_resources": False,
        "threads_per_learner": 0,
        "reuse": "auto",
        "checkpoint_minutes": 5.0,
        "experiment": "raysq",
        "quiet": False,
        "verbose": False,
        "log_format": "text",
    }


class Part(Config):
    width: int = 3
    """Width."""


class Whole(Config):
    mode: str = "plain"
    """Mode."""
    inner: Part = Part(width=4)
    """Section."""


def test_a_change_without_effect_is_refused() -> None:
    """Compared with the class's default, a section's with that of the class that has it."""
    Whole(mode="other").refuse_change("inner", "here")
    for changed, message in (
        (Whole(mode="other"), "`mode` has no effect here: leave it at plain"),
        (Whole(inner=Part()), "`inner.width` has no effect here: leave it at 4"),
    ):
        with pytest.raises(ValueError, match=message):
            changed.refuse_change(message[1:].split("`")[0].split(".")[0], "here")


def test_a_users_error_is_one_readable_line_whatever_it_quotes() -> None:
    assert str(UserError("a\nb\x1b[2J\ud800: mend it")) == "a b\\x1b[2J\\ud800: mend it"
    long = str(UserError(f"file {'x' * 10_000} is damaged: mend it"))
    assert (long[:7], long[-23:], len(long)) == ("file xx", "xxx is damaged: mend it", 905)
