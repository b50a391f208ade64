"""From a policy to sequences: ancestral sampling in training, beam search (greedy: beam 1) at evaluation."""

from raysq.decoding.beam import Hypothesis, beam_search
from raysq.decoding.sampling import sample

__all__ = ["Hypothesis", "beam_search", "sample"]
