"""State of a stage: its networks, its optimisers and a few numbers; in memory and in checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from raysq.algorithms import Algorithm, CriticTraining, Group, Networks
from raysq.algorithms.randomness import seeded_generator
from raysq.config import NetworkConfig, UserError
from raysq.data.shards import Corpus, Preparation
from raysq.models import Seq2Seq
from raysq.records import RESULT, StageResultRecord, read_record
from raysq.training import checkpoint


@dataclass(slots=True)
class Progress:
    """Where a stage stands; saved with every checkpoint."""

    update: int = 0
    evaluated: int = -1
    """Update of the last evaluation."""
    decays: int = 0
    best_score: float | None = None
    best_update: int = -1
    collapsed: int = 0
    """Evaluations in a row under half of the best score."""
    tokens: float = 0.0
    update_seconds: float = 0.0
    seconds: float = 0.0
    waited_seconds: float = 0.0
    """Spent waiting for rewards."""
    stopped_by: str = ""
    """What ended the updates, once something has."""
    diverged: bool = False
    warnings: list[str] = field(default_factory=list)
    scores: list[list[float]] = field(default_factory=list)
    """[update, dev score] of every evaluation."""
    window: dict[str, list[float]] = field(default_factory=dict)
    """Metrics of the updates since the last line of the journal, as [sum, weight]."""


def build_policy(corpus: Corpus | Preparation, network: NetworkConfig) -> Seq2Seq:
    """The policy: reads the source, emits the target."""
    return Seq2Seq(
        len(corpus.source_vocabulary),
        len(corpus.target_vocabulary),
        embedding_size=network.embedding_size,
        hidden_size=network.hidden_size,
        attention=network.attention,
        input_feeding=network.input_feeding,
        attention_bias=False,
        dropout=network.dropout,
    )


def build_critic(corpus: Corpus, network: NetworkConfig) -> Seq2Seq:
    """The critic: reads the reference, gives Q of every word; without dropout."""
    size = len(corpus.target_vocabulary)
    return Seq2Seq(
        size,
        size,
        embedding_size=network.embedding_size,
        hidden_size=network.hidden_size,
        attention=network.critic_attention,
        input_feeding=network.input_feeding,
        attention_bias=True,
        tied=network.critic_embedding == "tied",
    )


def load_network(
    network: Seq2Seq, folder: Path, group: str, best_update: int, vocabularies: Mapping[str, str]
) -> Seq2Seq:
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
    state = _part(saved, group)
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
) -> Networks:
    """The networks of a stage: from its parents' best checkpoints, else freshly drawn; trained ones free."""

    def ready(fresh: Seq2Seq, group: Group) -> Seq2Seq:
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
    if not isinstance(algorithm, CriticTraining):
        return Networks(policy)
    critic = ready(build_critic(corpus, network), "critic")
    target = build_critic(corpus, network).to(device)
    target.load_state_dict(critic.state_dict())
    return Networks(policy, critic, target.requires_grad_(False))


def read_result(folder: Path) -> dict[str, Any]:
    """A finished stage's entry of result.json. Raises UserError where it is damaged."""
    return read_record(folder / RESULT, StageResultRecord).model_dump()


@dataclass(slots=True)
class StageState:
    """Everything of a stage that changes while it trains."""

    networks: Networks
    optimizers: dict[Group, torch.optim.Optimizer]
    progress: Progress
    vocabularies: dict[str, str]
    """sha256 of the vocabularies whose ids the networks speak, by side."""

    def tensors(self) -> dict[str, Tensor]:
        """All that is needed to continue: trained networks, the target critic, optimiser states."""
        tensors: dict[str, Tensor] = {}
        for group, optimizer in self.optimizers.items():
            tensors |= _named(group, getattr(self.networks, group))
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{group}.{index}.{k}": v for k, v in state.items()}
        if self.networks.target_critic is not None:
            tensors |= _named("target_critic", self.networks.target_critic)
        return tensors

    def record(self) -> dict[str, checkpoint.JSON]:
        """What a checkpoint holds beside the tensors."""
        return asdict(self.progress) | {"vocabularies": self.vocabularies}

    def restore(self, saved: checkpoint.Checkpoint) -> None:
        """Continue from a checkpoint of this stage.

        Raises:
            UserError: it is of other vocabularies, other networks or another version of raysq.
        """
        _require_vocabularies(saved, self.vocabularies)
        mine = {key: tensor.shape for key, tensor in self.tensors().items() if "optimizer." not in key}
        theirs = {key: tensor.shape for key, tensor in saved.tensors.items() if "optimizer." not in key}
        if mine != theirs or not saved.state.keys() >= Progress.__dataclass_fields__.keys():
            raise UserError(
                f"checkpoint {saved.path} is of other networks or of another version of raysq; "
                "move its stage's folder away and repeat the command, which trains the stage afresh"
            )
        for group in ("policy", "critic", "target_critic"):
            state = _part(saved, group)
            if state:
                _fill(getattr(self.networks, group), state)
        for group, optimizer in self.optimizers.items():
            states: dict[int, dict[str, Tensor]] = {}
            for key, tensor in _part(saved, f"optimizer.{group}").items():
                index, name = key.split(".")
                states.setdefault(int(index), {})[name] = tensor
            whole = optimizer.state_dict()
            whole["state"] = states
            optimizer.load_state_dict(whole)
        for name in Progress.__dataclass_fields__:
            setattr(self.progress, name, saved.state[name])


def _require_vocabularies(saved: checkpoint.Checkpoint, vocabularies: Mapping[str, str]) -> None:
    if saved.state.get("vocabularies") != vocabularies:
        raise UserError(
            f"checkpoint {saved.path} was trained on data with other vocabularies: its ids mean other words; "
            "give the --data-dir it was trained with, or move its stage's folder away to train it afresh"
        )


def _named(group: str, network: Seq2Seq) -> dict[str, Tensor]:
    """Each parameter once, tied ones too."""
    return {f"{group}.{key}": tensor.detach() for key, tensor in network.named_parameters()}


@torch.no_grad()
def _fill(network: Seq2Seq, state: dict[str, Tensor]) -> None:
    for key, parameter in network.named_parameters():
        parameter.copy_(state[key])


def _part(saved: checkpoint.Checkpoint, name: str) -> dict[str, Tensor]:
    prefix = f"{name}."
    return {k.removeprefix(prefix): v for k, v in saved.tensors.items() if k.startswith(prefix)}
