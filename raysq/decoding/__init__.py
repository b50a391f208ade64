"""From a policy to sequences: sampling in training, beam search (greedy: beam 1) at evaluation."""

from raysq.decoding.beam import Hypothesis, beam_search
from raysq.decoding.feeding import mixed_inputs
from raysq.decoding.sampling import Choice, ancestral, greedy, inverse_cdf, sample
from raysq.decoding.tilting import Tilt, given, tilted

__all__ = [
    "Choice",
    "Hypothesis",
    "Tilt",
    "ancestral",
    "beam_search",
    "given",
    "greedy",
    "inverse_cdf",
    "mixed_inputs",
    "sample",
    "tilted",
]
