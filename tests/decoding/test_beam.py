import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from raysq.decoding import Hypothesis, beam_search
from raysq.decoding.beam import _largest
from raysq.models import Seq2Seq, State
from raysq.types import BOS, EOS, FIRST_ACTION, UNK, Memory

MakePolicy = Callable[..., Seq2Seq]
Encode = Callable[[Seq2Seq, int], Memory]
LogProbs = Callable[[Seq2Seq, Memory, tuple[int, ...]], list[float]]
Step = Callable[..., tuple[Tensor, State]]
AllWords = Callable[[int], list[tuple[int, ...]]]


def rows_of(memory: Memory) -> list[Memory]:
    return [memory.select(torch.tensor([row])) for row in range(len(memory.mask))]


def assert_same(found: list[Hypothesis], expected: list[tuple[float, tuple[int, ...]]]) -> None:
    assert [hypothesis.tokens for hypothesis in found] == [list(words) for _, words in expected]
    assert [h.score for h in found] == pytest.approx([score for score, _ in expected], rel=1e-12)


@pytest.mark.parametrize("length_exponent", [0.0, 1.0])
@pytest.mark.parametrize("input_feeding", [False, True])
def test_a_wide_beam_is_exhaustive(
    make_policy: MakePolicy,
    encode: Encode,
    log_probs_of: LogProbs,
    all_words: AllWords,
    input_feeding: bool,
    length_exponent: float,
) -> None:
    """All 40 sequences of at most 3 words, best first; nothing else, though the beam has room."""
    policy = make_policy(input_feeding=input_feeding)
    memory = encode(policy, 3)
    found = beam_search(
        policy, memory, beam_size=60, max_length=4, num_best=60, length_exponent=length_exponent
    )
    for hypotheses, row in zip(found, rows_of(memory), strict=True):
        scored = [
            (sum(log_probs_of(policy, row, words)) / (len(words) + 1) ** length_exponent, words)
            for words in all_words(3)
        ]
        assert_same(hypotheses, sorted(scored, reverse=True))


def plain_beam(
    step: Callable[[tuple[int, ...], int], float],
    beam_size: int,
    max_length: int,
    length_exponent: float,
    num_best: int,
) -> list[tuple[float, tuple[int, ...]]]:
    """The definition for one source by loops that never stop early; ``step`` gives log pi(word | words)."""
    finished: list[tuple[float, tuple[int, ...]]] = []
    beam: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    for t in range(max_length):
        ending = [(score + step(words, EOS), words) for score, words in beam]
        going = [(score + step(words, w), (*words, w)) for score, words in beam for w in (UNK, 4, 5)]
        beam = sorted(going, reverse=True)[:beam_size]
        all_end = t == max_length - 1 or len(beam) < beam_size
        floor = -math.inf if all_end else beam[-1][0]
        finished += [(s / (t + 1) ** length_exponent, words) for s, words in ending if s >= floor]
    return sorted(finished, reverse=True)[:num_best]


def plain_step(policy: Seq2Seq, memory: Memory, log_probs_of: LogProbs) -> Callable[..., float]:
    known: dict[tuple[int, ...], list[float]] = {}

    def step(words: tuple[int, ...], word: int) -> float:
        asked = words if word == EOS else (*words, word)
        if asked not in known:
            known[asked] = log_probs_of(policy, memory, asked)
        return known[asked][len(words)]

    return step


