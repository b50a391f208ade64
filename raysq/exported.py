"""A policy in a folder of its own: what translates or captions, without run storage, checkpoints or pickle.

    policy.safetensors    its parameters
    policy.json           ``PolicyRecord``: network, vocabularies, how text is tokenised, how it is decoded

    from raysq.exported import load_policy

    load_policy("exported").translate(["ein Mann schläft ."])

What is loaded is checked against the digests of the record first: of another file, of a cut copy, or of a
record that was edited nothing is used. Nothing that is read can run code.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

import raysq
from raysq.config import DecodingConfig, NetworkConfig, UserError, digest
from raysq.data.corpus import MAX_LINE_BYTES, Tokenise, sha256_of
from raysq.data.detokenisation import Detokenise, moses_detokeniser
from raysq.data.manifest import Manifest
from raysq.data.settings import settings_of
from raysq.data.shards import Preparation
from raysq.data.tokenisation import line_tokeniser
from raysq.data.vocabulary import Vocabulary
from raysq.decoding.captioner import ImageCaptioner
from raysq.decoding.translator import Translator, Unknown
from raysq.files import replace_json
from raysq.finished import DecodeSettings, FinishedStage
from raysq.models import EncoderDecoder, Seq2Seq
from raysq.records import Record, read_record
from raysq.training.state import build_policy

PARAMETERS, POLICY = "policy.safetensors", "policy.json"


class PolicyRecord(Record):
    """policy.json: all of a policy but its parameters."""

    remedy = "export the policy again: python workflows/export.py --run RUN --output-dir FOLDER"

    format: Literal["raysq-policy"]
    version: Literal[1]
    raysq: str
    """Version of the package that wrote it."""
    stage: str
    """Which stage trained it."""
    identity: str
    """Of that stage: digest of its settings, its data and those of the stages it started from."""
    network: NetworkConfig
    decoding: DecodingConfig
    unknown: Unknown
    """What becomes of unknown words."""
    detokenise: bool
    """Whether it answers text, rather than words with spaces between them."""
    preparation: Manifest
    """Of the data it was trained on: how text was tokenised, which features images have."""
    source_words: tuple[str, ...] | None
    """By id; None where the sources are images."""
    target_words: tuple[str, ...]
    parameters_sha256: str
    """Of policy.safetensors."""
    digest: str
    """sha256 of all of the above: the policy's identity."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.source_words is None) != (self.preparation.features is not None):
            raise ValueError("it must have words of the source, or else features of images")
        return self

    def digest_now(self) -> str:
        """What ``digest`` has to be."""
        return digest(self.model_dump(mode="json", exclude={"digest"}))

    def vocabularies(self) -> Preparation:
        """As a stage's folder has them. Raises ValueError where the words are no vocabularies."""
        source = None if self.source_words is None else Vocabulary(self.source_words)
        return Preparation(self.preparation, source, Vocabulary(self.target_words))


@dataclass(frozen=True, slots=True)
class ExportedPolicy:
    """A policy that was loaded, ready for use."""

    record: PolicyRecord
    preparation: Preparation
    network: EncoderDecoder
    tokenise: Tokenise
    """A line of source text to its words, as the training text was tokenised."""
    text_of: Detokenise
    """Words to what is answered."""

    def translate(self, lines: Sequence[str]) -> list[str]:
        """The best translation (headline, for an article) of each line; a blank line has an empty one.

        Raises:
            UserError: it reads images, or a line is over-long.
        """
        words = self.preparation.source_vocabulary
        if words is None or not isinstance(self.network, Seq2Seq):
            raise UserError("this policy reads features of images: use caption")
        for number, line in enumerate(lines, 1):
            if len(line.encode(errors="replace")) > MAX_LINE_BYTES:
                raise UserError(
                    f"line {number} has more than {MAX_LINE_BYTES:,} bytes: cut it into sentences"
                )
        record, target = self.record, self.preparation.target_vocabulary
        translator = Translator(self.network, words, target, record.decoding, record.unknown)
        sources = [self.tokenise(line) for line in lines]
        found = iter(translator.translate([source for source in sources if source]))
        return [self.text_of(next(found)[0].words) if source else "" for source in sources]

    def caption(self, features: NDArray[np.float32]) -> list[str]:
        """The best caption of each image; features [n, F], of the encoder that ``preparation`` names.

        Raises:
            UserError: it reads text, or the features have another size.
        """
        known = self.preparation.manifest.features
        if known is None:
            raise UserError("this policy reads text: use translate")
        if features.ndim != 2 or features.shape[1] != known.size:
            raise UserError(f"features must be [n, {known.size}], of encoder {known.weights}")
        record, target = self.record, self.preparation.target_vocabulary
        drop_unknown = record.unknown == "drop"
        captioner = ImageCaptioner(self.network, target, record.decoding, drop_unknown)
        return [self.text_of(caption.words) for caption in captioner.caption(features.astype(np.float32))]


