"""Text of your own in, a trained and scored model out.

python workflows/examples/own_text.py --pairs pairs.tsv
"""

import sys
from pathlib import Path

from pydantic import Field

from raysq.algorithms import Mle
from raysq.commandline import run_command
from raysq.config import Config
from raysq.data.prepare import prepare
from raysq.data.settings import PrepareSettings
from raysq.data.shards import Corpus
from raysq.finished import DecodeSettings, FinishedStage
from raysq.metrics.bleu import corpus_bleu
from raysq.recipe import Recipe, Stage
from raysq.tasks.text import given
from raysq.workflow import main as train

RECIPE = Recipe("own_text", stages=(Stage("mle", Mle(optimizer="adam", learning_rate=1e-3)),))


class OwnText(Config):
    """Where the pairs are, and where everything goes."""

    pairs: Path
    """Lines SOURCE TAB TARGET, plain or ``.gz``."""
    place: Path = Path("runs/own_text")
    """Folder for the prepared data, the run and its scores."""
    max_epochs: int = Field(10, ge=1)
    """Passes over the training data. [epochs]"""
    num_learners: int = Field(1, ge=0)
    """Processes that train; 0: this one does, without Ray."""


def main(settings: OwnText) -> int:
    """Prepare, train, translate the test split and score it."""
    how = {"tokeniser": "moses", "min_count": 1, "max_ratio": 9.0, "output_dir": settings.place / "data"}
    preparation = PrepareSettings.model_validate({"task": "tsv", "train": settings.pairs, **how})
    data = prepare(preparation, given(preparation).text).folder
    run, test = settings.place / "run", Corpus.load(data).splits["test"]
    options = {"task": "tsv", "data-dir": data, "output-dir": run, "mle.max-epochs": settings.max_epochs}
    options["num-learners"] = settings.num_learners
    if status := train(RECIPE, __doc__, [f"--{name}={value}" for name, value in options.items()]):
        return status
    translator = FinishedStage.open(run).translator(DecodeSettings(run=run))
    found = translator.translate([test.source_text(i).split() for i in range(len(test))])
    hypotheses = [" ".join(best.words) for best, *_ in found]
    score = corpus_bleu(hypotheses, [test.reference_texts(i) for i in range(len(test))])
    print(f"test BLEU {score.bleu:.2f} ({score.signature}); {test.source_text(0)} -> {hypotheses[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(OwnText, main, description=__doc__))
