import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from raysq.algorithms import ActorCritic, Algorithm, CriticTraining, Group, Mle, Networks
from raysq.algorithms.base import critic_input
from raysq.algorithms.moment import Moment
from raysq.config import NetworkConfig, UserError
from raysq.data.batches import collate
from raysq.data.shards import Corpus
from raysq.models import Seq2Seq
from raysq.rewards import LocalScorer, SentenceBleu
from raysq.training import checkpoint
from raysq.training.collective import Collective
from raysq.training.samples import LocalSource
from raysq.training.state import Progress, StageState, build_critic, build_policy, load_network, make_networks
from raysq.training.step import Step

FRESH: dict[Group, Path | None] = {"policy": None, "critic": None}
VOCABULARIES = {"source": "1" * 64, "target": "2" * 64}
SEPARATE = NetworkConfig(embedding_size=6, hidden_size=6, dropout=0.2)
TIED = NetworkConfig(embedding_size=6, hidden_size=6, dropout=0.2, critic_embedding="tied")
both_embeddings = pytest.mark.parametrize("network", [SEPARATE, TIED], ids=["separate", "tied"])


@pytest.fixture
def make(small_corpus: Corpus) -> Callable[..., Networks]:
    def made(
        network: NetworkConfig = SEPARATE,
        algorithm: Algorithm | None = None,
        seed: int = 1,
        stage: str = "erac",
        parents: dict[Group, Path | None] = FRESH,
    ) -> Networks:
        algorithm = algorithm or ActorCritic()
        return make_networks(small_corpus, network, algorithm, parents, seed=seed, stage=stage, device="cpu")

    return made


def parameters(networks: Networks) -> dict[str, Tensor]:
    return {
        f"{group}.{name}": parameter.detach().clone()
        for group in ("policy", "critic", "target_critic")
        for name, parameter in getattr(networks, group).named_parameters()
    }


