import json
import random
from typing import Any, NamedTuple

import pytest

from tests.metrics.golden_captions import GOLDEN


class Golden(NamedTuple):
    """60 images, and what the reference scorers say of them."""

    hypotheses: list[str]
    references: list[list[str]]
    scores: dict[str, Any]


@pytest.fixture(scope="session")
def golden() -> Golden:
    read = json.loads(GOLDEN.read_text(encoding="utf-8"))
    hypotheses = [image["hypothesis"] for image in read["images"]]
    references = [image["references"] for image in read["images"]]
    assert len(hypotheses) >= 50
    assert {len(of_one) for of_one in references} == {5}
    return Golden(hypotheses, references, read["scores"])


@pytest.fixture
def random_texts() -> list[tuple[list[str], list[list[str]]]]:
    """60 small corpora: few words, unknown ones too; empty texts; 1 to 5 references a hypothesis."""
    generator = random.Random(1)

    def text() -> str:
        return " ".join(generator.choices(["a", "b", "<unk>"], [6, 4, 1], k=generator.randrange(12)))

    corpora = []
    for _ in range(60):
        size = generator.randint(1, 6)
        references = [[text() for _ in range(generator.randint(1, 5))] for _ in range(size)]
        corpora.append(([text() for _ in range(size)], references))
    return corpora
