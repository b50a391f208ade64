import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from raysq.config import DecodingConfig, NetworkConfig, UserError, flatten
from raysq.data.corpus import MAX_LINE_BYTES, sha256_of
from raysq.data.shards import Corpus
from raysq.exported import PARAMETERS, POLICY, ExportedPolicy, PolicyRecord, load_policy, write_policy
from raysq.finished import DecodeSettings, FinishedStage
from raysq.models import EncoderDecoder
from raysq.training import checkpoint
from raysq.training.state import build_policy

NETWORK = NetworkConfig(embedding_size=6, hidden_size=8)
DECODING = DecodingConfig(beam_size=3, max_length=9)
LINES = ["a b c", "", "h g A  q a", "   ", "d"]
"""q is no word that the policy knows."""


def finished_stage(corpus: Corpus, folder: Path) -> Path:
    """The folder of a finished stage, whose policy has large parameters: what it reads matters."""
    corpus.preparation.save(folder / "preparation")
    policy = build_policy(corpus, NETWORK)
    policy.initialise(torch.Generator().manual_seed(1), init_range=1.5)
    tensors = {f"policy.{key}": tensor.detach() for key, tensor in policy.named_parameters()}
    state: dict[str, Any] = {"vocabularies": corpus.preparation.vocabulary_digests}
    checkpoint.save(folder / "checkpoints", 5, tensors, state, best=True)
    record = {"stage": "mle", "algorithm": "Mle", "seed": 1, "version": "v", "run_id": "id", "parents": {}}
    record |= {"network": flatten(NETWORK), "decoding": flatten(DECODING), "data": corpus.digest}
    record |= {"settings": {"learning_rate": 0.5}, "reward": {}, "identity": "0123456789abcdef"}
    (folder / "stage.json").write_text(json.dumps(record))
    result = {"name": "mle", "state": "finished", "updates": 6, "best_update": 5}
    result |= {"stopped_by": "all of 6 updates done", "warnings": [], "seconds": 3.5}
    scores = {"bleu": 12.5, "signature": "nrefs:1|tok:none"}
    (folder / "result.json").write_text(json.dumps({**result, "dev": scores, "test": scores}))
    return folder


@pytest.fixture
def stage(small_corpus: Corpus, tmp_path: Path) -> FinishedStage:
    return FinishedStage.open(finished_stage(small_corpus, tmp_path / "mle-0123456789ab-01234567"))


@pytest.fixture
def stage_of_images(small_captions: Corpus, tmp_path: Path) -> FinishedStage:
    return FinishedStage.open(finished_stage(small_captions, tmp_path / "mle-0123456789ab-01234567"))


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., Path]:
    """Exports a stage into a new folder."""

    def write(stage: FinishedStage, *, detokenise: bool = False, **settings: Any) -> Path:
        folder = tmp_path / f"exported-{len(list(tmp_path.glob('exported-*')))}"
        folder.mkdir()
        write_policy(folder, stage, DecodeSettings(run=stage.folder, **settings), detokenise=detokenise)
        return folder

    return write


def parameters(network: EncoderDecoder) -> dict[str, torch.Tensor]:
    return dict(network.named_parameters())


def same(policy: ExportedPolicy, stage: FinishedStage) -> None:
    expected = parameters(stage.policy("cpu"))
    assert parameters(policy.network).keys() == expected.keys()
    for name, parameter in parameters(policy.network).items():
        assert torch.equal(parameter, expected[name]), name
        assert not parameter.requires_grad


def test_what_left_translates_as_the_stage_does(stage: FinishedStage, export: Any) -> None:
    folder = export(stage)
    settings = DecodeSettings(run=stage.folder)
    sources = [line.lower().split() for line in LINES]
    expected = [found[0].words for found in stage.translator(settings).translate([s for s in sources if s])]
    shutil.rmtree(stage.folder)
    found = load_policy(folder).translate(LINES)
    assert [found[i].split() for i in (0, 2, 4)] == expected
    assert [found[i] for i in (1, 3)] == ["", ""]
    assert len(set(found)) > 2
    assert sorted(path.name for path in folder.iterdir()) == [POLICY, PARAMETERS]


def test_headlines_are_lines_too(small_headlines: Corpus, tmp_path: Path, export: Any) -> None:
    stage = FinishedStage.open(finished_stage(small_headlines, tmp_path / "mle-0123456789ab-01234567"))
    split = small_headlines.splits["test"]
    articles = [split.source_text(i) for i in range(len(split))]
    settings = DecodeSettings(run=stage.folder)
    expected = stage.translator(settings).translate([article.split() for article in articles])
    assert load_policy(export(stage)).translate(articles) == [" ".join(best.words) for best, *_ in expected]


def test_parameters_vocabularies_and_decoding_come_back(
    stage: FinishedStage, export: Any, small_corpus: Corpus
) -> None:
    policy = load_policy(export(stage))
    same(policy, stage)
    assert policy.preparation == small_corpus.preparation
    assert policy.record.decoding == DECODING
    assert (policy.record.stage, policy.record.identity) == ("mle", "0123456789abcdef")
    other = load_policy(export(stage, beam_size=1, unknown="drop")).record
    assert (other.decoding.beam_size, other.decoding.max_length, other.unknown) == (1, 9, "drop")
    assert other.parameters_sha256 == policy.record.parameters_sha256
    assert other.digest != policy.record.digest
    assert load_policy(export(stage)).record == policy.record  # nothing of place or time is in it


