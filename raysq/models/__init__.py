"""Networks: attention, recurrent encoder and decoder, and the policy and critic made of them."""

from raysq.models.seq2seq import Memory, OutputLayer, Seq2Seq, State

__all__ = ["Memory", "OutputLayer", "Seq2Seq", "State"]
