"""State of a stage: its networks, its optimisers and a few numbers; in memory and in checkpoints."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from raysq.algorithms import Algorithm, Group, Networks
from raysq.algorithms.base import FOLLOWED
from raysq.algorithms.moment import seeded_generator
from raysq.config import NetworkConfig, UserError
from raysq.data.shards import Corpus, Preparation
from raysq.models import Captioner, CriticForm, EncoderDecoder, OwnNetwork, Seq2Seq, StepBaseline
from raysq.records import RESULT, AccountRecord, read_record
from raysq.training import checkpoint
from raysq.training.samples import snapshots

AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)
BASELINE_STEPS = 100
"""Steps of a learned baseline with parameters of their own."""


@dataclass(slots=True)
class Progress:
    """Where a stage stands; saved with every checkpoint."""

    update: int = 0
    evaluated: int = -1
    """Update of the last evaluation."""
    decays: int = 0
    best_score: float | None = None
    best_update: int = -1
    best_evaluation: int = 0
    """Which evaluation, from 1, was the best."""
    best_decays: int = 0
    """``decays`` at the best evaluation."""
    accepted_score: float | None = None
    """Score of the last evaluation that was no failure, since the last decay."""
    collapsed: int = 0
    """Evaluations in a row under half of the best score."""
    first_reward: float | None = None
    """Mean reward of samples at the first evaluation, where the policy is sampled."""
    tokens: float = 0.0
    update_seconds: float = 0.0
    seconds: float = 0.0
    waited_seconds: float = 0.0
    """Spent waiting for samples and rewards."""
    reward_calls: float = 0.0
    """Sequences that the reward has scored for the updates, over all learners."""
    first_noise: dict[str, Any] | None = None
    """Of the gradient before the first update, where the stage began with an actor: ``training.noise``."""
    stopped_by: str = ""
    """What ended the updates, once something has."""
    diverged: bool = False
    diverged_on: list[int] = field(default_factory=list)
    """Positions in the training split of the batch that the stage diverged on, or after."""
    warnings: list[str] = field(default_factory=list)
    scores: list[list[float]] = field(default_factory=list)
    """[update, dev score] of every evaluation."""
    window: dict[str, list[float]] = field(default_factory=dict)
    """Metrics of the updates since the last line of the journal, as [sum, weight]."""

    def begin_segment(self) -> None:
        """Go on in another folder: what is best, and what ends the stage, is seen anew."""
        self.evaluated = self.best_update = -1
        self.best_score = self.accepted_score = self.first_reward = None
        self.best_evaluation = self.best_decays = self.collapsed = 0
        self.stopped_by, self.scores = "", []


def build_policy(corpus: Corpus | Preparation, network: NetworkConfig) -> EncoderDecoder:
    """The policy: reads the source, emits the target. Images are read by the captioner NIC.

    Raises:
        UserError: a network of the user's own is to read images.
    """
    features, words = corpus.manifest.features, corpus.source_vocabulary
    if isinstance(network, OwnNetwork):
        if words is None:
            raise UserError("a network of your own reads words: give a task with text as its source")
        return network.policy(len(words), len(corpus.target_vocabulary))
    if features is not None:
        return Captioner(
            features.mean,
            features.deviation,
            len(corpus.target_vocabulary),
            embedding_size=network.embedding_size,
            hidden_size=network.hidden_size,
            dropout=network.dropout,
            product_type=_product_type(network),
        )
    assert words is not None
    return Seq2Seq(
        len(words),
        len(corpus.target_vocabulary),
        embedding_size=network.embedding_size,
        hidden_size=network.hidden_size,
        attention=network.attention,
        input_feeding=network.input_feeding,
        attention_bias=False,
        dropout=network.dropout,
        product_type=_product_type(network),
    )


def build_critic(corpus: Corpus | Preparation, network: NetworkConfig, form: CriticForm) -> Seq2Seq:
    """Reads the reference, gives Q of every word. An oracle has a policy's attention, and dropout."""
    size = len(corpus.target_vocabulary)
    return Seq2Seq(
        size,
        size,
        embedding_size=network.embedding_size,
        hidden_size=network.hidden_size,
        attention=network.critic_attention if form == "critic" else network.attention,
        input_feeding=network.input_feeding,
        attention_bias=form == "critic",
        dropout=0.0 if form == "critic" else network.oracle_dropout,
        tied=network.critic_embedding == "tied",
        product_type=_product_type(network),
    )


def _product_type(network: NetworkConfig) -> torch.dtype | None:
    return torch.bfloat16 if network.precision == "bfloat16" else None


def load_network(
    network: AnyNetwork, folder: Path, group: str, best_update: int, vocabularies: Mapping[str, str]
) -> AnyNetwork:
    """Fill ``network`` with a group's parameters in a stage's best checkpoint, taken at ``best_update``.

    Raises:
        UserError: that checkpoint is missing or damaged, of other vocabularies, or does not fit the network.
    """
    saved = checkpoint.best(folder / "checkpoints")
    if saved is None or saved.step != best_update:
        raise UserError(
            f"the best checkpoint of {folder} (update {best_update}) is missing or damaged; "
            "remove the folder and train the stage again"
        )
    _require_vocabularies(saved, vocabularies)
    state = _part(saved.tensors, group)
    shapes = {k: tuple(v.shape) for k, v in network.named_parameters()}
    if {k: tuple(v.shape) for k, v in state.items()} != shapes:
        raise UserError(
            f"the {group} in {folder} does not fit these networks; "
            "use the --network options it was trained with"
        )
    _fill(network, state)
    return network


