"""A finished run, opened for use: its policy and its vocabularies, out of the folder of one stage alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from raysq.addresses import Place
from raysq.algorithms import ALGORITHMS, Algorithm, Networks
from raysq.config import Config, DecodingConfig, NetworkConfig, Scalar, UserError
from raysq.data.shards import Preparation
from raysq.decoding.captioner import ImageCaptioner
from raysq.decoding.translator import Translator, Unknown
from raysq.models import EncoderDecoder, Seq2Seq
from raysq.own import own_name
from raysq.records import (
    RESULT,
    SETTINGS,
    STAGE,
    ModelRecord,
    ResultRecord,
    SettingsRecord,
    StageRecord,
    StageResultRecord,
    TrainedRecord,
    first_reason,
    read_record,
)
from raysq.rewards.settings import RewardSettings
from raysq.storage import pull, pull_each
from raysq.terminal import as_started
from raysq.training.job import local_device
from raysq.training.stage import PREPARATION
from raysq.training.state import build_critic, build_policy, load_network, read_result


class DecodeSettings(Config):
    """Which finished run decodes, and how."""

    run: Place
    """Output folder of a workflow that is finished, or the folder of a finished stage; path or address."""
    stage: str | None = None
    """Stage of the workflow; none: the last one that trains a policy and is no control."""
    beam_size: int | None = Field(None, ge=1)
    """Hypotheses kept per sentence; none, here and below: as the run itself decoded [hypotheses]."""
    max_length: int | None = Field(None, ge=1)
    """Longest hypothesis, its eos counted [tokens]."""
    length_normalisation: float | None = Field(None, ge=0)
    """Exponent a in log p(y) / |y|^a, by which hypotheses are ranked; 0 ranks by their sum."""
    batch_size: int | None = Field(None, ge=1)
    """Decoded together [sentences]."""
    unknown: Unknown = "keep"
    """What becomes of an unknown word: it stays <unk>, is dropped, or becomes a copy of the source word with
    most attention."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network runs; auto takes a GPU where this machine has any."""


