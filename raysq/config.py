"""What can be set: frozen, validated trees of settings, the same dotted keys everywhere.

A workflow is configured by one tree: a ``WorkflowConfig`` with one field per stage. A leaf is named by its
dotted key (``erac.tau``) on the command line (``raysq/commandline.py``), in sweeps, in MLflow's parameters
and in the identities of stages. This module imports neither torch nor Ray, so that ``--help`` is quick.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from raysq.addresses import Place, is_address, takes_no_address, written
from raysq.logs import LogFormat
from raysq.terminal import shown, without_credentials

Scalar = bool | int | float | str | None


LONGEST_MESSAGE = 900
"""Of an error [characters]."""


class UserError(Exception):
    """A user's mistake: one line that says what is wrong and the remedy. A command ends with status 2.

    Messages quote what came from outside: what would break the line or a terminal is escaped, passwords in
    addresses and the middle of what is very long are left out.
    """

    def __init__(self, message: str) -> None:
        line = written(shown(without_credentials(" ".join(message.splitlines()))))
        if len(line) > LONGEST_MESSAGE:
            half = LONGEST_MESSAGE // 2
            line = f"{line[:half]} ... {line[-half:]}"
        super().__init__(line)


class Unfinished(Exception):  # noqa: N818 - what was done stands, and the command can be repeated
    """A command broke off through no mistake of the user: one line with cause and remedy. Status 1."""


class Config(BaseModel):
    """Base of all settings: frozen, no unknown keys, no NaN; a class's defaults are its published setting.

    Every field has a docstring below it, which ``--help`` shows. A unit stands in brackets at its very end,
    ``"How long the dev score may stand still [epochs]."``; ranges and choices are read from the constraints
    and are written nowhere else.

    A field validator raises ``ValueError("must be ...")``. A model validator names the fields that do not go
    together in backticks, ``ValueError("`tau` must be above 0 with `entropy`")``: the command line writes
    them as options and adds their values.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        validate_default=True,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _local(cls, value: object, info: ValidationInfo) -> object:
        places = value if isinstance(value, list | tuple) else [value]
        if any(map(is_address, places)):
            field = cls.model_fields[str(info.field_name)]
            if takes_no_address(field.annotation, tuple(field.metadata)):
                raise ValueError("must be a path on this machine: an address has no meaning here")
        return value

    def refuse_change(self, name: str, when: str) -> None:
        """For model validators: what has no effect, a field or a section, must have its class's default.

        Raises ValueError.
        """
        published = flatten(type(self).model_construct())
        for key, value in flatten(self).items():
            if (key == name or key.startswith(f"{name}.")) and value != published[key]:
                raise ValueError(f"`{key}` has no effect {when}: leave it at {as_typed(published[key])}")


def first_defect(error: ValidationError) -> str:
    """Where a file's content is wrong first, and how: ``images[3].split: Field required``."""
    first = error.errors(include_url=False, include_input=False)[0]
    kind, _, detail = first["msg"].partition(":")
    if first["type"] == "json_invalid":
        return f"no JSON ({detail.strip()})"
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    return f"{place.lstrip('.') or 'the whole'}: {kind.removeprefix('Value error, ')}"


