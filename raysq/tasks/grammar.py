"""The demo corpus: a generated German-English parallel text, and what its own paraphrases score.

The corpus is drawn from a synchronous grammar (``raysq.tasks.demo_grammar``) and is a function of the data
seed alone. A sentence's English wording is drawn at random, plainly or elaborately, so that a translation can
be right and yet score below 100: ``paraphrase_ceiling`` says how far below.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import sacrebleu

from raysq.config import UserError
from raysq.tasks.demo_grammar.english import english
from raysq.tasks.demo_grammar.german import german
from raysq.tasks.demo_grammar.meaning import Sentence
from raysq.tasks.demo_grammar.sentences import draw_sentence
from raysq.tasks.demo_grammar.wording import Wording

DEFAULT_SIZES: Mapping[str, int] = {"train": 4000, "dev": 300, "test": 300}
MIN_WORDS, MAX_WORDS = 5, 24
"""Sentences outside these lengths, punctuation counted, are drawn again, on either side."""
_ATTEMPTS_PER_PAIR = 50

Wanted = Literal["draw", "likeliest", "consensus"]


@dataclass(frozen=True, slots=True)
class Derivation:
    """One pair with the meaning it was said from."""

    meaning: Sentence
    source: str
    """The German sentence, tokens parted by spaces."""
    reference: str
    """The English wording recorded in the corpus."""


def derivations(seed: int = 0, sizes: Mapping[str, int] = DEFAULT_SIZES) -> dict[str, list[Derivation]]:
    """The corpus with its meanings: the splits in the order of ``sizes``, disjoint in the German sentence.

    Args:
        seed: the data seed; the corpus of a task never changes with the seed of training.
        sizes: pairs per split.

    Raises:
        UserError: if more pairs are asked for than the grammar yields in 50 attempts a pair.
    """
    draws = random.Random(seed)
    total = sum(sizes.values())
    seen: set[str] = set()
    drawn: list[Derivation] = []
    for _ in range(_ATTEMPTS_PER_PAIR * total):
        if len(drawn) == total:
            break
        meaning = draw_sentence(draws)
        source = german(meaning)
        reference = english(meaning, Wording(draws, meaning.style))
        lengths = (len(source.split()), len(reference.split()))
        if source in seen or min(lengths) < MIN_WORDS or max(lengths) > MAX_WORDS:
            continue
        seen.add(source)
        drawn.append(Derivation(meaning, source, reference))
    if len(drawn) < total:
        raise UserError(f"sizes: the demo grammar gave {len(drawn)} of {total} distinct pairs; ask for fewer")
    rest = iter(drawn)
    return {split: [next(rest) for _ in range(size)] for split, size in sizes.items()}


def generate(seed: int = 0, sizes: Mapping[str, int] = DEFAULT_SIZES) -> dict[str, list[tuple[str, str]]]:
    """The corpus: per split (German, English) pairs, lower-cased, tokens parted by spaces.

    Args:
        seed: the data seed.
        sizes: pairs per split.

    Raises:
        UserError: if ``sizes`` asks for more pairs than the grammar has.
    """
    drawn = derivations(seed, sizes)
    return {split: [(item.source, item.reference) for item in items] for split, items in drawn.items()}


def paraphrases(derivation: Derivation, count: int, seed: int) -> list[str]:
    """``count`` English wordings drawn anew, independently, for the derivation's German sentence."""
    draws = random.Random(f"{seed} {derivation.source}")
    meaning = derivation.meaning
    return [english(meaning, Wording(draws, meaning.style)) for _ in range(count)]


def paraphrase_ceiling(
    split: str,
    seed: int = 1,
    wanted: Wanted = "draw",
    draws: int = 24,
    corpus: Mapping[str, Sequence[Derivation]] | None = None,
) -> float:
    """Corpus BLEU (sacreBLEU, tokenize none, one reference) of the grammar against its recorded references.

    Args:
        split: the split to score.
        seed: seeds the fresh draws.
        wanted: ``draw``, one fresh draw; ``likeliest``, the most frequent of ``draws``; ``consensus``, the
            one that agrees best with the others (minimum Bayes risk with sentence BLEU, add-one smoothed).
        draws: fresh draws per sentence for the last two.
        corpus: as from ``derivations``; the default corpus if None.
    """
    items = (corpus if corpus is not None else derivations())[split]
    count = 1 if wanted == "draw" else draws
    options = [paraphrases(item, count, seed) for item in items]
    choose = {"draw": _first, "likeliest": _likeliest, "consensus": _consensus}[wanted]
    hypotheses = [choose(drawn) for drawn in options]
    references = [[item.reference for item in items]]
    return float(sacrebleu.corpus_bleu(hypotheses, references, tokenize="none", force=True).score)


def _first(options: Sequence[str]) -> str:
    return options[0]


def _likeliest(options: Sequence[str]) -> str:
    return Counter(options).most_common(1)[0][0]


def _consensus(options: Sequence[str]) -> str:
    counted = Counter(options)
    scorer = sacrebleu.BLEU(
        tokenize="none", smooth_method="add-k", smooth_value=1, effective_order=True, force=True
    )

    def gain(candidate: str) -> float:
        return sum(n * scorer.sentence_score(candidate, [other]).score for other, n in counted.items())

    return max(counted, key=gain)
