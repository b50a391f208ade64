from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from raysq.decoding import Tilt, given, sample, tilted
from raysq.models import Readout, Seq2Seq
from raysq.rewards import EditDistance, Hamming, Rouge, SentenceBleu
from raysq.rewards.base import RewardFunction, pack
from raysq.types import EOS, FIRST_ACTION, PAD, UNK, Memory

ALMOST_ONE = 1 - 2**-24
V = 10
REFERENCES = [[[4, 5, 6, 5]], [[7], [4, 4]], [[]], [[UNK, 8, 4]]]
PREFIXES = [[], [4], [9], [4, 5], [5, 5], [9, 9, 3], [4, 5, 6, 5], [7, 4, 4, 4, 4]]
REWARDS = [SentenceBleu(), SentenceBleu(brevity_penalty=False), Rouge(), EditDistance(match_unknown=True)]
MakePolicy = Callable[..., Seq2Seq]
Encode = Callable[[Seq2Seq, int], Memory]


def payoff(reward: RewardFunction, words: Sequence[int], references: list[list[int]]) -> float:
    packed = pack([references])
    if not words:
        return float(reward.empty_score(packed)[0])
    return float(reward.prefix_scores(np.array([words], np.int32), np.array([len(words)]), packed)[0, -1])


def plain_tilt(
    reward: RewardFunction, prefix: list[int], references: list[list[int]], c: float, eos: float, again: float
) -> Tensor:
    """By definition, word by word [V]; -inf for what is no action."""
    start = payoff(reward, prefix, references)
    tilt = [-float("inf")] * FIRST_ACTION
    tilt.append(-eos * (len(prefix) < len(references[0])))
    tilt += [
        payoff(reward, [*prefix, word], references) - start - again * (prefix[-1:] == [word])
        for word in range(UNK, V)
    ]
    return c * torch.tensor(tilt)


def dense(words: Tensor, gains: Tensor, size: int = V) -> Tensor:
    whole = torch.zeros(len(words), size).scatter(1, words, gains)
    whole[:, :FIRST_ACTION] = -torch.inf
    return whole


@pytest.mark.parametrize("reward", REWARDS, ids=repr)
@pytest.mark.parametrize(("eos", "again"), [(0.0, 0.0), (0.7, 0.4)])
def test_a_tilt_is_its_definition(reward: RewardFunction, eos: float, again: float, float64: None) -> None:
    """Up to a number for the whole row, for prefixes of one length and any choice of rows."""
    tilt = Tilt(reward, pack(REFERENCES), 3.0, eos, again)
    for prefix in PREFIXES:
        for rows in ([0, 1, 2, 3], [3, 1], [1, 2], [2]):
            prefixes = torch.tensor([prefix] * len(rows), dtype=torch.long).view(len(rows), len(prefix))
            words, gains = tilt.after(torch.tensor(rows), prefixes)
            for row, of_row in zip(rows, words.tolist(), strict=True):
                listed = [word for word in of_row if word != PAD]
                assert len(set(listed)) == len(listed), row
            expected = torch.stack(
                [plain_tilt(reward, prefix, REFERENCES[row], 3.0, eos, again) for row in rows]
            )
            assert_close(torch.softmax(dense(words, gains), 1), torch.softmax(expected, 1))


def test_penalties_literal(float64: None) -> None:
    tilt = Tilt(EditDistance(), pack([[[4, 5]]]), 10.0, eos_penalty=0.5, repetition_penalty=0.3)

    def gain(prefix: list[int]) -> list[float]:
        rows = dense(*tilt.after(torch.zeros(1, dtype=torch.long), torch.tensor([prefix])))[0]
        return rows[EOS:].tolist()

    # after 4: eos comes too early, 5 is right, 4 is as good as a word of no reference, but comes again
    assert gain([4]) == pytest.approx([-5.0, 0.0, -3.0, 10.0, 0, 0, 0, 0])
    # after 4 5: any word costs 1, eos nothing
    assert gain([4, 5]) == pytest.approx([10.0, 0.0, 0.0, -3.0, 0, 0, 0, 0])
    # after 9, a word of no reference: it is punished when it comes again
    assert gain([9, 9])[9 - EOS] == pytest.approx(-3.0)


