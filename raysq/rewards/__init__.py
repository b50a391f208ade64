"""Rewards: payoffs of every prefix of a sequence, compiled, with plain twins; and who scores the samples.

A reward trains, a metric reports: corpus BLEU is in ``raysq.metrics``.
"""

from raysq.rewards.base import ExtensionRewards, OwnReference, PackedReferences, RewardFunction, pack
from raysq.rewards.bleu import BleuVariant, SentenceBleu, prefix_bleu
from raysq.rewards.edit import EditDistance, Hamming
from raysq.rewards.rouge import Rouge
from raysq.rewards.scoring import LocalScorer, PendingRewards, RewardScorer

__all__ = [
    "BleuVariant",
    "EditDistance",
    "ExtensionRewards",
    "Hamming",
    "LocalScorer",
    "OwnReference",
    "PackedReferences",
    "PendingRewards",
    "RewardFunction",
    "RewardScorer",
    "Rouge",
    "SentenceBleu",
    "pack",
    "prefix_bleu",
]
