"""Every algorithm there is, in every form that its fields give it, and its updates as a stage makes them."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.functional import pad

from raysq.algorithms import ALGORITHMS, Algorithm, Networks
from raysq.algorithms.base import FOLLOWED
from raysq.algorithms.moment import Moment
from raysq.config import Config, NetworkConfig
from raysq.data.batches import collate
from raysq.data.shards import Corpus
from raysq.rewards import LocalScorer, Rouge, SentenceBleu
from raysq.rewards.scoring import RewardScorer
from raysq.training.collective import Collective
from raysq.training.samples import LocalSource
from raysq.training.state import make_networks
from raysq.training.step import Step
from raysq.types import PAD, Batch, MetricSums

SMALL: dict[str, Any] = {
    "num_samples": 3,
    "num_copies": 2,
    "max_length": 6,
    "extra_length": 2,
    "tau": 0.4,
    "vaml_coeff": 0.5,
    "lambda_var": 0.2,
    "lambda_mle": 0.3,
    "sharpness": 0.5,
    "k": 2.0,
    "start_prefix": 4,
    "prefix_step": 2,
    "max_share": 0.5,
}
"""Where an algorithm, or a section of its settings, has such a field: small, and so that every part has
its share at ``MOMENT``."""
BETWEEN = 0.5
"""For a field that may be absent, and is by default."""
MOMENT = Moment(seed=1, stage="test", update=3, epoch=1, update_of_epoch=1, decays=6)
IDS = np.array([3, 14, 15, 9, 2, 6, 5, 35, 8, 7, 11])

Change: TypeAlias = tuple[tuple[str, ...], Any]
"""Path of a field, and a value to give it."""


def changes(config: Config, *, sections: bool) -> Iterator[Change]:
    """Every other choice, switch and presence among the settings; with ``sections`` in these too."""
    for name, field in type(config).model_fields.items():
        value, annotation = getattr(config, name), field.annotation
        if name in Algorithm.model_fields:
            continue
        if isinstance(value, Config) and sections:
            yield from (((name, *path), other) for path, other in changes(value, sections=False))
        yield from (((name,), other) for other in others(annotation, value))


def others(annotation: Any, value: Any) -> list[Any]:
    """What a choice, a switch, or a setting that is absent may be instead."""
    if annotation is bool:
        return [not value]
    if get_origin(annotation) is Literal:
        return [choice for choice in get_args(annotation) if choice != value]
    if get_origin(annotation) in (Union, types.UnionType) and value is None:
        choices = [choice for kind in get_args(annotation) for choice in others(kind, value)]
        return choices or [BETWEEN]
    return []


def small_values(config: Config, *, sections: bool) -> Iterator[Change]:
    """What ``SMALL`` says of the settings; with ``sections`` of these too."""
    for name, value in config:
        if name in SMALL:
            yield (name,), SMALL[name]
        elif isinstance(value, Config) and sections:
            yield from (((name, *path), small) for path, small in small_values(value, sections=False))


def changed(algorithm: Algorithm, *made: Change) -> Algorithm:
    """The algorithm with other values in some fields. Raises ValidationError."""
    settings = algorithm.model_dump()
    for (*sections, name), value in made:
        section = settings
        for step in sections:
            section = section[step]
        section[name] = value
    return type(algorithm).model_validate(settings)


def variants(algorithm_class: type[Algorithm]) -> Iterator[tuple[str, Algorithm]]:
    """Small settings, and these with one change each; one that is refused alone goes along with another."""
    published = algorithm_class()
    small = changed(published, *small_values(published, sections=True))
    yield algorithm_class.__name__, small
    all_changes = list(changes(small, sections=True))
    for path, value in all_changes:
        companions = [(), *((other,) for other in all_changes if other[0] != path)]
        name = f"{algorithm_class.__name__} {'.'.join(path)}={value}"
        yield name, first_valid(small, [((path, value), *others) for others in companions])


def first_valid(algorithm: Algorithm, attempts: list[tuple[Change, ...]]) -> Algorithm:
    """The first of these sets of changes that the algorithm accepts."""
    for attempt in attempts:
        try:
            return changed(algorithm, *attempt)
        except ValidationError:
            continue
    raise ValueError(f"{type(algorithm).__name__} cannot have {attempts[0]}, whatever one adds")


@dataclass(frozen=True)
class Case:
    name: str
    algorithm: Algorithm
    dropout: float = 0.3
    task: Literal["translation", "captioning", "headline"] = "translation"


CASES = [Case(*variant) for algorithm_class in ALGORITHMS for variant in variants(algorithm_class)]
SMALL_CASES = [case for case in CASES if " " not in case.name]
WITHOUT_DROPOUT = [Case(f"{case.name} without dropout", case.algorithm, 0.0) for case in SMALL_CASES]

OTHER_TASKS = [
    replace(case, name=f"{case.name} {task}", task=task)
    for case in SMALL_CASES
    for task in ("captioning", "headline")
]


@pytest.fixture(params=[*CASES, *WITHOUT_DROPOUT, *OTHER_TASKS], ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    """Every form of every algorithm, each without dropout too, and each for the other tasks."""
    return request.param


@pytest.fixture
def corpus(
    request: pytest.FixtureRequest, small_corpus: Corpus, small_captions: Corpus, small_headlines: Corpus
) -> Corpus:
    """Of the case's task."""
    task = request.getfixturevalue("case").task if "case" in request.fixturenames else "translation"
    return {"translation": small_corpus, "captioning": small_captions, "headline": small_headlines}[task]