@dataclass(frozen=True, slots=True)
class FinishedStage:
    """A finished stage that trained a policy."""

    name: str
    folder: Path
    network: NetworkConfig
    decoding: DecodingConfig
    """As the run itself decoded."""
    preparation: Preparation
    data_digest: str
    """Of the data it was trained on."""
    best_update: int

    @classmethod
    def open(
        cls, run: Path, stage: str | None = None, network: type[NetworkConfig] = NetworkConfig
    ) -> FinishedStage:
        """Read what is needed of a workflow's output folder (one stage of it) or of a stage's folder.

        Args:
            run: the folder.
            stage: which stage; none: the last one that trains a policy and is no control.
            network: class of the settings of its networks, a user's own where it was trained with that.

        Raises:
            UserError: it is missing, unfinished or damaged, trains no policy, or its networks are of another
                class.
        """
        pull(run, tensors=False)
        folder = run if (run / STAGE).is_file() else _stage_of(run, stage)
        pull(folder)
        record = read_record(folder / STAGE, ModelRecord)
        if stage not in (None, record.stage):
            raise UserError(f"--stage {stage}: {folder} is stage {record.stage}: leave --stage out")
        if not (folder / RESULT).is_file():
            raise UserError(
                f"stage {record.stage} in {folder} is not finished: repeat the command that trains it"
            )
        if not (folder / PREPARATION).is_dir():
            raise UserError(
                f"{folder} lacks {PREPARATION}/, its vocabularies: copy the whole folder, or train again"
            )
        result = read_record(folder / RESULT, StageResultRecord)
        if not result.has_policy:
            raise UserError(f"stage {record.stage} in {folder} trains no policy: give a stage that does")
        return cls(
            record.stage,
            folder,
            _network(record, folder, network),
            record.decoding,
            Preparation.load(folder / PREPARATION),
            record.data,
            result.best_update,
        )

    def policy(self, device: str) -> EncoderDecoder:
        """The policy of its best checkpoint.

        Raises:
            UserError: the checkpoint is missing, damaged, of another format or of other vocabularies.
        """
        policy = build_policy(self.preparation, self.network)
        digests = self.preparation.vocabulary_digests
        load_network(policy, self.folder, "policy", self.best_update, digests)
        return policy.to(device).requires_grad_(False)

    def algorithm(self) -> Algorithm:
        """What trained it, with its settings.

        Raises:
            UserError: another version of raysq wrote them, or the algorithm is a user's own.
        """
        record = self._package_record("algorithm")
        known = {algorithm.__name__: algorithm for algorithm in ALGORITHMS}
        try:
            return known[record.algorithm].model_validate(_nested(record.settings))
        except (KeyError, TypeError, AttributeError, ValidationError) as error:  # a key may be under no group
            raise UserError(
                f"{self.folder / STAGE} names {record.algorithm} with settings that this version of raysq "
                "does not know: use the version that trained it, or train it again"
            ) from error

    def reward(self) -> RewardSettings:
        """What its samples earned; the published reward where none was scored.

        Raises:
            UserError: another version of raysq wrote it, or it is a user's own.
        """
        try:
            return RewardSettings.model_validate(self._package_record("reward").reward)
        except ValidationError as error:
            raise UserError(
                f"{self.folder / STAGE} has a reward that this version of raysq does not know "
                f"({first_reason(error)}): use the version that trained it, or train it again"
            ) from error

    def networks(self, device: str) -> Networks:
        """Its policy and, where its algorithm works with one, the critic or the oracle.

        These are of the stage's own best checkpoint if it trained them, else of the stage that did, which
        lies beside it in the store. Raises UserError as `policy` and `algorithm`, and where that stage is
        gone.
        """
        algorithm, policy = self.algorithm(), self.policy(device)
        if algorithm.critic_form is None:
            return Networks(policy)
        folder = self.folder if "critic" in algorithm.trains else self._parent("critic")
        critic = build_critic(self.preparation, self.network, algorithm.critic_form)
        update = read_result(folder)["best_update"]
        load_network(critic, folder, "critic", update, self.preparation.vocabulary_digests)
        return Networks(policy, critic.to(device).requires_grad_(False))

    def record(self) -> TrainedRecord:
        """What its stage.json says of how it was trained. Raises UserError where the file is damaged."""
        return read_record(self.folder / STAGE, TrainedRecord)

    def _package_record(self, part: str) -> TrainedRecord:
        """As `record`, of a stage whose algorithm or reward is the package's. Raises UserError where not."""
        record = self.record()
        if part in record.own:
            raise UserError(
                f"stage {self.name} in {self.folder} was trained with {part} {record.own[part]} of a file "
                "outside raysq: this command does not know it, evaluate and translate can do without"
            )
        return record

    def _parent(self, role: str) -> Path:
        """Folder of the finished stage that gave the network of this role; of several the one that the same
        sources trained."""
        record = self.record()
        identity = record.parents.get(role, "")[:12]
        if not identity:
            raise UserError(f"{self.folder / STAGE} does not say where its {role} is from: {record.remedy}")
        pattern = f"*-{escape(identity)}-*/{RESULT}"
        pull_each(self.folder.parent, pattern)
        found = [path.parent for path in self.folder.parent.glob(pattern)]
        if len(found) > 1:
            of = {folder: read_record(folder / STAGE, StageRecord).version for folder in found}
            found = [folder for folder in found if of[folder] == record.version]
        if len(found) != 1:
            raise UserError(
                f"the {role} of stage {self.name} is that of the stage *-{identity}-*, of which there is "
                f"{'more than one' if found else 'none'} beside {self.folder}: put that folder there, alone"
            )
        pull(found[0])
        return found[0]

    def translator(self, settings: DecodeSettings) -> Translator:
        """Its policy, decoding as the settings say and otherwise as the run did.

        Raises UserError as `policy`, and where it reads images, or cannot say which word to copy.
        """
        words, policy = self.preparation.source_vocabulary, self.policy(local_device(settings.device))
        if words is None:
            raise UserError(f"stage {self.name} in {self.folder} reads images: use {as_started('caption')}")
        if settings.unknown == "copy" and not isinstance(policy, Seq2Seq):
            raise UserError("--unknown copy: this policy is no network of raysq: give keep or drop")
        target, decoding = self.preparation.target_vocabulary, self._decoding(settings)
        return Translator(policy, words, target, decoding, settings.unknown)

    def captioner(self, settings: DecodeSettings) -> ImageCaptioner:
        """Its policy over features of images, likewise.

        Raises UserError as `policy`, and where it reads text or unknown words are to be copied.
        """
        if self.preparation.manifest.features is None:
            raise UserError(f"stage {self.name} in {self.folder} reads text: use {as_started('translate')}")
        if settings.unknown == "copy":
            raise UserError("--unknown copy: an image has no words to copy: give keep or drop")
        policy, target = self.policy(local_device(settings.device)), self.preparation.target_vocabulary
        return ImageCaptioner(policy, target, self._decoding(settings), settings.unknown == "drop")

    def _decoding(self, settings: DecodeSettings) -> DecodingConfig:
        names = DecodingConfig.model_fields.keys() & DecodeSettings.model_fields.keys()
        given = {name: getattr(settings, name) for name in names}
        return self.decoding.model_copy(update={k: v for k, v in given.items() if v is not None})