def test_how_sure_the_reward_is() -> None:
    """P(right word) after t right words of 20, V = 22,824: with c = 1 the reward draws uniform noise."""
    reference = list(range(4, 24))
    for t, by_scale in {
        1: (4.4e-5, 4.4e-5, 5.9e-5),
        2: (4.4e-5, 4.9e-5, 0.52),
        5: (4.5e-5, 2.8e-4, 1.0),
        10: (4.6e-5, 3.1e-3, 1.0),
        19: (4.6e-5, 7.5e-3, 1.0),
    }.items():
        for scale, expected in zip((1.0, 100.0, 1e4), by_scale, strict=True):
            tilt = Tilt(SentenceBleu(), pack([[reference]]), scale)
            words, gains = tilt.after(torch.tensor([0]), torch.tensor([reference[:t]]))
            found = torch.softmax(dense(words, gains.float(), 22_824), 1)[0, reference[t]].item()
            assert found == pytest.approx(expected, rel=0.02), (t, scale)


def count(choice: Any, policy: Seq2Seq, memory: Memory, uniforms: Tensor) -> Counter[tuple[int, ...]]:
    samples = sample(policy, memory, uniforms, choice=choice)
    rows = zip(samples.targets, samples.mask, strict=True)
    return Counter(tuple(row[mask].tolist()) for row, mask in rows)


@pytest.mark.parametrize(("by_policy", "by_reward"), [(True, True), (False, True), (True, False)])
def test_sequences_follow_the_product(
    make_policy: MakePolicy,
    encode: Encode,
    log_probs_of: Callable,
    all_words: Callable,
    by_policy: bool,
    by_reward: bool,
) -> None:
    """Counts of all 13 sequences of at most 2 words among 20,000, eos forced at T = 3.

    The policy alone, the reward alone, which never draws unk, and Eq. 4's factors pi exp(c Delta R).
    """
    policy, draws, reference, c = make_policy(), 20_000, [5, 3], 2.0
    reward, memory = SentenceBleu(match_unknown=True, brevity_penalty=False), encode(policy, 1)
    tilt = Tilt(reward, pack([[reference]] * draws), c, 0.2, 0.1)
    uniforms = torch.rand(draws, 3, generator=torch.Generator().manual_seed(1))
    where = torch.ones(draws, 3, dtype=torch.bool)
    choice = tilted(policy, tilt, uniforms, where & by_policy, where & by_reward)
    counts = count(choice, policy, memory.repeat(draws), uniforms)

    def log_q(prefix: tuple[int, ...]) -> Tensor:
        logits = torch.zeros(4)
        if by_policy:
            logits = torch.tensor(
                [log_probs_of(policy, memory, (*prefix, w))[len(prefix)] for w in (3, 4, 5)]
            )
            logits = torch.cat((torch.tensor(log_probs_of(policy, memory, prefix)[-1:]), logits))
        if by_reward:
            logits = logits + plain_tilt(reward, list(prefix), [reference], c, 0.2, 0.1)[EOS : EOS + 4]
        if not by_policy:
            logits[UNK - EOS] = -torch.inf
        return torch.log_softmax(logits, 0)

    expected = {}
    for words in all_words(2):
        log_prob = sum(float(log_q(words[:t])[word - EOS]) for t, word in enumerate(words))
        if len(words) < 2:
            log_prob += float(log_q(words)[0])
        if log_prob > -np.inf:
            expected[(*words, EOS)] = draws * float(np.exp(log_prob))
    assert len(expected) == (13 if by_policy else 7)
    assert counts.keys() == expected.keys()
    assert sum(expected.values()) == pytest.approx(draws)
    assert min(expected.values()) > 20
    chi_square = sum((counts[words] - mean) ** 2 / mean for words, mean in expected.items())
    assert chi_square < 32.9  # its 0.999 quantile with 12 degrees of freedom