def write_policy(
    folder: Path, stage: FinishedStage, settings: DecodeSettings, *, detokenise: bool
) -> PolicyRecord:
    """Write a finished stage's policy into a folder that is there, to decode as the settings say.

    Raises:
        UserError: as `FinishedStage.translator` or, where it reads images, `FinishedStage.captioner`.
    """
    preparation = stage.preparation
    of_images = preparation.manifest.features is not None
    decoder: Translator | ImageCaptioner = (
        stage.captioner(settings) if of_images else stage.translator(settings)
    )
    save_file({n: p.detach().cpu() for n, p in decoder.policy.named_parameters()}, folder / PARAMETERS)
    words = preparation.source_vocabulary
    record = PolicyRecord(
        format="raysq-policy",
        version=1,
        raysq=raysq.__version__,
        stage=stage.name,
        identity=str((stage.record().model_extra or {}).get("identity", "")),
        network=stage.network,
        decoding=decoder.decoding,
        unknown=settings.unknown,
        detokenise=detokenise,
        preparation=preparation.manifest,
        source_words=None if words is None else words.words,
        target_words=preparation.target_vocabulary.words,
        parameters_sha256=sha256_of(folder / PARAMETERS),
        digest="",
    )
    record = record.model_copy(update={"digest": record.digest_now()})
    replace_json(folder / POLICY, record.model_dump(mode="json"))
    shutil.copymode(folder / POLICY, folder / PARAMETERS)  # safetensors makes it private to its owner
    return record


def load_policy(folder: Path | str, device: str = "cpu") -> ExportedPolicy:
    """The policy of a folder that workflows/export.py wrote.

    Args:
        folder: with policy.json and policy.safetensors.
        device: where its network is to work, as torch names it.

    Raises:
        UserError: there is none, it is damaged or was changed, or it is of another version.
    """
    folder = Path(folder)
    try:
        record = read_record(folder / POLICY, PolicyRecord)
    except FileNotFoundError:
        raise UserError(f"{folder} holds no exported policy ({POLICY}): {PolicyRecord.remedy}") from None
    try:
        if record.digest != record.digest_now():
            raise ValueError("it was changed since it was written")
        preparation, settings = record.vocabularies(), settings_of(record.preparation)
        tokenise = line_tokeniser(settings, "source")
        text_of = moses_detokeniser(settings.target_language) if record.detokenise else " ".join
    except (ValueError, UserError) as error:
        raise UserError(f"{folder / POLICY}: {error}: {PolicyRecord.remedy}") from error
    network = _network(folder / PARAMETERS, record, preparation)
    return ExportedPolicy(record, preparation, network.to(device), tokenise, text_of)


def _network(path: Path, record: PolicyRecord, preparation: Preparation) -> EncoderDecoder:
    """The network with its parameters; what the file does not hold is not made room for."""
    if sha256_of(path) != record.parameters_sha256:
        raise UserError(f"{path} is not what was written: {PolicyRecord.remedy}")
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read ({error}): {PolicyRecord.remedy}") from error
    try:
        with torch.device("meta"):
            wanted = build_policy(preparation, record.network)
        forms = {name: (p.shape, p.dtype) for name, p in wanted.named_parameters()}
    except (RuntimeError, TypeError, OverflowError):  # of sizes that no tensor has
        forms = {}
    if not forms or {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()} != forms:
        raise UserError(f"{path} holds parameters of another network: {PolicyRecord.remedy}")
    network = build_policy(preparation, record.network)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(tensors[name])
    return network.requires_grad_(False)