def as_typed(value: object) -> str:
    """The value as one types it on the command line: ``true``, ``none``, ``0.9,0.999``."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return ",".join(as_typed(element) for element in value)
    return written(value) if isinstance(value, Path) else str(value)


def same_typed(one: str, other: str) -> bool:
    """Whether two values as typed are one: ``1e-3`` and ``0.001`` are."""
    try:
        return float(one) == float(other)
    except ValueError:
        return one == other


def flatten(config: Config) -> dict[str, Scalar]:
    """The leaves of a tree by dotted key; paths and sequences become text.

    ``flatten(WorkflowConfig())["num_learners"] == 1``; a stage's field is ``"erac.tau"``.
    """
    flat: dict[str, Scalar] = {}
    for name, value in config:
        if isinstance(value, Config):
            flat.update({f"{name}.{key}": leaf for key, leaf in flatten(value).items()})
        else:
            flat[name] = value if isinstance(value, Scalar) else as_typed(value)
    return flat


def digest(mapping: Mapping[str, object]) -> str:
    """sha256 (hex) of a mapping of JSON values; the order of its keys does not matter, floats count exactly.

    Raises TypeError for what JSON cannot hold and ValueError for NaN and infinities.
    """
    canonical = json.dumps(mapping, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


class NetworkConfig(Config):
    """Sizes and form of the policy and of its critic (Dai et al. 2018, section 6.1)."""

    embedding_size: int = Field(256, ge=1)
    """Width of the word vectors [units]."""
    hidden_size: int = Field(256, ge=2, multiple_of=2)
    """Width of the LSTMs; each direction of the encoder has half of it [units]."""
    attention: Literal["dot", "additive"] = "dot"
    """How the policy scores source positions: dot product (Luong) or one-layer perceptron (Bahdanau)."""
    critic_attention: Literal["dot", "additive"] = "additive"
    """How the critic scores positions of the reference."""
    input_feeding: bool = False
    """Whether the previous attention vector is read with the next word, in policy and critic alike."""
    critic_embedding: Literal["separate", "tied"] = "separate"
    """tied: one table of word vectors reads the reference, reads the sample and gives Q, so that whether a
    word stands in the reference need not be learnt word by word (the papers' is separate)."""
    critic_embedding_range: float = Field(0.1, gt=0)
    """The critic's word vectors start uniform in plus or minus this: wide ones tell words apart sooner."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of the policy's attention vector dropped in training; a critic has none."""
    oracle_dropout: float = Field(0.1, ge=0, lt=1)
    """Share of the soft-Q oracle's attention vector dropped while it learns (VAML)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of the products with output layers in training and sampling, most of the arithmetic: bfloat16 is
    faster where the hardware has it. Beam search, softmax and parameters are float32 in any case."""
    init_range: float = Field(0.1, gt=0)
    """All other parameters start uniform in plus or minus this."""

    @model_validator(mode="after")
    def _tied_sizes(self) -> NetworkConfig:
        if self.critic_embedding == "tied" and self.embedding_size != self.hidden_size:
            raise ValueError("`embedding_size` must equal `hidden_size` with `critic_embedding` tied")
        return self


class DecodingConfig(Config):
    """How hypotheses are decoded, and what scores them."""

    scoring: Literal["bleu", "captions", "rouge"] = "bleu"
    """Besides corpus BLEU: captions adds BLEU-1 to 4, ROUGE-L and CIDEr; rouge adds ROUGE-1, 2, L and their
    mean, by which checkpoints are then chosen."""

    beam_size: int = Field(5, ge=1)
    """Hypotheses kept per sentence; 1 is greedy decoding [hypotheses]."""
    max_length: int = Field(100, ge=1)
    """Longest hypothesis, its eos counted [tokens]."""
    length_normalisation: float = Field(0.0, ge=0)
    """Exponent a in log p(y) / |y|^a, by which finished hypotheses are ranked; 0 ranks by their sum."""
    batch_size: int = Field(100, ge=1)
    """Decoded together; the hypotheses do not depend on it [sentences]."""


class TrainingCommand(Config):
    """What every command that trains can be told: data, places, processes."""

    task: str = "demo"
    """Data, networks, reward and metric, by name; the task also gives the stages its own defaults."""
    data_dir: Place | None = None
    """Folder that workflows/prepare.py wrote, here and below a path or an address, as s3://bucket/data/demo;
    none: the task generates its own data (demo tasks do)."""
    output_dir: Place | None = None
    """Where results go; none: a folder in runs/ named after workflow, task and seed."""
    store_dir: Place | None = None
    """Where finished stages live and are found again; none: the folder "stages" beside the output folder."""
    tracking_uri: str | None = None
    """MLflow's store; none: the SQLite file mlflow.db beside the output folder. A server's user and password
    belong in MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD: given in the address they are not written
    down, so that repeating the command from its config.json needs these two."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks train; auto takes a GPU for every learner where cluster or machine have any."""
    num_learners: int = Field(1, ge=0)
    """Processes that share each batch; results change by rounding alone. 0 trains in this process, without
    Ray."""
    min_learners: int = Field(0, ge=0)
    """Learners that are enough to begin, and to go on when the node of another is lost for good; 0: all of
    num_learners. Results change by rounding alone."""
    num_reward_workers: int = Field(1, ge=1)
    """Processes that score samples; results do not depend on it."""
    num_sample_workers: int = Field(1, ge=1)
    """Processes that draw and score samples ahead of the learners, where there are such samples: proposals
    around the references, and with sampling remote those of the policy. Results do not depend on it."""
    worker_resource: str | None = None
    """Custom resource of Ray of which every reward and sample worker takes one, which keeps them on the nodes
    that have it: one started with --resources '{"NAME": 8}' has room for eight. None: they run anywhere."""
    sampling: Literal["learner", "remote"] = "learner"
    """Where samples of the policy are drawn: by the learner between two updates, or by sample workers, which
    with a max_staleness above 0 draw during the updates."""
    max_staleness: int = Field(0, ge=0)
    """How old the policy may be that samples are drawn from: a snapshot taken at every (max_staleness + 1)-th
    update. 0 draws from the policy itself. [updates]"""
    gradient_accumulation: int = Field(1, ge=1)
    """Parts in which a learner works through its share of a batch, one after another, summing gradients: less
    memory; results change by rounding alone."""
    wait_for_resources: bool = False
    """Wait for a cluster that lacks the CPUs or GPUs asked for to grow; else that is an error."""
    threads_per_learner: int = Field(0, ge=0)
    """Threads of each learner's arithmetic; 0: all cores but one, divided by the learners."""
    reuse: Literal["auto", "same-config", "never"] = "auto"
    """What to do with stages trained before. auto: a finished stage with the same settings, data, parents and
    package sources is taken from the store, an unfinished one continues. same-config: also when only the
    package's sources have changed. never: this workflow trains all its stages itself; repeated after an
    interruption it continues its own, repeated after its end it trains them afresh."""
    checkpoint_minutes: float = Field(5.0, gt=0)
    """Time between two checkpoints; every evaluation writes one too [minutes]."""
    experiment: str = "raysq"
    """Experiment of MLflow's store that the runs belong to; made where it is missing."""
    quiet: bool = False
    """Print the results only, no progress."""
    verbose: bool = False
    """Print more: Ray's own log lines too."""
    log_format: LogFormat = "text"
    """What is printed and logged: lines for people, or (json) an object a line that names run, stage and
    process."""

    @model_validator(mode="after")
    def _workers_need_ray(self) -> Self:
        if self.sampling == "remote" and not self.num_learners:
            raise ValueError("`num_learners` must be above 0 with `sampling` remote")
        if self.worker_resource is not None and not self.num_learners:
            raise ValueError("`num_learners` must be above 0 with `worker_resource`")
        return self

    @field_validator("worker_resource")
    @classmethod
    def _custom(cls, name: str | None) -> str | None:
        if name in ("", "CPU", "GPU", "memory", "object_store_memory"):
            raise ValueError("must be the name of a custom resource, none of Ray's own")
        return name

    @model_validator(mode="after")
    def _fewer_learners(self) -> Self:
        if self.min_learners > self.num_learners:
            raise ValueError("`min_learners` must be at most `num_learners`")
        return self

    @model_validator(mode="after")
    def _one_loudness(self) -> Self:
        if self.quiet and self.verbose:
            raise ValueError("`quiet` and `verbose` exclude each other: give one of them")
        return self


class WorkflowConfig(TrainingCommand):
    """What every workflow can be told; a workflow adds one field per stage."""

    seed: int = Field(1, ge=0)
    """Source of all randomness: the same seed and settings give the same model."""