def test_only_what_is_asked_for_is_computed(
    make_policy: MakePolicy, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits of the policy's draws, rewards of the reward's, and neither where a token is given."""
    policy, M, T = make_policy(), 5, 4
    scored, read = [], []

    class Counted(SentenceBleu):
        def extension_rewards(self, prefixes: Any, lengths: Any, references: Any) -> Any:
            scored.extend([prefixes.shape[1]] * len(lengths))
            return super().extension_rewards(prefixes, lengths, references)

    logits = Readout.logits
    monkeypatch.setattr(Readout, "logits", lambda self, x: (read.append(len(x)), logits(self, x))[1])
    by_policy, by_reward = torch.zeros(2, M, T, dtype=torch.bool)
    by_policy[[0, 1, 1], [0, 1, 2]] = True
    by_reward[[1, 2, 3, 4], [2, 0, 1, 2]] = True
    with torch.no_grad():
        policy.output.bias[EOS] = -50.0  # nothing ends by itself
    uniforms = torch.rand(M, T)
    tilt = Tilt(Counted(), pack([[[4, 5, 4, 5]]] * M), 5.0, 20.0)
    tokens = torch.tensor([[4, 5, 4, EOS]]).expand(M, T)
    choice = given(tilted(policy, tilt, uniforms, by_policy, by_reward), tokens, ~(by_policy | by_reward))
    samples = sample(policy, encode(policy, M), uniforms, choice=choice)
    assert sum(read) == 3
    assert sorted(scored) == [0, 1, 2, 2]
    free = by_policy | by_reward
    assert torch.equal(samples.targets[~free], tokens[~free])
    assert samples.log_probs is not None
    assert (samples.log_probs[~free] == 0).all()
    assert (samples.log_probs[free] < 0).all()


def test_tokens_that_are_given_ask_nobody(make_policy: MakePolicy, encode: Encode) -> None:
    """A sequence ends at the first eos that is given."""
    policy = make_policy()
    tokens = torch.tensor([[4, 5, EOS, 4, 4], [EOS, 4, 4, 4, 4], [5, 4, 5, 5, EOS]])

    def nobody(alive: Tensor, prefixes: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        raise AssertionError

    choice = given(nobody, tokens, torch.ones_like(tokens, dtype=torch.bool))
    samples = sample(policy, encode(policy, 3), torch.rand(3, 6), choice=choice)
    assert samples.targets.tolist() == [
        [4, 5, EOS, PAD, PAD],
        [EOS, PAD, PAD, PAD, PAD],
        [5, 4, 5, 5, EOS],
    ]
    assert not samples.forced_eos.any()
    assert tokens[0, 3] == 4  # untouched


def test_who_chooses_is_told_whose_the_rows_are() -> None:
    """Rows 5, 2 and 7 go on; row 2 has its token given, the others choose by their number and prefix."""
    tokens, where = torch.full((9, 3), 4), torch.zeros(9, 3, dtype=torch.bool)
    where[2, 1] = True

    def by_row(alive: Tensor, prefixes: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        return alive + prefixes[:, 0], features[:, 0]

    alive, prefixes = torch.tensor([5, 2, 7]), torch.tensor([[10], [20], [30]])
    features = torch.tensor([[-0.5], [-0.2], [-0.7]])
    token, log_prob = given(by_row, tokens, where)(alive, prefixes, features)
    assert token.tolist() == [15, 4, 37]
    assert_close(log_prob, torch.tensor([-0.5, 0.0, -0.7]))


def test_a_row_is_scored_against_its_own_references(make_policy: MakePolicy, encode: Encode) -> None:
    """Whatever rows have ended before: with a large c each is its own reference."""
    policy, references = make_policy(), [[[4, 5, 4]], [[5]], [[4, 4, 5, 5]], [[5, 4]]]
    uniforms = torch.rand(4, 8)
    tilt = Tilt(Hamming(), pack(references), 1e4)
    where = torch.ones(4, 8, dtype=torch.bool)
    for by_policy in (where, ~where):
        choice = tilted(policy, tilt, uniforms, by_policy, where)
        samples = sample(policy, encode(policy, 4), uniforms, choice=choice)
        rows = [row[mask].tolist()[:-1] for row, mask in zip(samples.targets, samples.mask, strict=True)]
        for row, of_one in zip(rows, references, strict=True):
            assert row == of_one[0]


@pytest.mark.parametrize("uniform", [0.0, ALMOST_ONE])
def test_pad_and_bos_are_never_drawn(make_policy: MakePolicy, encode: Encode, uniform: float) -> None:
    """Words of no reference cost 1 here, so that what the words' padding gets would win."""
    policy, uniforms = make_policy(), torch.full((2, 6), uniform)
    tilt = Tilt(EditDistance(), pack([[[4]], [[4, 5, 5, 4, 5]]]), 1e4, 1.0, 1.0)
    where = torch.ones(2, 6, dtype=torch.bool)
    for by_policy in (where, ~where):
        samples = sample(
            policy,
            encode(policy, 2),
            uniforms,
            choice=tilted(policy, tilt, uniforms, by_policy, where),
        )
        assert (samples.targets[samples.mask] >= FIRST_ACTION).all()
