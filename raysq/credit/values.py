"""What policy and critic say of every word at the places of some sequences.

With the policy pi, the stage's critic Q and its temperature tau, at the state s_t = y_{<t}:

    V(s_t) = sum_w pi(w|s_t) [Q(s_t, w) - tau log pi(w|s_t)]             Dai et al. (2018) Eq. 19
    P_Q(w|s_t) = softmax(Q(s_t, w) / tau)                                where Eq. 20 is highest

Q is the online critic, in V too. Without future entropy tau is 0 in V alone; at tau = 0 all of P_Q is on the
best word. Of VAML's oracle V(s_t) = tau log sum_w exp(Q(s_t, w) / tau) (Eq. 16) and P_Q is what the student
learns (Eq. 17), so that Q - V = tau log P_Q. All without dropout; where eos was forced it is the only word,
unless the critic was trained otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from raysq.algorithms import Algorithm, CriticTraining, Networks, Vaml
from raysq.algorithms.rows import Rows, critic_features
from raysq.types import EOS, FIRST_ACTION, Batch, Samples


@dataclass(frozen=True, slots=True)
class CriticValues:
    """What a critic says at n places."""

    q: Tensor
    """[n, V]"""
    value: Tensor
    """[n] V"""
    target: Tensor
    """[n, V] P_Q; pad and bos, which are no actions, have none of it."""


@dataclass(frozen=True, slots=True)
class Values:
    """What is known of every word at the n valid positions of some samples."""

    pi: Tensor
    """[n, V]"""
    critic: CriticValues | None
    """None: the stage has no critic."""


@torch.no_grad()
def values_of(networks: Networks, algorithm: Algorithm, batch: Batch, samples: Samples) -> Values:
    """What the networks, which ``algorithm`` trained, say of the samples of a batch."""
    policy, forced = networks.policy, _forced(algorithm, samples)
    memory = policy.encode(batch.source, batch.source_mask).repeat(samples.num_per_example)
    features = policy.features(memory, samples.inputs)[samples.mask]
    pi = _eos_alone(torch.softmax(policy.output.logits(features), dim=1), forced)
    if networks.critic is None:
        return Values(pi, None)
    assert isinstance(algorithm, CriticTraining | Vaml)
    q = networks.critic.output.logits(critic_features(networks.critic, batch, samples))
    if isinstance(algorithm, CriticTraining):
        value = torch.linalg.vecdot(pi, q) + algorithm.target_tau() * entropy(pi)
    else:
        soft = algorithm.tau * torch.logsumexp(q / algorithm.tau, dim=1)
        value = torch.where(forced, q[:, EOS], soft)
    return Values(pi, CriticValues(q, value, _eos_alone(_best_policy(q, algorithm.tau), forced)))


def _forced(algorithm: Algorithm, samples: Samples) -> Tensor:
    """[n] where eos is the only word; nowhere for a critic that was trained with the whole policy there."""
    forced = Rows.of(samples).forced_eos
    if isinstance(algorithm, CriticTraining) and algorithm.forced_eos == "unrestricted":
        return torch.zeros_like(forced)
    return forced


def entropy(probabilities: Tensor) -> Tensor:
    """-sum_w p_w log p_w [n] of probabilities [n, V], in nats."""
    return torch.special.entr(probabilities).sum(1)


def chosen(table: Tensor, tokens: Tensor) -> Tensor:
    """The entries [n] of a table [n, V] at the tokens [n]."""
    return table.gather(1, tokens.unsqueeze(1)).squeeze(1)


def best_words(scores: Tensor, count: int) -> Tensor:
    """Ids [n, k] of the ``count`` highest scores [n, V] (of all, if they are fewer), highest first.

    pad and bos are not among them.
    """
    actions = scores[:, FIRST_ACTION:]
    return actions.topk(min(count, actions.shape[1]), dim=1).indices + FIRST_ACTION


def _best_policy(q: Tensor, tau: float) -> Tensor:
    """softmax(q / tau) [n, V]; at tau = 0 its limit, all on one word of highest q."""
    if tau == 0:
        return one_hot(q.argmax(1), q.shape[1]).to(q.dtype)
    return torch.softmax(q / tau, dim=1)


def _eos_alone(probabilities: Tensor, forced: Tensor) -> Tensor:
    """The distributions [n, V], with all on eos in the rows that are forced [n]."""
    eos = one_hot(torch.full_like(forced, EOS, dtype=torch.long), probabilities.shape[1])
    return torch.where(forced.unsqueeze(1), eos.to(probabilities.dtype), probabilities)