def _network(record: ModelRecord, folder: Path, kind: type[NetworkConfig]) -> NetworkConfig:
    """The settings of a stage's networks, of the class that it was trained with."""
    own = record.own.get("network")
    if own != own_name(kind):
        raise UserError(
            f"stage {record.stage} in {folder} has networks of {own or 'raysq'}, not of "
            f"{own_name(kind) or 'raysq'}: open it in Python with the class that it was trained with, "
            "FinishedStage.open(run, network=CLASS)"
        )
    try:
        return kind.model_validate(record.network)
    except ValidationError as error:
        reason = f"network.{first_reason(error)}"
        raise UserError(
            f"{folder / STAGE} is damaged or of another version of raysq ({reason}): {record.remedy}"
        ) from error


def data_dir_of(run: Path) -> Path:
    """The prepared data that a workflow was trained on, as its output folder says.

    Raises:
        UserError: it does not say, as the folder of a stage does not.
    """
    path = run / SETTINGS
    data_dir = read_record(path, SettingsRecord).data_dir if path.is_file() else None
    if data_dir is None:
        raise UserError(f"{run} does not say where its data lies: give --data-dir")
    return data_dir


def _nested(flat: Mapping[str, Scalar]) -> dict[str, Any]:
    """Settings by dotted key as a tree."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *path, name = key.split(".")
        node = tree
        for section in path:
            node = node.setdefault(section, {})
        node[name] = value
    return tree


def _stage_of(run: Path, name: str | None) -> Path:
    """Folder of a stage of a workflow."""
    if not run.is_dir():
        raise UserError(f"--run {run}: no such folder: {as_started('runs')} lists what there is")
    if not (run / RESULT).is_file():
        raise UserError(
            f"{run} holds no finished run: repeat the command that trains it, or give --run the folder of a "
            f"stage that is finished; {as_started('runs')} lists what there is"
        )
    stages = [entry for entry in read_record(run / RESULT, ResultRecord).stages if entry.has_policy]
    for entry in reversed(stages):
        if name not in (None, entry.name):
            continue
        pull(entry.folder, tensors=False)
        if not (entry.folder / STAGE).is_file():
            raise UserError(
                f"stage {entry.name} of {run} is no longer in {entry.folder}: give its new place with --run"
            )
        if name or not read_record(entry.folder / STAGE, StageRecord).control:
            return entry.folder
    raise UserError(
        f"{run} has no such stage with a policy: --stage must be one of {', '.join(e.name for e in stages)}"
    )
