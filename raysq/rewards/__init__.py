"""Rewards: payoffs of every prefix of a sequence, compiled, with plain twins; and who scores the samples.

A reward trains, a metric reports: corpus BLEU is in ``raysq.evaluation``.
"""

from raysq.rewards.base import PackedReferences, RewardFunction, pack
from raysq.rewards.bleu import BleuVariant, SentenceBleu, prefix_bleu
from raysq.rewards.scoring import LocalScorer, PendingRewards, RewardScorer

__all__ = [
    "BleuVariant",
    "LocalScorer",
    "PackedReferences",
    "PendingRewards",
    "RewardFunction",
    "RewardScorer",
    "SentenceBleu",
    "pack",
    "prefix_bleu",
]
