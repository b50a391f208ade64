from collections.abc import Callable
from itertools import product

import pytest
import torch

from raysq.models import Seq2Seq
from raysq.types import BOS, EOS, PAD, UNK, Memory

Words = tuple[int, ...]


@pytest.fixture
def make_policy(float64: None) -> Callable[..., Seq2Seq]:
    """Small policies over the actions eos, unk and two words, far from uniform."""

    def make(*, input_feeding: bool = False, seed: int = 1, init_range: float = 1.0) -> Seq2Seq:
        policy = Seq2Seq(
            9, 6, embedding_size=5, hidden_size=6, attention="dot", input_feeding=input_feeding,
            attention_bias=False,
        )  # fmt: skip
        policy.initialise(torch.Generator().manual_seed(seed), init_range)
        return policy

    return make


@pytest.fixture
def encode() -> Callable[[Seq2Seq, int], Memory]:
    """The first so many of some source sentences, encoded."""
    sources = torch.tensor(
        [[4, 5, 6, 7, EOS], [8, 5, EOS, 0, 0], [EOS, 0, 0, 0, 0], [6, 6, 6, EOS, 0], [7, 8, 4, 4, EOS]]
    )

    def encode_first(policy: Seq2Seq, count: int) -> Memory:
        with torch.no_grad():
            return policy.encode(sources[:count], sources[:count] != PAD)

    return encode_first


@pytest.fixture
def log_probs_of() -> Callable[[Seq2Seq, Memory, Words], list[float]]:
    """log pi of each word and of the eos after them for one source, teacher-forced over the actions alone."""

    @torch.no_grad()
    def log_probs(policy: Seq2Seq, memory: Memory, words: Words) -> list[float]:
        features = policy.features(memory, torch.tensor([[BOS, *words]]))[0]
        logits = features @ policy.output.weight.t() + policy.output.bias
        log_pi = torch.log_softmax(logits[:, EOS:], 1)
        return [float(log_pi[t, word - EOS]) for t, word in enumerate((*words, EOS))]

    return log_probs


@pytest.fixture
def all_words() -> Callable[[int], list[Words]]:
    """Every sequence of at most so many of the words 3, 4, 5."""
    return lambda most: [words for length in range(most + 1) for words in product((UNK, 4, 5), repeat=length)]
