import numpy as np
import pytest
import torch

from raysq.config import DecodingConfig
from raysq.data.vocabulary import Vocabulary
from raysq.decoding.captioner import ImageCaptioner
from raysq.models import Captioner
from raysq.types import BOS, EOS, SPECIALS, UNK

WORDS = Vocabulary((*SPECIALS, "a", "red", "square"))
FEATURES = np.random.default_rng(4).normal(size=(7, 3)).astype(np.float32)


def policy() -> Captioner:
    network = Captioner([0.0] * 3, [1.0] * 3, len(WORDS), embedding_size=4, hidden_size=5)
    network.initialise(torch.Generator().manual_seed(52), 2.0)
    return network.double()


def captioner(drop_unknown: bool = False, **decoding: float) -> ImageCaptioner:
    settings = DecodingConfig.model_validate({"beam_size": 3, "max_length": 6, **decoding})
    return ImageCaptioner(policy(), WORDS, settings, drop_unknown)


@torch.no_grad()
def log_prob(features: np.ndarray, words: list[str]) -> float:
    """Of a caption and its eos, word by word, among what may stand there."""
    network = policy()
    memory = network.encode(torch.from_numpy(features)[None, None], torch.ones(1, 1, dtype=torch.bool))
    tokens = [*WORDS.encode(words).tolist(), EOS]
    hidden = network.features(memory, torch.tensor([[BOS, *tokens[:-1]]]))[0]
    logits = (hidden @ network.output.weight.t() + network.output.bias)[:, EOS:]
    return float(logits.log_softmax(1)[range(len(tokens)), [token - EOS for token in tokens]].sum())


@pytest.mark.parametrize("exponent", [0.0, 0.7])
def test_log_probabilities_are_those_of_the_words_whatever_ranks_them(exponent: float) -> None:
    captions = captioner(length_normalisation=exponent).caption(FEATURES)
    assert len({tuple(words) for words, _ in captions}) > 2
    for image, (words, told) in zip(FEATURES, captions, strict=True):
        assert told == pytest.approx(log_prob(image, words), abs=1e-9)


def test_captions_do_not_depend_on_the_batches_and_keep_the_order() -> None:
    together = captioner().caption(FEATURES)
    assert [c.words for c in captioner(batch_size=2).caption(FEATURES)] == [c.words for c in together]
    backwards = captioner(batch_size=3).caption(FEATURES[::-1].copy())
    assert [c.words for c in backwards[::-1]] == [c.words for c in together]


def test_unknown_words_stay_or_are_dropped() -> None:
    kept, dropped = captioner().caption(FEATURES), captioner(drop_unknown=True).caption(FEATURES)
    assert any(SPECIALS[UNK] in words for words, _ in kept)
    assert [[word for word in words if word != SPECIALS[UNK]] for words, _ in kept] == [
        words for words, _ in dropped
    ]
    assert [c.log_prob for c in dropped] == [c.log_prob for c in kept]
