from typing import Any

import pytest

import raysq
from raysq.algorithms import ActorCritic
from raysq.card import model_card
from raysq.config import DecodingConfig, NetworkConfig, flatten
from raysq.data.corpus import Fingerprint
from raysq.data.manifest import Manifest
from raysq.data.shards import Corpus
from raysq.records import TrainedRecord
from raysq.tasks import TASKS

SIGNATURE = "nrefs:1|case:mixed|eff:no|tok:none|smooth:none|version:2.6.0"
RESULT: dict[str, Any] = {
    "name": "erac",
    "state": "finished",
    "updates": 3480,
    "best_update": 580,
    "stopped_by": "all of 3480 updates done",
    "warnings": [],
    "seconds": 123.4,
    "dev": {"bleu": 39.824, "sample_bleu": 36.5, "td_error": 0.1, "signature": SIGNATURE},
    "test": {"bleu": 40.731, "sample_bleu": 37.37, "perplexity": 5.1, "signature": SIGNATURE},
}


def record(**changes: Any) -> TrainedRecord:
    told = {"stage": "erac", "algorithm": "ActorCritic", "seed": 3, "version": "v", "run_id": "a run"}
    told |= {"identity": "fedcba9876543210", "parents": {"policy": "0123456789abcdef", "like": "0" * 16}}
    told |= {"network": flatten(NetworkConfig()), "decoding": flatten(DecodingConfig(max_length=77))}
    told |= {"data": "d", "settings": flatten(ActorCritic(tau=0.04)), "reward": {"name": "bleu"}}
    return TrainedRecord.model_validate(told | changes)


def card(manifest: Manifest, result: Any = RESULT, **changes: Any) -> str:
    return model_card(record(**changes), manifest, result, 1_234_567)


def test_a_card_says_what_was_trained_on_what_and_scores_what(small_corpus: Corpus) -> None:
    manifest = small_corpus.manifest
    text = card(manifest)
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == [
        "# ERAC on demo",
        "## Data",
        "## Training",
        "## Scores",
        "## Intended use",
        "## Limits",
    ]
    assert (
        f"A policy of raysq {raysq.__version__}: LSTM encoder-decoder with attention, 1,234,567 parameters, "
        "trained by ActorCritic (stage erac, seed 3, identity `fedcba987654`)."
    ) in text
    assert f"digest `{manifest.digest}`" in text
    dev = manifest.splits["dev"]
    unknown = [100 * dev.unknown[side] / dev.words[side] for side in ("source", "target")]
    assert unknown[0] > 0
    words = [f"{dev.words[side]} | " for side in ("source", "target")]
    shares = [f"{share:.2f} % |" for share in unknown]
    assert f"| dev | 40 | {''.join(words)}{' '.join(shares)}\n" in text
    for name, fingerprint in manifest.inputs.items():
        assert f"| {name} | {fingerprint.name} | {fingerprint.sha256} |" in text
    assert "It knows 8 source and 6 target words (min_count 1)" in text
    assert "3,480 updates (all of 3480 updates done), begun with the policy of stage `0123456789ab`." in text
    assert "It is the checkpoint of update 580, the best on dev." in text
    for option in ("--seed 3", "--erac.tau 0.04", "--network.hidden-size 256", "--decoding.max-length 77"):
        assert f"\n{option}\n" in text
    assert "| BLEU | 39.82 | 40.73 |\n" in text
    assert "| perplexity of the references |  | 5.10 |\n" in text
    assert "td" not in text.partition("## Scores")[2].partition("## Intended")[0]  # the critic's
    assert f"Signatures: `{SIGNATURE}`." in text
    assert "it answers 77 at most" in text
    assert "is of no other use" in text


def test_it_says_nothing_of_place_and_time(small_corpus: Corpus) -> None:
    """The same run has the same card wherever it ran, however long it took."""
    slower = {**RESULT, "seconds": 999.0}
    assert card(small_corpus.manifest, slower, run_id="another") == card(small_corpus.manifest)


def test_what_went_wrong_is_said(small_corpus: Corpus) -> None:
    result = {**RESULT, "state": "diverged", "stopped_by": "loss is nan", "warnings": ["its critic is weak"]}
    text = card(small_corpus.manifest, result)
    assert "- Its training diverged: this is the best checkpoint before that.\n" in text
    assert "(loss is nan)" in text
    assert "- its critic is weak\n" in text


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_task_has_its_use(
    task: Any, small_corpus: Corpus, small_headlines: Corpus, small_captions: Corpus
) -> None:
    corpora = {"translation": small_corpus, "headline": small_headlines, "captioning": small_captions}
    manifest = corpora[task.kind].manifest
    manifest = manifest.model_copy(update={"settings": {**manifest.settings, "task": task.name}})
    text = card(manifest)
    use = text.partition("## Intended use\n\n")[2].partition("\n")[0]
    said = {"translation": "from de to en", "headline": "a headline", "captioning": "what an image shows"}
    assert said[task.kind] in use
    assert ("of no other use" in use) == task.generated
    assert ("Features of images: 5 by none, encoder" in text) == (task.kind == "captioning")


def test_names_of_files_are_no_markdown(small_corpus: Corpus) -> None:
    """Anybody can name a file."""
    hostile = Fingerprint(name="a|b\n## [c](http://d) <script>`e`", sha256="0" * 64)
    manifest = small_corpus.manifest.model_copy(update={"inputs": {"train.source": hostile}})
    settings = {**manifest.settings, "source_language": "`<b>`"}
    text = card(manifest.model_copy(update={"settings": settings}))
    assert r"| a\|b\n## \[c\](http://d) &lt;script>`e` | " in text
    assert "<b>" not in text
