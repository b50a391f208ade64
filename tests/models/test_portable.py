from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from raysq.decoding import beam_search
from raysq.models import Captioner, EncoderDecoder, Seq2Seq, State
from raysq.models.portable import portable, traced
from raysq.types import BOS, EOS, PAD, Memory

Programs = dict[str, Callable[..., tuple[Tensor, ...]]]
V = 8
SOURCES = {
    "one word": torch.tensor([[EOS]]),
    "one sentence": torch.tensor([[4, 5, 6, 7, 5, 8, 4, EOS]]),
    "as traced": torch.tensor([[4, 5, 6, 7, EOS], [8, 5, EOS, PAD, PAD], [EOS, PAD, PAD, PAD, PAD]]),
    "longer than long": torch.tensor([[4, EOS, PAD, PAD, PAD, PAD, PAD], [7, 6, 5, 5, 6, 7, EOS]]),
    "many": torch.randint(4, 9, (17, 2), generator=torch.Generator().manual_seed(3)),
}
"""By what is special of their shape; 3 by 5 is traced."""


def drawn(network: Any) -> Any:
    """Large parameters, so that everything matters."""
    network.initialise(torch.Generator().manual_seed(1), init_range=1.0)
    return network.requires_grad_(False)


def text_policy(attention: Any, input_feeding: bool) -> Seq2Seq:
    settings: dict[str, Any] = {"embedding_size": 5, "hidden_size": 6, "attention_bias": False}
    return drawn(Seq2Seq(9, V, attention=attention, input_feeding=input_feeding, dropout=0.3, **settings))


def image_policy() -> Captioner:
    return drawn(Captioner([0.5, -1.0, 2.0, 0.0], [1.0, 2.0, 0.5, 3.0], V, embedding_size=5, hidden_size=6))


def programs_of(policy: EncoderDecoder) -> Programs:
    return {name: program.module() for name, program in traced(policy).items()}


@pytest.fixture(
    scope="module",
    params=[("dot", False), ("dot", True), ("additive", False), ("additive", True)],
    ids=lambda p: f"{p[0]}{'-input_feeding' * p[1]}",
)
def text(request: pytest.FixtureRequest) -> tuple[Seq2Seq, Programs]:
    policy = text_policy(*request.param)
    return policy, programs_of(policy)


@pytest.fixture(scope="module")
def images() -> tuple[Captioner, Programs]:
    return image_policy(), programs_of(image_policy())


def close(one: Tensor, other: Tensor) -> None:
    assert_close(one, other, rtol=1e-5, atol=1e-6)


def compare_steps(policy: EncoderDecoder, programs: Programs, memory: Memory, parts: Any) -> None:
    """Four steps of both, each from its own state."""
    state = policy.initial_state(memory)
    token = torch.full((len(memory.hidden),), BOS)
    for t in range(4):
        features, state = policy.step(memory, state, token)
        log_probs, *new = programs["step"](token, *parts)
        parts = (*parts[: len(parts) - len(new)], *new)
        close(log_probs, policy.output.logits(features).log_softmax(1))
        for mine, theirs in zip(new, state, strict=False):  # a captioner's has no part that only is read
            close(mine, theirs)
        token = (torch.arange(len(token)) + 3 * t) % (V - EOS) + EOS


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_programs_of_text_are_the_policy(source: Tensor, text: tuple[Seq2Seq, Programs]) -> None:
    policy, programs = text
    memory = policy.encode(source, source != PAD)
    parts = programs["encoder"](source)
    for part, name in zip(parts, ("states", "keys", "mask", "hidden", "cell"), strict=False):
        close(part, getattr(memory, name))
    assert not parts[5].any()
    compare_steps(policy, programs, memory, parts)


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_programs_of_images_are_the_policy(rows: int, images: tuple[Captioner, Programs]) -> None:
    policy, programs = images
    features = torch.randn(rows, 4)
    memory = policy.encode(features.unsqueeze(1), torch.ones(rows, 1, dtype=torch.bool))
    parts = programs["encoder"](features)
    close(parts[0], memory.hidden)
    close(parts[1], memory.cell)
    compare_steps(policy, programs, memory, parts)


def greedy(programs: Programs, source: Tensor, max_length: int) -> list[list[int]]:
    """Sequences without eos, as a reader of the files would decode them."""
    memory = programs["encoder"](source)
    token = torch.full((len(source),), BOS)
    words = []
    for _ in range(max_length - 1):  # eos is forced at the last
        log_probs, *state = programs["step"](token, *memory)
        memory = (*memory[: len(memory) - len(state)], *state)
        token = log_probs.argmax(1)
        words.append(token)
    rows = torch.stack(words, 1).tolist()
    return [row[: row.index(EOS)] if EOS in row else row for row in rows]


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_greedy_decoding_of_text_finds_the_same_words(source: Tensor, text: tuple[Seq2Seq, Programs]) -> None:
    policy, programs = text
    found = beam_search(policy, policy.encode(source, source != PAD), beam_size=1, max_length=9)
    assert greedy(programs, source, 9) == [best.tokens for best, *_ in found]


def test_greedy_decoding_of_images_finds_the_same_words(images: tuple[Captioner, Programs]) -> None:
    policy, programs = images
    features = 3 * torch.randn(20, 4)
    memory = policy.encode(features.unsqueeze(1), torch.ones(20, 1, dtype=torch.bool))
    expected = [best.tokens for best, *_ in beam_search(policy, memory, beam_size=1, max_length=9)]
    assert len({tuple(tokens) for tokens in expected}) > 3
    assert greedy(programs, features, 9) == expected


def test_each_part_has_its_own_parameters_alone() -> None:
    """A file per program, and no embedding in the one that does not read it."""
    for policy in (text_policy("additive", True), image_policy()):
        form = portable(policy)
        sizes = [sum(p.numel() for p in part.parameters()) for part in (form.encoder, form.step)]
        shared = {id(p) for p in form.encoder.parameters()} & {id(p) for p in form.step.parameters()}
        twice = sum(p.numel() for p in policy.parameters() if id(p) in shared)
        assert sum(sizes) - twice == sum(p.numel() for p in policy.parameters())
        assert twice < min(sizes) / 2 or isinstance(policy, Captioner)


def test_what_has_no_portable_form_is_an_error() -> None:
    class Other(nn.Module):
        pass

    with pytest.raises(TypeError, match="Other has no portable form"):
        portable(Other())  # type: ignore[arg-type]


def test_states_are_named_as_the_package_names_them() -> None:
    assert portable(text_policy("dot", False)).state == State._fields
