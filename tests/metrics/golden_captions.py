"""Writes golden_captions.json: generated captions, and what the reference scorers say of them.

.venv/bin/python tests/metrics/golden_captions.py

BLEU, ROUGE-L and CIDEr are those of the COCO evaluation (pycocoevalcap), ROUGE those of rouge-score; all as
the packages give them, as fractions and CIDEr in [0, 10]. The texts have words that differ by an ending
(stems), punctuation (words to the COCO scorers, none to rouge-score), and hypotheses that are empty, very
short and very long.
"""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from rouge_score.rouge_scorer import RougeScorer

GOLDEN = Path(__file__).with_suffix(".json")
NUM_IMAGES, NUM_REFERENCES = 60, 5
COLOURS = ("red", "green", "blue", "grey", "dark-brown")
THINGS = ("boat", "plane", "house", "playground", "tree", "parking lot", "bridge", "field")
PLACES = ("a river", "the sea", "some roads", "a runway", "the grass", "many buildings")
DOING = (("stands", "standing"), ("lies", "lying"), ("waits", "waiting"), ("is parked", "parked"))
WORDS = ("a", "the", "many", "is", "of", "near", "green", "boats", "trees", "building", ",", "road", "and")
KINDS = ("rouge1", "rouge2", "rougeL")


def captions(generator: random.Random) -> list[str]:
    """What can be said of an image, in any order."""
    colour, thing, place = generator.choice(COLOURS), generator.choice(THINGS), generator.choice(PLACES)
    says, doing = generator.choice(DOING)
    ways = [
        f"a {colour} {thing} {says} near {place}",
        f"a {colour} {thing} {doing} beside {place} .",
        f"there are two {colour} {thing}s , {doing} near {place}",
        f"near {place} there is a {thing} , and it {says} still",
        f"many {thing}s are {doing} in the middle of {place} .",
        f"{place} with a {thing} 's shadow on {place} and a {colour} {thing}",
        f"{colour} {thing}s",
    ]
    generator.shuffle(ways)
    return ways


def changed(generator: random.Random, text: str) -> str:
    """The text with some words replaced, lost or said twice."""
    words = []
    for word in text.split():
        fate = generator.random()
        words += [] if fate < 0.1 else [generator.choice(WORDS)] if fate < 0.25 else [word]
        words += [word] if fate > 0.95 else []
    return " ".join(words)


def texts() -> list[dict[str, Any]]:
    """Hypothesis and references of every image."""
    generator = random.Random(1)
    found = []
    for _ in range(NUM_IMAGES):
        *references, of_hypothesis = captions(generator)[: NUM_REFERENCES + 1]
        found.append({"hypothesis": changed(generator, of_hypothesis), "references": references})
    found[7]["hypothesis"] = ""
    found[8]["hypothesis"] = "boats"
    found[9]["hypothesis"] = " and ".join(found[9]["references"][:2])
    return found


def scores(images: list[dict[str, Any]]) -> dict[str, Any]:
    """What the reference scorers say of the corpus, and two of them of every image."""
    references = {i: image["references"] for i, image in enumerate(images)}
    hypotheses = {i: [image["hypothesis"]] for i, image in enumerate(images)}
    bleu, _ = Bleu().compute_score(references, hypotheses, verbose=0)
    rouge_l, rouge_l_of_each = Rouge().compute_score(references, hypotheses)
    cider, cider_of_each = Cider().compute_score(references, hypotheses)
    return {
        "bleu": bleu,
        "rouge_l": float(rouge_l),
        "cider": float(cider),
        "rouge_l_of_each": rouge_l_of_each.tolist(),
        "cider_of_each": cider_of_each.tolist(),
        "rouge": {
            f"{over}{' stemmed' * stemmer}": rouge(images, over, stemmer)
            for over in ("best", "mean")
            for stemmer in (False, True)
        },
    }


def rouge(images: list[dict[str, Any]], over: str, stemmer: bool) -> dict[str, float]:
    """Mean F of rouge-score over images, of the best reference (its ``score_multi``) or the mean of all."""
    scorer = RougeScorer(KINDS, use_stemmer=stemmer)
    means = {}
    for kind in KINDS:
        of_each = []
        for image in images:
            if over == "best":
                of_each.append(scorer.score_multi(image["references"], image["hypothesis"])[kind].fmeasure)
            else:
                each = [
                    scorer.score(text, image["hypothesis"])[kind].fmeasure for text in image["references"]
                ]
                of_each.append(np.mean(each))
        means[kind] = float(np.mean(of_each))
    return means


if __name__ == "__main__":
    made = texts()
    lines = ",\n".join(json.dumps(image) for image in made)
    GOLDEN.write_text(
        f'{{"images": [\n{lines}\n],\n"scores": {json.dumps(scores(made), indent=1)}\n}}\n', encoding="utf-8"
    )
