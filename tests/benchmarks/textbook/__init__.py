"""The textbook form of our updates and decoders: the baseline that speed is measured against.

What a competent engineer writes from the papers in plain batched PyTorch, with nothing of what makes ours
fast: padded batches, full [B, T, V] tensors, autograd through everything, one attention score a pair of
positions, torch's default kernels and optimisers, masks multiplied at the end. It works on our own networks,
so that both forms start from the same parameters; at dropout 0 loss terms and gradients are equal.

Ours it shares: the networks' parameters, the proposals' draws and the reward function, which have benchmarks
of their own.
"""

from tests.benchmarks.textbook.beam import beam_search
from tests.benchmarks.textbook.sampling import sample
from tests.benchmarks.textbook.updates import Update, update_of

__all__ = ["Update", "beam_search", "sample", "update_of"]