@pytest.mark.parametrize("length_exponent", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_equals_plain_loops(
    make_policy: MakePolicy, encode: Encode, log_probs_of: LogProbs, seed: int, length_exponent: float
) -> None:
    policy = make_policy(seed=seed, init_range=1.5)
    memory = encode(policy, 5)
    steps = [plain_step(policy, row, log_probs_of) for row in rows_of(memory)]
    for beam_size, num_best in ((1, 1), (2, 1), (2, 2), (3, 3), (5, 2)):
        for max_length in (1, 2, 5):
            settings = {"beam_size": beam_size, "max_length": max_length, "num_best": num_best}
            found = beam_search(policy, memory, length_exponent=length_exponent, **settings)
            for hypotheses, step in zip(found, steps, strict=True):
                assert_same(hypotheses, plain_beam(step, length_exponent=length_exponent, **settings))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_beam_of_one_is_greedy(make_policy: MakePolicy, encode: Encode, seed: int) -> None:
    policy = make_policy(seed=seed)
    memory = encode(policy, 5)
    found = beam_search(policy, memory, beam_size=1, max_length=7)
    for (hypothesis,), row in zip(found, rows_of(memory), strict=True):
        words: list[int] = []
        score = 0.0
        while True:
            with torch.no_grad():
                features = policy.features(row, torch.tensor([[BOS, *words]]))[:, -1]
                log_pi = torch.log_softmax(policy.output.logits(features), 1)[0]
            word = EOS if len(words) == 6 else int(log_pi.argmax())
            score += float(log_pi[word])
            if word == EOS:
                break
            words.append(word)
        assert hypothesis.tokens == words
        assert hypothesis.score == pytest.approx(score, rel=1e-12)


@pytest.mark.parametrize("length_exponent", [0.0, 1.0])
@pytest.mark.parametrize("input_feeding", [False, True])
def test_sources_do_not_disturb_each_other(
    make_policy: MakePolicy,
    encode: Encode,
    monkeypatch: pytest.MonkeyPatch,
    input_feeding: bool,
    length_exponent: float,
) -> None:
    """Together, where finished sources are dropped on the way, as one at a time."""
    settings = {"beam_size": 3, "max_length": 12, "num_best": 2}
    widths: set[int] = set()
    for seed in (1, 3):
        policy = make_policy(input_feeding=input_feeding, seed=seed)
        with torch.no_grad():
            policy.output.bias[EOS] = 2.0
        memory = encode(policy, 5)
        alone = [
            beam_search(policy, row, length_exponent=length_exponent, **settings)[0]
            for row in rows_of(memory)
        ]
        step = policy.step

        def counted(memory: Memory, state: State, token: Tensor, step: Step = step) -> tuple[Tensor, State]:
            widths.add(len(token))
            return step(memory, state, token)

        monkeypatch.setattr(policy, "step", counted)
        together = beam_search(policy, memory, length_exponent=length_exponent, **settings)
        for hypotheses, expected in zip(together, alone, strict=True):
            assert_same(hypotheses, [(h.score, tuple(h.tokens)) for h in expected])
    assert widths - {5, 15}, "no source ended before the others: the test shows nothing"


@pytest.mark.parametrize("length_exponent", [0.0, 0.6])
def test_the_score_is_that_of_the_teacher_forced_sequence(
    make_policy: MakePolicy, encode: Encode, log_probs_of: LogProbs, length_exponent: float
) -> None:
    policy = make_policy(seed=2)
    memory = encode(policy, 5)
    found = beam_search(
        policy, memory, beam_size=4, max_length=10, num_best=4, length_exponent=length_exponent
    )
    for hypotheses, row in zip(found, rows_of(memory), strict=True):
        assert len(hypotheses) == 4
        for tokens, score in hypotheses:
            log_prob = sum(log_probs_of(policy, row, tuple(tokens)))
            assert score == pytest.approx(log_prob / (len(tokens) + 1) ** length_exponent, rel=1e-12)


def test_the_maximum_length_forces_eos(make_policy: MakePolicy, encode: Encode) -> None:
    policy = make_policy()
    with torch.no_grad():
        policy.output.bias[EOS] = -30.0
    memory = encode(policy, 5)
    for (hypothesis,) in beam_search(policy, memory, beam_size=3, max_length=4):
        assert len(hypothesis.tokens) == 3
        assert hypothesis.score < -25  # eos is forced, but its log-probability counts
    for (hypothesis,) in beam_search(policy, memory, beam_size=3, max_length=1):
        assert hypothesis.tokens == []


def test_pad_and_bos_never_occur(make_policy: MakePolicy, encode: Encode) -> None:
    """Not even when the beam is wider than the words there are."""
    policy = make_policy()
    with torch.no_grad():
        policy.output.bias[:FIRST_ACTION] = 30.0
    for hypotheses in beam_search(policy, encode(policy, 5), beam_size=9, max_length=2, num_best=9):
        assert sorted(h.tokens for h in hypotheses) == [[], [UNK], [4], [5]]


@pytest.mark.parametrize(("V", "k"), [(5, 5), (63, 5), (64, 1), (300, 4), (321, 5), (1000, 5)])
def test_the_largest_are_those_of_topk(V: int, k: int) -> None:
    values = torch.randn(200, V, generator=torch.Generator().manual_seed(V))
    values[:, :3] = -torch.inf
    values[:50, -2:] += 5.0  # in what fills no stretch
    values[50:100, 3 : k + 3] += 5.0  # all in one stretch
    found, places = _largest(values, k)
    expected = values.topk(k, dim=1)
    assert torch.equal(found, expected.values)
    assert torch.equal(values.gather(1, places), expected.values)