@pytest.fixture(params=SMALL_CASES, ids=lambda case: case.name)
def small_case(request: pytest.FixtureRequest) -> Case:
    """Every algorithm once."""
    return request.param


class Trial:
    """Networks as a stage makes them, and its step over them.

    All networks want gradients unless ``frozen``: an algorithm must not lean on a frozen flag. The moving
    averages are no copies, so that one can tell them from what they follow.
    """

    moment = MOMENT
    ids = IDS

    def __init__(
        self,
        corpus: Corpus,
        algorithm: Algorithm,
        dropout: float = 0.0,
        *,
        scorer: RewardScorer | None = None,
        collective: Collective | None = None,
        frozen: bool = False,
    ) -> None:
        network = NetworkConfig(
            embedding_size=6,
            hidden_size=6,
            init_range=0.7,
            dropout=dropout,
            oracle_dropout=dropout,
            critic_embedding_range=0.7,
        )
        self.corpus, self.algorithm, self.collective = corpus, algorithm, collective or Collective()
        self.networks: Networks = make_networks(
            corpus, network, algorithm, {"policy": None, "critic": None}, seed=1, stage="test", device="cpu"
        )
        for seed, follower in enumerate(FOLLOWED):
            if getattr(self.networks, follower) is not None:
                getattr(self.networks, follower).initialise(torch.Generator().manual_seed(seed), 0.7)
        if not frozen:
            for each in self.by_name().values():
                each.requires_grad_(True)
        reward = Rouge() if corpus.manifest.grouped and not corpus.manifest.features else SentenceBleu()
        source = LocalSource(algorithm, self.networks, reward, scorer or LocalScorer(reward))
        self.step = Step(algorithm, self.networks, source, self.collective)
        self.metrics: MetricSums = {}
        """Of the last update."""

    def by_name(self) -> dict[str, nn.Module]:
        """The networks that are there."""
        found = {field.name: getattr(self.networks, field.name) for field in fields(self.networks)}
        return {name: network for name, network in found.items() if network is not None}

    def batch(self, ids: np.ndarray = IDS, part: int = 0, parts: int = 1, more_padding: int = 0) -> Batch:
        """A part of this rank's slice of a global batch; sources and references wider than they need be."""
        rank, world_size = self.collective.rank, self.collective.world_size
        batch = collate(self.corpus.splits["train"], ids, rank * parts + part, world_size * parts)
        wider, widest = (0, more_padding), (0, 3 * more_padding)
        if self.corpus.manifest.features is None:
            batch = replace(
                batch,
                source=pad(batch.source, widest, value=PAD),
                source_mask=pad(batch.source_mask, widest, value=False),
            )
        return replace(
            batch,
            reference=pad(batch.reference, wider, value=PAD),
            reference_mask=pad(batch.reference_mask, wider, value=False),
        )

    def update(
        self, moment: Moment = MOMENT, ids: np.ndarray = IDS, *, parts: int = 1, more_padding: int = 0
    ) -> MetricSums:
        """One update; afterwards the gradients it followed are in the parameters."""
        slices = [self.batch(ids, part, parts, more_padding) for part in range(parts)]
        self.metrics = self.step.run(slices, moment)
        del self.metrics["waited"]
        return self.metrics

    def parameters(self) -> dict[str, Tensor]:
        """A copy of every parameter, by ``policy.output.weight``."""
        return {name: parameter.detach().clone() for name, parameter in self._named()}

    def gradients(self) -> dict[str, Tensor | None]:
        """The last update's gradients, after clipping."""
        return {name: parameter.grad for name, parameter in self._named()}

    def _named(self) -> Iterator[tuple[str, nn.Parameter]]:
        for group, network in self.by_name().items():
            yield from ((f"{group}.{name}", parameter) for name, parameter in network.named_parameters())


@pytest.fixture
def make_trial(corpus: Corpus, float64: None) -> Callable[..., Trial]:
    """A fresh ``Trial`` on a small corpus; trials of the same arguments are the same."""
    of_case = corpus

    def make(algorithm: Algorithm, *arguments: Any, corpus: Corpus = of_case, **options: Any) -> Trial:
        return Trial(corpus, algorithm, *arguments, **options)

    return make


@pytest.fixture(scope="session")
def trials() -> dict[str, Trial]:
    """What ``updated`` has made so far."""
    return {}


@pytest.fixture
def updated(make_trial: Callable[..., Trial], trials: dict[str, Trial], case: Case) -> Trial:
    """The case's trial after one update, for what tests compare with; not to be updated again."""
    if case.name not in trials:
        trials[case.name] = make_trial(case.algorithm, case.dropout)
        trials[case.name].update()
    return trials[case.name]
