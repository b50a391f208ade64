"""A task of your own: its text, and the settings that suit it. Numbers in words become digits.

python workflows/examples/own_task.py --mle.max-epochs 3
"""

import random
import sys
from pathlib import Path

from raysq.algorithms import Mle
from raysq.data.corpus import GeneratedText
from raysq.data.prepare import prepare
from raysq.data.settings import PrepareSettings
from raysq.recipe import Recipe, Stage
from raysq.tasks import Task
from raysq.workflow import main

DATA = Path("data/numbers")
DIGITS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")

TASK = Task(
    "numbers",
    kind="translation",
    defaults={
        "network.embedding_size": 64,
        "network.hidden_size": 64,
        "mle.optimizer": "adam",
        "mle.learning_rate": 3e-3,
        "mle.max_epochs": 10,
    },
)
RECIPE = Recipe("numbers", stages=(Stage("mle", Mle()),), tasks=(TASK,))


def text(amount: int) -> GeneratedText:
    """Pairs such as ``one thousand two hundred thirty five`` and ``1 2 3 5``."""
    draws, pairs = random.Random(1), []
    for _ in range(amount):
        k, h, t, o = draws.randrange(9), draws.randrange(9), draws.randrange(8), draws.randrange(9)
        words = f"{DIGITS[k]} thousand {DIGITS[h]} hundred {TENS[t]} {DIGITS[o]}"
        pairs.append((words, f"{k + 1} {h + 1} {t + 2} {o + 1}"))
    a, b = amount // 10, amount // 5
    return GeneratedText("numbers", {"test": pairs[:a], "dev": pairs[a:b], "train": pairs[b:]})


def run(arguments: list[str]) -> int:
    """Write the data, unless it is there, and train; further arguments are those of any workflow."""
    settings = {"task": "tsv", "train": "not read", "min_count": 1, "output_dir": DATA}
    data = prepare(PrepareSettings.model_validate(settings), text(2000)).folder
    return main(RECIPE, __doc__, ["--task", "numbers", "--data-dir", str(data), *arguments])


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
