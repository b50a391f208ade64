"""What is shown of sentences, sequences, tokens and words: plain numbers, as credit.json has them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WordCredit:
    """A word at some place."""

    token: str
    pi: float
    """pi(w)"""
    q: float | None
    """Q(w). None, here and below: the stage has no critic."""
    target: float | None
    """P_Q(w)"""


@dataclass(frozen=True, slots=True)
class TokenCredit:
    """A place in a sequence: the word that stands there, and those that could."""

    word: WordCredit
    """y_t"""
    reward: float
    """r_t"""
    to_go: float
    """What it and the tokens after it earned: the sum of r_k over k >= t."""
    entropy: float
    """Of the policy. [nats]"""
    value: float | None
    """V"""
    advantage: float | None
    """Q(y_t) - V"""
    target_entropy: float | None
    """Of P_Q. [nats]"""
    by_policy: tuple[WordCredit, ...]
    """The likeliest words, likeliest first."""
    by_q: tuple[WordCredit, ...]
    """The words of highest Q, highest first; none without critic."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Shares of a sequence among those that a stage draws around its reference; each kind sums to 1."""

    trained: float
    """As the stage trains: exp(R / temperature), unless its settings say otherwise."""
    exact: float | None
    """exp(scale R / tau), which the oracle is to learn. None, here and below: the stage has no oracle."""
    oracle: float | None
    """The oracle's own: the product of P_Q(y_t)."""


@dataclass(frozen=True, slots=True)
class SequenceCredit:
    """A sequence of a sentence."""

    labels: tuple[str, ...]
    """How it was found; more than one where several ways led to it."""
    payoff: float
    """R(y)"""
    reward_sum: float
    """Sum of r_t: scale (R(y) - R(empty))."""
    weights: Weights | None
    """None: the stage did not draw it."""
    tokens: tuple[TokenCredit, ...]
    """Words and eos."""


@dataclass(frozen=True, slots=True)
class SentenceCredit:
    """A sentence with its sequences, the reference first."""

    position: int
    """In its split, from 0."""
    source: str
    reference: str
    """Its words, unknown ones too."""
    scale: float
    """Factor of the rewards by token."""
    empty_payoff: float
    """R of the empty prefix."""
    sequences: tuple[SequenceCredit, ...]


@dataclass(frozen=True, slots=True)
class CreditRecord:
    """A page's content: credit.json."""

    stage: str
    algorithm: str
    critic: str | None
    """``critic``, ``oracle`` or none."""
    settings: dict[str, bool | int | float | str | None]
    """Of the algorithm, by dotted key."""
    reward: dict[str, bool | int | float | str | None]
    """Settings of the reward."""
    best_update: int
    split: str
    data: str
    """Digest of the data."""
    seed: int
    """Of the choice of sentences and of the draws."""
    sentences: tuple[SentenceCredit, ...]
