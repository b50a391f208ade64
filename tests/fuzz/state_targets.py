"""Readers of run storage: checkpoints, journals, the JSON files of runs, stages and sweeps."""

from __future__ import annotations

import atexit
import hashlib
import json
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch

from raysq.algorithms import ActorCritic
from raysq.cluster.ready import Outcome
from raysq.config import DecodingConfig, NetworkConfig, UserError, flatten
from raysq.data.corpus import GeneratedText
from raysq.data.prepare import PrepareSettings, prepare
from raysq.data.shards import Corpus
from raysq.delivery import Delivery
from raysq.exported import PARAMETERS, POLICY, PolicyRecord, load_policy, write_policy
from raysq.finished import DecodeSettings, FinishedStage, data_dir_of
from raysq.inventory import take_inventory
from raysq.records import write_plan
from raysq.rewards.settings import RewardSettings
from raysq.sweep.graph import Graph, known_rates
from raysq.sweep.outcomes import Outcomes
from raysq.sweep.plans import Trials, planned
from raysq.sweep.results import last_score, outcome_of, row_of
from raysq.sweep.runs import SweepRuns
from raysq.sweep.settings import TuneSettings
from raysq.sweep.show import best_text, closing_table
from raysq.sweep.space import Arm, Space
from raysq.training import checkpoint, journal
from raysq.training.state import build_critic, build_policy
from tests.fuzz.harness import Target
from workflows.tune import recipe_named

NETWORK = NetworkConfig(embedding_size=4, hidden_size=4)
HERE = "/here"
"""Stands for the folder of an input in its files, which are read elsewhere than they were made."""
TOKENS = (b"null", b"true", b"NaN", b"-1", b"1e999", b"{}", b"[]", b'""', b'"\\u0000"', b"\xff", b"\n")
"""What breaks readers of JSON."""
SPACE = Space("small", "Small", (Arm("MLE", "mle"),), seeds=(1,))
SETTINGS = TuneSettings(space="small", tracking_uri="http://host:5000")


class StubTracker:
    """Takes everything, knows nothing."""

    uri = "sqlite:////nowhere/mlflow.db"

    def last_steps(self, run_id: str) -> dict[str, int]:
        return {}

    def log_points(self, run_id: str, points: Any) -> None:
        assert all(isinstance(point.value, float) for point in points)


