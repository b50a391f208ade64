"""Algorithms, one file each: which sequences do we train on, and what does each token weigh."""

from raysq.algorithms.base import Algorithm, Group, Networks
from raysq.algorithms.critic import CriticTraining
from raysq.algorithms.erac import ActorCritic
from raysq.algorithms.mle import Mle

__all__ = ["ALGORITHMS", "ActorCritic", "Algorithm", "CriticTraining", "Group", "Mle", "Networks"]

ALGORITHMS = (Mle, CriticTraining, ActorCritic)
"""The registry: every algorithm there is."""