def make_networks(
    corpus: Corpus,
    network: NetworkConfig,
    algorithm: Algorithm,
    parents: dict[Group, Path | None],
    *,
    seed: int,
    stage: str,
    device: str,
    max_staleness: int = 0,
) -> Networks:
    """The networks of a stage: from its parents' best checkpoints, else freshly drawn; trained ones free.

    Moving averages and, with ``max_staleness``, the snapshot that samples come from start as copies.
    """

    def ready(fresh: EncoderDecoder, group: Group) -> EncoderDecoder:
        parent = parents[group]
        if parent is not None:
            best_update = read_result(parent)["best_update"]
            load_network(fresh, parent, group, best_update, corpus.preparation.vocabulary_digests)
        else:
            generator = seeded_generator(seed, stage, group, "initial parameters")
            words = network.critic_embedding_range if group == "critic" else None
            fresh.initialise(generator, network.init_range, words)
        return fresh.to(device).requires_grad_(group in algorithm.trains)

    policy = ready(build_policy(corpus, network), "policy")
    critic = baseline = None
    if algorithm.critic_form:
        critic = ready(build_critic(corpus, network, algorithm.critic_form), "critic")
    if "baseline" in algorithm.trains:
        baseline = StepBaseline(BASELINE_STEPS, network.hidden_size).to(device)
    networks = Networks(policy, critic, baseline=baseline)
    copies: dict[str, Any] = {
        follower: copy.deepcopy(getattr(networks, FOLLOWED[follower])).requires_grad_(False)
        for follower in (*algorithm.following_rates(), *snapshots(algorithm, max_staleness))
    }
    return replace(networks, **copies)


def read_result(folder: Path) -> dict[str, Any]:
    """A finished stage's entry of result.json. Raises UserError where it is damaged."""
    return read_record(folder / RESULT, AccountRecord).model_dump()


@dataclass(slots=True)
class StageState:
    """Everything of a stage that changes while it trains."""

    networks: Networks
    optimizers: dict[Group, torch.optim.Optimizer]
    progress: Progress
    vocabularies: dict[str, str]
    """sha256 of the vocabularies whose ids the networks speak, by side."""
    accepted: dict[str, Tensor] = field(default_factory=dict)
    """What ``return_to_accepted`` goes back to; empty: nothing was kept."""

    def tensors(self) -> dict[str, Tensor]:
        """All that is needed to continue: networks, optimiser states, and the accepted ones of both."""
        return self._current() | {f"accepted.{name}": tensor for name, tensor in self.accepted.items()}

    def _current(self) -> dict[str, Tensor]:
        """Trained networks, moving averages, optimiser states."""
        tensors: dict[str, Tensor] = {}
        for group, optimizer in self.optimizers.items():
            tensors |= _named(group, getattr(self.networks, group))
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{group}.{index}.{k}": v for k, v in state.items()}
        for follower in FOLLOWED:
            network = getattr(self.networks, follower)
            if network is not None:
                tensors |= _named(follower, network)
        return tensors

    def record(self) -> dict[str, checkpoint.JSON]:
        """What a checkpoint holds beside the tensors."""
        return asdict(self.progress) | {"vocabularies": self.vocabularies}

    def accept(self) -> None:
        """Keep networks and optimisers as they are now."""
        self.accepted = {name: tensor.clone() for name, tensor in self._current().items()}

    def return_to_accepted(self) -> None:
        """Make networks and optimisers again what they were at ``accept``."""
        self._fill(self.accepted)

    def restore(self, saved: checkpoint.Checkpoint) -> None:
        """Continue from a checkpoint of this stage.

        Raises:
            UserError: it is of other vocabularies, other networks or another version of raysq.
        """
        _require_vocabularies(saved, self.vocabularies)
        accepted = _part(saved.tensors, "accepted")
        current = {name: t for name, t in saved.tensors.items() if not name.startswith("accepted.")}
        if _shapes(self._current()) != _shapes(current) or not (
            saved.state.keys() >= Progress.__dataclass_fields__.keys()
        ):
            raise UserError(
                f"checkpoint {saved.path} is of other networks or of another version of raysq; "
                "move its stage's folder away and repeat the command, which trains the stage afresh"
            )
        self._fill(current)
        self.accepted = accepted
        for name in Progress.__dataclass_fields__:
            setattr(self.progress, name, saved.state[name])

    def _fill(self, tensors: Mapping[str, Tensor]) -> None:
        for network in (*self.optimizers, *FOLLOWED):
            state = _part(tensors, network)
            if state:
                _fill(getattr(self.networks, network), state)
        for group, optimizer in self.optimizers.items():
            states: dict[int, dict[str, Tensor]] = {}
            for key, tensor in _part(tensors, f"optimizer.{group}").items():
                index, name = key.split(".")
                states.setdefault(int(index), {})[name] = tensor.clone()
            whole = optimizer.state_dict()
            whole["state"] = states
            optimizer.load_state_dict(whole)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """Of the networks; an optimiser has nothing before its first step."""
    return {name: tensor.shape for name, tensor in tensors.items() if not name.startswith("optimizer.")}


def _require_vocabularies(saved: checkpoint.Checkpoint, vocabularies: Mapping[str, str]) -> None:
    if saved.state.get("vocabularies") != vocabularies:
        raise UserError(
            f"checkpoint {saved.path} was trained on data with other vocabularies: its ids mean other words; "
            "give the --data-dir it was trained with, or move its stage's folder away to train it afresh"
        )


def _named(group: str, network: nn.Module) -> dict[str, Tensor]:
    """Each parameter once, tied ones too."""
    return {f"{group}.{key}": tensor.detach() for key, tensor in network.named_parameters()}


@torch.no_grad()
def _fill(network: nn.Module, state: dict[str, Tensor]) -> None:
    for key, parameter in network.named_parameters():
        parameter.copy_(state[key])


def _part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    prefix = f"{name}."
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
