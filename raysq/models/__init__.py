"""Networks: attention, recurrent encoder and decoder, and the policy and critic made of them."""

from typing import Literal

from raysq.models.baseline import StepBaseline
from raysq.models.seq2seq import OutputLayer, Readout, Seq2Seq, State

CriticForm = Literal["critic", "oracle"]
"""A critic of actor-critic, or the soft-Q oracle of VAML (with a policy's attention, and dropout)."""

__all__ = [
    "CriticForm",
    "OutputLayer",
    "Readout",
    "Seq2Seq",
    "State",
    "StepBaseline",
]
