"""Networks: attention, recurrent encoder and decoder, and the policy and critic made of them."""

from typing import Literal

from raysq.models.baseline import StepBaseline
from raysq.models.encoder_decoder import (
    EncoderDecoder,
    OutputLayer,
    OwnNetwork,
    Readout,
    Rereading,
    State,
)
from raysq.models.nic import Captioner
from raysq.models.seq2seq import Seq2Seq

CriticForm = Literal["critic", "oracle"]
"""A critic of actor-critic, or the soft-Q oracle of VAML (with a policy's attention, and dropout)."""

__all__ = [
    "Captioner",
    "CriticForm",
    "EncoderDecoder",
    "OutputLayer",
    "OwnNetwork",
    "Readout",
    "Rereading",
    "Seq2Seq",
    "State",
    "StepBaseline",
]