def assert_same(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(got[name], value), name


NOTHING_DRAWN: Any = None
"""A source for steps that are never run."""


def is_one_table(critic: Seq2Seq) -> bool:
    places = {
        weight.data_ptr()
        for weight in (critic.source_embedding.weight, critic.target_embedding.weight, critic.output.weight)
    }
    assert len(places) in (1, 3)
    return len(places) == 1


# -- checkpoints


def begin_stage(algorithm: Algorithm, networks: Networks) -> tuple[Step, StageState]:
    source = LocalSource(algorithm, networks, SentenceBleu(), LocalScorer(SentenceBleu()))
    step = Step(algorithm, networks, source, Collective())
    return step, StageState(networks, step.optimizers, Progress(), VOCABULARIES)


def take_step(step: Step, corpus: Corpus, update: int) -> None:
    batch = collate(corpus.splits["train"], np.arange(update, update + 5))
    step.run([batch], Moment(1, "erac", update))


@both_embeddings
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_restored_stage_goes_on_as_if_it_had_not_stopped(
    small_corpus: Corpus, make: Any, tmp_path: Path, network: NetworkConfig, optimizer: Any
) -> None:
    algorithm = ActorCritic(optimizer=optimizer, beta1=0.5, max_length=6, target_rate=0.2)

    def begin(seed: int) -> tuple[Step, StageState]:
        return begin_stage(algorithm, make(network, algorithm, seed))

    def go_on(step: Step, update: int) -> None:
        take_step(step, small_corpus, update)

    step, state = begin(seed=1)
    go_on(step, 0)
    go_on(step, 1)
    state.progress.update, state.progress.best_score, state.progress.warnings = 2, 12.5, ["blind"]
    state.progress.scores, state.progress.stopped_by = [[0, 11.0], [2, 12.5]], "no improvement"
    checkpoint.save(tmp_path, 2, state.tensors(), state.record(), best=True)
    kept = parameters(state.networks)
    go_on(step, 2)

    other_step, other = begin(seed=9)
    saved = checkpoint.latest(tmp_path)
    assert saved is not None
    other.restore(saved)
    assert_same(parameters(other.networks), kept)
    assert other.progress == state.progress
    critic, target = other.networks.critics()
    assert is_one_table(critic) == is_one_table(target) == (network is TIED)
    go_on(other_step, 2)
    assert_same(parameters(other.networks), parameters(state.networks))
    for group, made in step.optimizers.items():
        expected, found = made.state_dict(), other_step.optimizers[group].state_dict()
        assert found["state"].keys() == expected["state"].keys()
        assert (len(expected["state"]) > 0) == (optimizer == "adam")
        for index, moments in expected["state"].items():
            assert moments.keys() == {"step", "exp_avg", "exp_avg_sq"}
            assert_same(found["state"][index], moments)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_stage_returns_to_what_was_accepted(
    small_corpus: Corpus, make: Any, tmp_path: Path, optimizer: Any
) -> None:
    """Networks, moving averages and moments, also when a checkpoint lies between; and again after it."""
    algorithm = ActorCritic(optimizer=optimizer, max_length=6, target_rate=0.2)
    step, state = begin_stage(algorithm, make(SEPARATE, algorithm, 1))
    take_step(step, small_corpus, 0)
    state.accept()
    kept = parameters(state.networks)
    take_step(step, small_corpus, 1)
    once = parameters(state.networks)
    take_step(step, small_corpus, 2)
    checkpoint.save(tmp_path, 3, state.tensors(), state.record(), best=True)
    other_step, other = begin_stage(algorithm, make(SEPARATE, algorithm, 9))
    saved = checkpoint.latest(tmp_path)
    assert saved is not None
    other.restore(saved)
    assert_same(parameters(other.networks), parameters(state.networks))
    for some_step, some in ((step, state), (other_step, other), (other_step, other)):
        some.return_to_accepted()
        assert_same(parameters(some.networks), kept)
        take_step(some_step, small_corpus, 1)
        assert_same(parameters(some.networks), once)


def test_what_is_frozen_is_not_saved(make: Any) -> None:
    networks = make(algorithm=CriticTraining())
    step = Step(CriticTraining(), networks, NOTHING_DRAWN, Collective())
    saved = StageState(networks, step.optimizers, Progress(), VOCABULARIES).tensors()
    assert {name.split(".")[0] for name in saved} == {"critic", "target_critic"}


# -- networks of another stage


@pytest.fixture
def parent(small_corpus: Corpus, make: Any, tmp_path: Path) -> tuple[Path, Networks]:
    """A finished stage whose best update was 3, and its networks."""
    networks, folder = make(seed=5), tmp_path / "parent"
    step = Step(ActorCritic(), networks, NOTHING_DRAWN, Collective())
    vocabularies = small_corpus.preparation.vocabulary_digests
    state = StageState(networks, step.optimizers, Progress(), vocabularies)
    checkpoint.save(folder / "checkpoints", 3, state.tensors(), state.record(), best=True)
    with torch.no_grad():
        later = {name: tensor + 1 for name, tensor in state.tensors().items()}
    checkpoint.save(folder / "checkpoints", 4, later, state.record())
    result = {"name": "erac", "state": "finished", "updates": 4, "best_update": 3, "dev": {}, "test": {}}
    result |= {"stopped_by": "all of 4 updates done", "warnings": [], "seconds": 3.5}
    (folder / "result.json").write_text(json.dumps(result))
    return folder, networks


def test_a_stage_starts_from_its_parents_best(make: Any, parent: tuple[Path, Networks]) -> None:
    folder, networks = parent
    child = make(parents={"policy": folder, "critic": folder})
    expected = parameters(networks)
    assert_same(parameters(child), expected)
    fresh_critic = make(parents={"policy": folder, "critic": None})
    assert torch.equal(fresh_critic.policy.output.weight, expected["policy.output.weight"])
    assert not torch.equal(fresh_critic.critic.output.weight, expected["critic.output.weight"])


def test_other_networks_are_refused(small_corpus: Corpus, parent: tuple[Path, Networks]) -> None:
    folder, _ = parent
    remedy = "use the --network options it was trained with"
    message = f"in {re.escape(str(folder))} does not fit these networks; {remedy}$"
    for fresh, group in (
        (build_critic(small_corpus, TIED, "critic"), "critic"),
        (build_policy(small_corpus, SEPARATE.model_copy(update={"hidden_size": 8})), "policy"),
    ):
        with pytest.raises(UserError, match=f"^the {group} {message}"):
            load_network(fresh, folder, group, 3, small_corpus.preparation.vocabulary_digests)


def test_a_vocabulary_of_the_same_size_with_other_words_is_refused(
    small_corpus: Corpus, parent: tuple[Path, Networks]
) -> None:
    folder, networks = parent
    path = folder / "checkpoints" / "step-00000003"
    other = small_corpus.preparation.vocabulary_digests | {"source": "3" * 64}
    message = f"checkpoint {re.escape(str(path))} was trained on data with other vocabularies: "
    with pytest.raises(UserError, match=f"^{message}"):
        load_network(build_policy(small_corpus, SEPARATE), folder, "policy", 3, other)
    state = StageState(networks, {}, Progress(), other)
    saved = checkpoint.best(folder / "checkpoints")
    assert saved is not None
    with pytest.raises(UserError, match=f"^{message}"):
        state.restore(saved)


@pytest.mark.parametrize("change", ["tensor", "counter"])
def test_a_checkpoint_of_another_version_is_refused(
    make: Any, tmp_path: Path, small_corpus: Corpus, change: str
) -> None:
    """A parameter or a counter that this version has and that one lacked: nothing is left at its start."""
    networks = make(algorithm=Mle())
    step = Step(Mle(), networks, NOTHING_DRAWN, Collective())
    state = StageState(networks, step.optimizers, Progress(), VOCABULARIES)
    tensors, record = state.tensors(), state.record()
    if change == "tensor":
        del tensors["policy.output.bias"]
    else:
        del record["window"]
    checkpoint.save(tmp_path, 2, tensors, record)
    saved = checkpoint.latest(tmp_path)
    assert saved is not None
    with pytest.raises(UserError, match="is of other networks or of another version of raysq; move"):
        state.restore(saved)


def test_another_best_update_is_refused(
    small_corpus: Corpus, parent: tuple[Path, Networks], tmp_path: Path
) -> None:
    """The result tells which update was scored: no other checkpoint stands in for it."""
    for folder, best_update in ((parent[0], 4), (tmp_path / "nothing", 3)):
        message = (
            f"the best checkpoint of {folder} (update {best_update}) is missing or damaged; "
            "remove the folder and train the stage again"
        )
        vocabularies = small_corpus.preparation.vocabulary_digests
        with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
            load_network(build_policy(small_corpus, SEPARATE), folder, "policy", best_update, vocabularies)


# -- fresh networks


@both_embeddings
def test_fresh_networks_are_a_function_of_seed_and_stage(make: Any, network: NetworkConfig) -> None:
    first = parameters(make(network))
    torch.manual_seed(99)
    assert_same(parameters(make(network)), first)
    for other in (make(network, seed=2), make(network, stage="ac")):
        for name, value in parameters(other).items():
            assert not torch.equal(value, first[name]), name
    assert not torch.equal(first["policy.decoder.weight_hh_l0"], first["critic.decoder.weight_hh_l0"])


@both_embeddings
def test_the_critics_word_vectors_have_their_own_range(make: Any, network: NetworkConfig) -> None:
    wide = network.model_copy(update={"critic_embedding_range": 0.9, "init_range": 0.02})
    words = {"critic.source_embedding.weight"}
    words |= {"critic.target_embedding.weight"} if network is SEPARATE else set()
    for name, value in parameters(make(wide)).items():
        largest = float(value.abs().max())
        if name.removeprefix("target_") in words:
            assert 0.7 < largest <= 0.9, name
        else:
            assert 0.005 < largest <= 0.02, name


def test_a_stage_has_the_networks_it_needs(make: Any) -> None:
    alone = make(algorithm=Mle())
    assert alone.critic is None
    assert alone.target_critic is None
    for algorithm, trained in ((CriticTraining(), {"critic"}), (ActorCritic(), {"policy", "critic"})):
        networks = make(algorithm=algorithm)
        free = {
            group
            for group in ("policy", "critic", "target_critic")
            for parameter in getattr(networks, group).parameters()
            if parameter.requires_grad
        }
        assert free == trained


@both_embeddings
def test_the_target_starts_as_the_critics_copy(make: Any, network: NetworkConfig) -> None:
    critic, target = make(network).critics()
    assert is_one_table(critic) == is_one_table(target) == (network is TIED)
    for (name, ours), theirs in zip(critic.named_parameters(), target.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
        assert ours.data_ptr() != theirs.data_ptr(), name


def test_the_tied_table_learns_from_all_three_uses(small_corpus: Corpus, make: Any, float64: None) -> None:
    """Its gradient is the sum of those of three tables with the same numbers."""
    critic, _ = make(TIED).critics()
    apart = build_critic(small_corpus, SEPARATE, "critic")
    apart.load_state_dict(copy.deepcopy(critic.state_dict()))
    assert not is_one_table(apart)
    batch = collate(small_corpus.splits["train"], np.arange(6))
    for network in (critic, apart):
        tokens, mask = critic_input(batch)
        features = network.features(network.encode(tokens, mask), tokens)
        (features @ network.output.weight.t() + network.output.bias).square().sum().backward()
    uses = [w.weight.grad for w in (apart.source_embedding, apart.target_embedding, apart.output)]
    for gradient in uses:
        assert gradient is not None
        assert gradient.abs().max() > 1e-6
    assert critic.output.weight.grad is not None
    assert_close(critic.output.weight.grad, torch.stack(uses).sum(0), rtol=0, atol=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize(("precision", "expected"), [("float32", None), ("bfloat16", torch.bfloat16)])
def test_precision_is_that_of_products_alone(
    small_corpus: Corpus, precision: Literal["float32", "bfloat16"], expected: torch.dtype | None
) -> None:
    """Of every network there is; parameters are float32 in any case."""
    network = SEPARATE.model_copy(update={"precision": precision})
    made = [build_policy(small_corpus, network)]
    made += [build_critic(small_corpus, network, form) for form in ("critic", "oracle")]
    for each in made:
        assert each.output.product_type == expected
        assert {parameter.dtype for parameter in each.parameters()} == {torch.float32}