def scratch() -> Path:
    """A new folder that is gone with this process."""
    folder = Path(tempfile.mkdtemp(prefix="raysq-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def corpus() -> Corpus:
    """A prepared corpus of a few words, made once for all inputs: its readers are other targets."""
    pairs = [("a b c", "u v"), ("c d", "v w x"), ("e f", "x y z")]
    text = GeneratedText("small", {"train": pairs, "dev": pairs, "test": pairs})
    folder = scratch() / "data"
    prepare(PrepareSettings(output_dir=folder, min_count=1, max_ratio=0), text)
    return Corpus.load(folder)


def record_of(name: str, algorithm: Any, **given: Any) -> dict[str, Any]:
    """A stage's stage.json."""
    return {
        "identity": name[0] * 64,
        "version": "v" * 64,
        "stage": name,
        "algorithm": type(algorithm).__name__,
        "settings": flatten(algorithm),
        "network": flatten(NETWORK),
        "decoding": flatten(DecodingConfig()),
        "reward": flatten(RewardSettings()),
        "seed": 1,
        "data": corpus().digest,
        "parents": {"policy": "m" * 64, "critic": "c" * 64},
        "run_id": "r" * 32,
        **given,
    }


def result_of(name: str) -> dict[str, Any]:
    """A stage's result.json."""
    scores = {"td_error": 0.5, "bleu": 12.5, "signature": "nrefs:1", "calibration": []}
    return {
        "name": name,
        "state": "finished",
        "stopped_by": "all of 6 updates done",
        "warnings": [],
        "updates": 6,
        "best_update": 5,
        "seconds": 2.5,
        "reward_calls": 10,
        "scores": [[5, 12.5]],
        "gradient_noise": None,
        "dev": scores,
        "test": scores,
    }


def dump(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


# -- checkpoints


def make_checkpoints(folder: Path) -> None:
    tensors = {"policy.weight": torch.ones(2, 3), "policy.bias": torch.zeros(2)}
    state: dict[str, Any] = {"update": 3, "vocabularies": {"target": "0" * 64}, "scores": [[1, 2.5]]}
    checkpoint.save(folder / "checkpoints", 3, tensors, state, best=True)
    checkpoint.save(folder / "checkpoints", 5, tensors, {**state, "update": 5})


def read_checkpoints(folder: Path) -> None:
    place = folder / "checkpoints"
    for found in (checkpoint.latest(place), checkpoint.best(place)):
        assert found is None or isinstance(found.step, int)
    for path in sorted(place.iterdir()):
        loaded = checkpoint.load(path)
        assert all(tensor.isfinite().sum() >= 0 for tensor in loaded.tensors.values())


def sign(path: Path) -> None:
    """Make the digests of a damaged checkpoint right again: what they would keep out is read, too."""
    state, tensors = path / "state.json", path / "tensors.safetensors"
    with suppress(ValueError, RecursionError, OSError, AttributeError, TypeError):
        header = json.loads(state.read_bytes())
        header.pop("sha256", None)
        if "tensors_sha256" in header:
            header["tensors_sha256"] = hashlib.sha256(tensors.read_bytes()).hexdigest()
        canonical = json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False)
        state.write_text(json.dumps({**header, "sha256": hashlib.sha256(canonical.encode()).hexdigest()}))


def sign_all(folder: Path) -> None:
    for path in folder.rglob("step-*"):
        sign(path)


# -- journals


def make_journal(folder: Path) -> None:
    with journal.Journal(folder / "journal.jsonl") as file:
        for step in range(3):
            file.write(step, {"dev/bleu": 1.5 + step, "dev/best": 2.0, "train/loss": float("nan")})
    state = {"run_id": "r1", "offset": 70, "steps": {"dev/bleu": 0}}
    (folder / "journal.jsonl.delivered.json").write_text(json.dumps(state))


def read_journal(folder: Path) -> None:
    path = folder / "journal.jsonl"
    delivery = Delivery(StubTracker(), poll_seconds=0.001)  # type: ignore[arg-type]
    try:
        delivery.add(path, "r1")
    finally:
        left = delivery.close(timeout=0.01)
    assert all(str(line) for line in left)
    with suppress(FileNotFoundError):
        records, offset = journal.read(path)
        assert offset == journal.end(path)
        assert all(int(record.time * 1000) >= 0 for record in records)
        journal.read(path, 0, 10)


# -- a finished run, opened for use, and listed

RUN_FILES = ("result.json", "config.json", "plan.json")
ERAC = "stages/erac-eeeeeeeeeeee-01234567"


def make_run(folder: Path) -> None:
    result = result_of("erac")
    dump(folder / ERAC / "stage.json", record_of("erac", ActorCritic()))
    dump(folder / ERAC / "result.json", result)
    entry = {**result, "folder": f"{HERE}/{ERAC}", "run_id": "r", "reused": False}
    dump(folder / "result.json", {"workflow": "erac", "stages": [entry]})
    dump(
        folder / "config.json", {"task": "demo", "seed": 1, "data_dir": f"{HERE}/data", "tracking_uri": None}
    )
    write_plan(folder, "erac", {"erac": Path(HERE) / ERAC})


@cache
def trained() -> Path:
    """Folder of what stands beside the JSON files of a stage: the readers of these are other targets."""
    folder = corpus().folder.parent / "trained"
    corpus().preparation.save(folder / "preparation")
    tensors = {}
    networks = {
        "policy": build_policy(corpus(), NETWORK),
        "critic": build_critic(corpus(), NETWORK, "critic"),
    }
    for group, network in networks.items():
        network.initialise(torch.Generator().manual_seed(1))
        tensors |= {f"{group}.{key}": value.detach() for key, value in network.named_parameters()}
    state = {"vocabularies": corpus().preparation.vocabulary_digests}
    checkpoint.save(folder / "checkpoints", 5, tensors, state, best=True)
    with journal.Journal(folder / "journal.jsonl") as file:
        file.write(5, {"dev/bleu": 1.5, "dev/best": 2.0})
    return folder


def complete(folder: Path) -> None:
    """Put beside the files of an input what is no part of it."""
    for name in RUN_FILES:
        path = folder / name
        if path.is_file() and not path.is_symlink():
            path.write_bytes(path.read_bytes().replace(HERE.encode(), str(folder).encode()))
    for path in trained().iterdir():
        (folder / ERAC / path.name).symlink_to(path)
    for place in (folder, folder / ERAC):
        if not (place / "claim").exists():
            (place / "claim").write_text("process 1 on here")


def read_run(folder: Path) -> None:
    """As workflows/evaluate.py and workflows/credit.py open it."""
    complete(folder)
    stage = FinishedStage.open(folder)
    assert stage.algorithm().batch_size > 0
    assert stage.reward().name
    stage.networks("cpu")
    data_dir_of(folder)


def read_storage(folder: Path) -> None:
    """As workflows/runs.py lists it: damage is told, and nothing stops the listing."""
    from workflows import runs

    complete(folder)
    inventory = take_inventory(folder)
    runs._stages_table(inventory.stages, inventory)
    runs._runs_table(inventory)
    for line in (*inventory.damage, *(line for run in inventory.runs for line in run.damage)):
        raise UserError(line)


# -- a policy that left


@cache
def exported() -> Path:
    """Folder of an exported policy."""
    run, folder = scratch(), scratch()
    make_run(run)
    complete(run)
    write_policy(folder, FinishedStage.open(run), DecodeSettings(run=run), detokenise=False)
    return folder


def make_exported(folder: Path) -> None:
    shutil.copytree(exported(), folder, dirs_exist_ok=True)


def sign_exported(folder: Path) -> None:
    """Give a changed record, or one of changed parameters, the digests that it must then have."""
    with suppress(ValueError, OSError, AttributeError):
        record = PolicyRecord.model_validate_json((folder / POLICY).read_bytes())
        record.parameters_sha256 = hashlib.sha256((folder / PARAMETERS).read_bytes()).hexdigest()
        record.digest = record.digest_now()
        (folder / POLICY).write_text(record.model_dump_json())


# -- what a sweep finds of its stages and of earlier commands


@cache
def small_trials() -> list[Any]:
    return Trials(SPACE, SETTINGS, recipe_named).all()


def graph_in(folder: Path) -> Graph:
    return planned(small_trials(), folder / "stages", "d" * 64, "version")


def make_sweep(folder: Path) -> None:
    (node,) = graph_in(folder).nodes.values()
    dump(folder / "stage.json", {**node.stage.record, "run_id": "r" * 32})
    dump(folder / "result.json", result_of("mle"))
    dump(folder / "outcomes.json", {node.name: ["diverged", "a loss of nan"]})
    run = {"id": "r" * 32, "complete": True}
    of, store = {"space": "small", "task": "demo"}, {"uri": "http://host:5000", "experiment": "raysq"}
    dump(folder / "runs.json", {"of": of, "store": store, "runs": {"sweep": run}})


def read_sweep(folder: Path) -> None:
    """As a repeated workflows/tune.py does."""
    (stage,) = graph_in(folder).nodes
    stage.mkdir(parents=True)
    for name in ("stage.json", "result.json"):
        with suppress(FileNotFoundError):
            (folder / name).rename(stage / name)
    (stage / "journal.jsonl").symlink_to(trained() / "journal.jsonl")
    graph = graph_in(folder)
    known_rates(folder / "stages")
    ended = dict(Outcomes(folder, graph, "asha").ended)
    SweepRuns(StubTracker(), SPACE, SETTINGS, corpus(), folder)  # type: ignore[arg-type]
    assert all(isinstance(outcome, Outcome) for outcome in ended.values())
    rows = []
    for plan in graph.trials:
        rows.append({**row_of(plan, outcome_of(plan, ended)), "run_id": "r"})
        last_score(plan)
    closing_table(rows)
    best_text(rows, SPACE)


TARGETS = (
    Target(
        "checkpoint",
        ("raysq.training.checkpoint",),
        make_checkpoints,
        read_checkpoints,
        TOKENS,
        mend=sign_all,
    ),
    Target("journal", ("raysq.training.journal", "raysq.delivery"), make_journal, read_journal, TOKENS),
    Target("finished-run", ("raysq.finished", "raysq.records"), make_run, read_run, TOKENS),
    Target(
        "exported-policy",
        ("raysq.exported", "raysq.records"),
        make_exported,
        load_policy,
        TOKENS,
        mend=sign_exported,
    ),
    Target("run-storage", ("raysq.inventory", "raysq.records"), make_run, read_storage, TOKENS),
    Target(
        "sweep-state",
        ("raysq.sweep.outcomes", "raysq.sweep.graph", "raysq.sweep.results", "raysq.recipe"),
        make_sweep,
        read_sweep,
        TOKENS,
    ),
)
