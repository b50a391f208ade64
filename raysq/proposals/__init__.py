"""Proposals: corrupted copies of a reference, drawn without a model, each with its exact density."""

from raysq.proposals.base import Proposal, propose
from raysq.proposals.edit import EditProposal
from raysq.proposals.hamming import BoundedHamming, HammingReplacement
from raysq.proposals.ngram import NgramReplacement
from raysq.proposals.noise import UniformNoise, UnigramNoise

__all__ = [
    "BoundedHamming",
    "EditProposal",
    "HammingReplacement",
    "NgramReplacement",
    "Proposal",
    "UniformNoise",
    "UnigramNoise",
    "propose",
]
