"""Words in, words out: a policy with its vocabularies, and what becomes of unknown words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence

from raysq.config import DecodingConfig
from raysq.data.vocabulary import Vocabulary
from raysq.decoding.attention import attention_weights
from raysq.decoding.beam import Hypothesis, beam_search
from raysq.models import EncoderDecoder, Seq2Seq
from raysq.types import BOS, EOS, PAD, UNK, Memory

Unknown = Literal["keep", "drop", "copy"]
"""What becomes of an unknown word: it stays as ``<unk>``, is left out, or is replaced by the source word with
most attention when it was emitted."""


class Translation(NamedTuple):
    """A decoded sentence."""

    words: list[str]
    score: float
    """As `Hypothesis.score`, of the sequence as it was decoded."""


@dataclass(frozen=True, slots=True)
class Translator:
    """Translates tokenised sentences with a policy."""

    policy: EncoderDecoder
    source_vocabulary: Vocabulary
    target_vocabulary: Vocabulary
    decoding: DecodingConfig
    unknown: Unknown = "keep"

    def translate(
        self,
        sources: Sequence[Sequence[str]],
        num_best: int = 1,
        advance: Callable[[int], object] = lambda count: None,
    ) -> list[list[Translation]]:
        """The ``num_best`` best translations of each source, best first.

        Args:
            sources: words of each sentence, tokenised as the training data was.
            num_best: at most the beam size.
            advance: is told how many sentences were translated, after each batch.
        """
        by_length = sorted(range(len(sources)), key=lambda i: -len(sources[i]))  # little padding
        found: dict[int, list[Translation]] = {}
        for start in range(0, len(sources), self.decoding.batch_size):
            batch = by_length[start : start + self.decoding.batch_size]
            translations = self._translate_batch([sources[i] for i in batch], num_best)
            found.update(zip(batch, translations, strict=True))
            advance(len(batch))
        return [found[i] for i in range(len(sources))]

    @torch.no_grad()
    def _translate_batch(self, sources: Sequence[Sequence[str]], num_best: int) -> list[list[Translation]]:
        memory = self._encode(sources)
        results = beam_search(
            self.policy,
            memory,
            beam_size=self.decoding.beam_size,
            max_length=self.decoding.max_length,
            length_exponent=self.decoding.length_normalisation,
            num_best=num_best,
        )
        return [
            [Translation(self._words(h, source, memory, row), h.score) for h in hypotheses]
            for row, (source, hypotheses) in enumerate(zip(sources, results, strict=True))
        ]

    def _encode(self, sources: Sequence[Sequence[str]]) -> Memory:
        ids = [torch.tensor([*self.source_vocabulary.encode(words).tolist(), EOS]) for words in sources]
        padded = pad_sequence(ids, batch_first=True, padding_value=PAD).to(self.policy.output.weight.device)
        return self.policy.encode(padded, padded != PAD)

    def _words(self, hypothesis: Hypothesis, source: Sequence[str], memory: Memory, row: int) -> list[str]:
        """The hypothesis in words; where the source has none, there is nothing to copy and unk is dropped."""
        tokens = hypothesis.tokens
        words = self.target_vocabulary.decode(tokens)
        if self.unknown == "keep" or UNK not in tokens:
            return words
        if self.unknown == "copy" and source:
            assert isinstance(self.policy, Seq2Seq)  # no other has attention that can be looked at
            device = memory.states.device
            inputs = torch.tensor([[BOS, *tokens[:-1]]], device=device)
            weights = attention_weights(
                self.policy, memory.select(torch.tensor([row], device=device)), inputs
            )
            attended = weights[0, :, : len(source)].argmax(1).tolist()  # eos is no word
            return [source[p] if t == UNK else w for t, w, p in zip(tokens, words, attended, strict=True)]
        return [word for token, word in zip(tokens, words, strict=True) if token != UNK]