def test_unknown_words_as_it_was_told(stage: FinishedStage, export: Any) -> None:
    settings = DecodeSettings(run=stage.folder, unknown="copy")
    many = [" ".join("abcdefghq"[(i * k) % 9] for k in range(1, 7)) for i in range(60)]
    expected = stage.translator(settings).translate([line.split() for line in many])
    kept = load_policy(export(stage)).translate(many)
    assert any("<unk>" in line for line in kept)
    copied = load_policy(export(stage, unknown="copy")).translate(many)
    assert copied == [" ".join(best.words) for best, *_ in expected]
    assert copied != kept


def test_text_where_it_was_asked_for(stage: FinishedStage, export: Any, monkeypatch: Any) -> None:
    words = load_policy(export(stage)).translate(["a b c"])[0].split()
    text = load_policy(export(stage, detokenise=True)).translate(["a b c"])[0]
    assert text == " ".join("⁇" if word == "<unk>" else word for word in words)


def test_what_left_captions_as_the_stage_does(
    stage_of_images: FinishedStage, export: Any, small_captions: Corpus
) -> None:
    features = small_captions.splits["test"].features
    assert features is not None
    rows = features.read(np.arange(len(features)))
    expected = stage_of_images.captioner(DecodeSettings(run=stage_of_images.folder)).caption(rows)
    policy = load_policy(export(stage_of_images))
    same(policy, stage_of_images)
    assert policy.caption(rows) == [" ".join(caption.words) for caption in expected]
    assert len(set(policy.caption(rows))) > 1
    with pytest.raises(UserError, match="reads features of images: use caption"):
        policy.translate(["a"])
    with pytest.raises(UserError, match=r"features must be \[n, 5\], of encoder none"):
        policy.caption(rows[:, :4])
    with pytest.raises(UserError, match="--unknown copy: an image has no words to copy"):
        export(stage_of_images, unknown="copy")


def test_features_are_not_what_a_policy_of_text_reads(stage: FinishedStage, export: Any) -> None:
    with pytest.raises(UserError, match="reads text: use translate"):
        load_policy(export(stage)).caption(np.zeros((1, 5), np.float32))


def test_a_line_without_end_is_refused(stage: FinishedStage, export: Any) -> None:
    with pytest.raises(UserError, match="line 2 has more than 100,000 bytes"):
        load_policy(export(stage)).translate(["a", "a" * (MAX_LINE_BYTES + 1)])


def edit(path: Path, change: Callable[[Any], None]) -> None:
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tree: tree["decoding"].update(beam_size=9), "was changed since it was written"),
        (lambda tree: tree["target_words"].reverse(), "was changed since it was written"),
        (lambda tree: tree.update(digest="0" * 64), "was changed since it was written"),
        (lambda tree: tree.update(version=2), "damaged or of another version of raysq"),
        (lambda tree: tree["network"].update(heads=8), "damaged or of another version of raysq"),
        (lambda tree: tree.pop("unknown"), "damaged or of another version of raysq"),
    ],
)
def test_a_record_that_was_edited_is_refused(
    change: Any, said: str, stage: FinishedStage, export: Any
) -> None:
    folder = export(stage)
    edit(folder / POLICY, change)
    with pytest.raises(UserError, match=f"{said}.*: export the policy again"):
        load_policy(folder)


def forge(folder: Path, change: Callable[[Any], None]) -> None:
    """Edit the record and give it the digest that it must then have."""

    def with_digest(tree: Any) -> None:
        change(tree)
        tree["digest"] = PolicyRecord.model_validate(tree).digest_now()

    edit(folder / POLICY, with_digest)


def test_a_forged_record_fills_no_memory(stage: FinishedStage, export: Any) -> None:
    """Petabytes of parameters are not made room for."""
    folder = export(stage)
    forge(folder, lambda tree: tree["network"].update(hidden_size=2**24))
    with pytest.raises(UserError, match="holds parameters of another network"):
        load_policy(folder)
    forge(folder, lambda tree: tree.update(source_words=["a"]))
    with pytest.raises(UserError, match="a vocabulary starts with <pad>"):
        load_policy(folder)


def test_parameters_that_are_not_those_written_are_refused(stage: FinishedStage, export: Any) -> None:
    folder = export(stage)
    tensors = load_file(folder / PARAMETERS)
    whole = (folder / PARAMETERS).read_bytes()
    (folder / PARAMETERS).write_bytes(whole[:-1])
    with pytest.raises(UserError, match="is not what was written: export the policy again"):
        load_policy(folder)
    (folder / PARAMETERS).unlink()
    with pytest.raises(UserError, match=r"policy\.safetensors: No such file"):
        load_policy(folder)
    halves = {name: tensor.half() for name, tensor in tensors.items()}
    for change, said in ((halves, "of another network"), ({}, "of another network")):
        save_file(change, folder / PARAMETERS)
        sha256 = sha256_of(folder / PARAMETERS)
        forge(folder, lambda tree, sha256=sha256: tree.update(parameters_sha256=sha256))
        with pytest.raises(UserError, match=said):
            load_policy(folder)
    (folder / PARAMETERS).write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    sha256 = sha256_of(folder / PARAMETERS)
    forge(folder, lambda tree: tree.update(parameters_sha256=sha256))
    with pytest.raises(UserError, match="cannot be read"):
        load_policy(folder)


def test_a_folder_without_a_policy_is_asked_about(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no exported policy \(policy\.json\): export the policy"):
        load_policy(tmp_path)
