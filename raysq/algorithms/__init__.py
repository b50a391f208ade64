"""Algorithms, one file each: which sequences do we train on, and what does each token weigh."""

from raysq.algorithms.alpha_dimt import AlphaDimt
from raysq.algorithms.base import Algorithm, Group, Networks
from raysq.algorithms.critic import CriticTraining
from raysq.algorithms.erac import ActorCritic
from raysq.algorithms.interpolation import Interpolation
from raysq.algorithms.mixer import Mixer
from raysq.algorithms.mle import Mle
from raysq.algorithms.mrt import Mrt
from raysq.algorithms.noising import Noising
from raysq.algorithms.raml import Raml
from raysq.algorithms.reinforce import Reinforce
from raysq.algorithms.reinforce_critic import ReinforceCritic
from raysq.algorithms.scheduled_sampling import ScheduledSampling
from raysq.algorithms.soft_q import SoftQ
from raysq.algorithms.spg import Spg
from raysq.algorithms.vaml import Vaml

__all__ = [
    "ALGORITHMS",
    "ActorCritic",
    "Algorithm",
    "AlphaDimt",
    "CriticTraining",
    "Group",
    "Interpolation",
    "Mixer",
    "Mle",
    "Mrt",
    "Networks",
    "Noising",
    "Raml",
    "Reinforce",
    "ReinforceCritic",
    "ScheduledSampling",
    "SoftQ",
    "Spg",
    "Vaml",
]

ALGORITHMS = (
    Mle,
    CriticTraining,
    ActorCritic,
    SoftQ,
    Vaml,
    Spg,
    Interpolation,
    ScheduledSampling,
    Reinforce,
    ReinforceCritic,
    Mixer,
    Mrt,
    Raml,
    Noising,
    AlphaDimt,
)
"""The registry: every algorithm there is."""
