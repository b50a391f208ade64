"""Policies and critics that are tables over a language's states: algorithms run on all of it, as they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysq.algorithms import Algorithm, Networks
from raysq.algorithms.moment import Moment
from raysq.models.seq2seq import State
from raysq.rewards.scoring import PendingRewards, ScoredRewards
from raysq.types import FIRST_ACTION, Batch, Memory, Samples

MOMENT = Moment(seed=1, stage="test", update=0)


class Table:
    """A network whose logits, or Q, are those of a table [states, V]; or one table an example [B, states, V].

    Its features are the logits, so that a gradient by the tables of many examples is one by example. What it
    remembers of the source is the number of the example, and of the prefix its state.
    """

    dropout = 0.0
    product_type = None

    def __init__(self, language: Any, tables: Tensor) -> None:
        self.output, self.hidden_size = self, language.V
        self.tables = tables if tables.dim() == 3 else tables.unsqueeze(0)
        self.following = following_states(language)
        self.actions = (torch.arange(language.V) >= FIRST_ACTION).double()
        self.weight, self.bias = torch.eye(language.V), torch.zeros(language.V)

    def encode(self, tokens: Tensor, mask: Tensor) -> Memory:
        example, nothing = torch.arange(len(tokens)).unsqueeze(1), torch.zeros(len(tokens), 1)
        return Memory(nothing, nothing, example, nothing, nothing)

    def features(self, memory: Memory, inputs: Tensor, dropout_mask: Tensor | None = None) -> Tensor:
        return self._rows(memory, states_of(self.following, inputs))

    def initial_state(self, memory: Memory) -> State:
        return State(*[torch.zeros(len(memory.mask), dtype=torch.long)] * 3)

    def step(
        self, memory: Memory, state: State, token: Tensor, dropout_mask: Tensor | None = None
    ) -> tuple[Tensor, State]:
        prefix = self.following[state.hidden, token]
        return self._rows(memory, prefix.unsqueeze(1)).squeeze(1), State(prefix, prefix, prefix)

    def policy_bias(self) -> Tensor:
        return self.bias - 1e4 * (1 - self.actions)

    def readout(self, *, exact: bool) -> Table:
        return self

    def logits(self, features: Tensor) -> Tensor:
        return features + self.policy_bias()

    def _rows(self, memory: Memory, states: Tensor) -> Tensor:
        return self.tables[memory.mask % len(self.tables), states] * self.actions


def following_states(language: Any) -> Tensor:
    """The state after each token [states, V]; 0, the empty prefix, after bos and where nothing follows."""
    following = torch.zeros(len(language.prefixes), language.V, dtype=torch.long)
    for state, words in enumerate(language.prefixes[1:], 1):
        following[language.prefixes.index(words[:-1]), words[-1]] = state
    return following


def states_of(following: Tensor, inputs: Tensor) -> Tensor:
    """State [M, T] in which each token is chosen."""
    state, states = torch.zeros(len(inputs), dtype=torch.long), []
    for token in inputs.unbind(1):
        state = following[state, token]
        states.append(state)
    return torch.stack(states, 1)


def make_batch(language: Any, size: int) -> Batch:
    """So many examples, all with the language's reference."""
    nothing = torch.zeros(size, 1, dtype=torch.long)
    return Batch(
        example_ids=torch.arange(size),
        source=nothing,
        source_mask=nothing == 0,
        reference=nothing,
        reference_mask=nothing == 0,
        references=[[np.array(language.reference, np.int32)]] * size,
        global_size=size,
        offset=0,
        longest_reference=4,
        word_counts=np.ones(language.V, np.int64),
    )


def samples_of(language: Any, units: Tensor, logits: Tensor) -> Samples:
    """Sequences by their numbers [B, N], as a policy would have drawn them."""
    chosen, mask = units.flatten(), language.samples.mask
    log_probs = torch.zeros(mask.shape)
    log_probs[mask] = language.row_log_probs(logits)
    return replace(
        language.samples,
        inputs=language.samples.inputs[chosen],
        targets=language.samples.targets[chosen],
        mask=mask[chosen],
        forced_eos=language.samples.forced_eos[chosen],
        num_per_example=units.shape[1],
        log_probs=log_probs[chosen],
    )


def numbers_of(language: Any, samples: Samples) -> Tensor:
    """Which sequence of the language each one is [M]: that of the state it ends in."""
    states = states_of(following_states(language), samples.inputs)
    return states.gather(1, samples.mask.sum(1, keepdim=True) - 1).squeeze(1)


def earned(language: Any, samples: Samples) -> PendingRewards:
    """Rewards with the scaled payoff for the unscaled one, so that both are of one scale."""
    numbers, T = numbers_of(language, samples), samples.mask.shape[1]
    rewards = language.rewards
    return ScoredRewards(
        replace(
            rewards,
            sequence=language.payoff[numbers],
            token=rewards.token[numbers, :T],
            scale=rewards.scale[numbers],
        ),
        0.0,
    )


def gradients_by_example(
    language: Any,
    algorithm: Algorithm,
    samples: Samples,
    logits: Tensor,
    q: Tensor | None = None,
    baseline: Any = None,
    moment: Moment = MOMENT,
) -> Tensor:
    """Gradient of an algorithm's loss on each example's samples by the policy's table [B, states * V]."""
    N = samples.num_per_example
    B = len(samples.mask) // N
    tables = logits.detach().expand(B, -1, -1).clone().requires_grad_()
    critic: Any = None if q is None else Table(language, q)
    networks = Networks(Table(language, tables), critic, critic, baseline)  # type: ignore[arg-type]
    rewards = earned(language, samples)
    objectives, _ = algorithm.objectives(make_batch(language, B), samples, rewards, networks, moment)
    units = {"example": 1.0, "sequence": float(N)}
    total = torch.stack([o.total * (o.coefficient / units[o.per]) for o in objectives]).sum()
    return torch.autograd.grad(total, tables)[0].flatten(1)
