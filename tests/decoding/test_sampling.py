from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from raysq.decoding import sample
from raysq.decoding.sampling import inverse_cdf, shift_right
from raysq.models import Seq2Seq
from raysq.types import BOS, EOS, FIRST_ACTION, PAD, Memory, Samples

ALMOST_ONE = 1 - 2**-24
MakePolicy = Callable[..., Seq2Seq]
Encode = Callable[[Seq2Seq, int], Memory]


def draw(policy: Seq2Seq, memory: Memory, T: int = 6, seed: int = 1) -> tuple[Samples, Tensor]:
    uniforms = torch.rand(len(memory.mask), T, generator=torch.Generator().manual_seed(seed))
    return sample(policy, memory, uniforms), uniforms


def words_of(samples: Samples) -> list[tuple[int, ...]]:
    return [tuple(row[mask].tolist()) for row, mask in zip(samples.targets, samples.mask, strict=True)]


def test_sequences_follow_the_policy(
    make_policy: MakePolicy, encode: Encode, log_probs_of: Callable, all_words: Callable
) -> None:
    """Counts of all 13 sequences of at most 2 words among 20,000, eos forced at T = 3."""
    policy = make_policy()
    memory, draws = encode(policy, 1), 20_000
    counts = Counter(words_of(draw(policy, memory.repeat(draws), T=3)[0]))
    expected = {}
    for words in all_words(2):
        steps = log_probs_of(policy, memory, words)
        free = steps if len(words) < 2 else steps[:-1]
        expected[(*words, EOS)] = draws * float(torch.tensor(free).sum().exp())
    assert sum(expected.values()) == pytest.approx(draws)
    assert counts.keys() <= expected.keys()
    assert min(expected.values()) > 30
    chi_square = sum((counts[words] - mean) ** 2 / mean for words, mean in expected.items())
    assert chi_square < 32.9  # its 0.999 quantile with 12 degrees of freedom


@pytest.mark.parametrize("with_dropout", [False, True])
@pytest.mark.parametrize("input_feeding", [False, True])
def test_a_teacher_forced_pass_draws_the_same_words(
    make_policy: MakePolicy, encode: Encode, input_feeding: bool, with_dropout: bool
) -> None:
    """So the log-probabilities of the second pass are those the sample was drawn by."""
    policy = make_policy(input_feeding=input_feeding)
    memory = encode(policy, 5).repeat(40)
    uniforms = torch.rand(200, 6)
    masks = (torch.rand(200, 6, policy.hidden_size) > 0.3) / 0.7 if with_dropout else None
    samples = sample(policy, memory, uniforms, num_per_example=40, dropout_mask=masks)
    features = policy.features(memory, samples.inputs, samples.dropout_mask)
    drawn = samples.mask & ~samples.forced_eos
    again, log_probs = inverse_cdf(
        policy.output.logits(features[drawn]), uniforms[:, : features.shape[1]][drawn]
    )
    assert torch.equal(again, samples.targets[drawn])
    assert samples.log_probs is not None
    assert_close(samples.log_probs[drawn], log_probs, rtol=1e-4, atol=1e-5)
    assert not samples.log_probs[~drawn].any()  # padding, and where eos was forced
    assert drawn.sum() > 200
    assert samples.num_per_example == 40
    if with_dropout:
        plain = sample(policy, memory, uniforms)
        assert words_of(plain) != words_of(samples)


def test_a_row_depends_on_its_uniforms_alone(make_policy: MakePolicy, encode: Encode) -> None:
    policy = make_policy()
    memory = encode(policy, 5).repeat(4)
    samples, uniforms = draw(policy, memory)
    words = words_of(samples)
    assert len(set(words)) > 5
    for rows in ([3], [0, 7, 19], [19, 18, 0]):
        chosen = torch.tensor(rows)
        masked = sample(policy, memory.select(chosen), uniforms[chosen])
        assert words_of(masked) == [words[m] for m in rows]
    assert words_of(draw(policy, memory, T=6, seed=2)[0]) != words


def test_more_steps_only_lengthen_what_was_cut(make_policy: MakePolicy, encode: Encode) -> None:
    policy = make_policy()
    memory, uniforms = encode(policy, 5).repeat(20), torch.rand(100, 8)
    short, long = (words_of(sample(policy, memory, uniforms[:, :T])) for T in (3, 8))
    assert any(len(words) > 3 for words in long)
    for cut, whole in zip(short, long, strict=True):
        assert cut == (whole if len(whole) <= 3 else (*whole[:2], EOS))


def test_forced_eos_is_where_the_maximum_length_left_no_choice(
    make_policy: MakePolicy, encode: Encode
) -> None:
    policy = make_policy()
    samples, _ = draw(policy, encode(policy, 5).repeat(40), T=4)
    lengths = samples.mask.sum(1)
    assert set(lengths.tolist()) == {1, 2, 3, 4}
    expected = torch.zeros_like(samples.mask)
    expected[lengths == 4, 3] = True
    assert torch.equal(samples.forced_eos, expected)


def test_nothing_is_forced_when_all_end_by_themselves(make_policy: MakePolicy, encode: Encode) -> None:
    policy = make_policy()
    with torch.no_grad():
        policy.output.bias[EOS] = 20.0
    samples, _ = draw(policy, encode(policy, 5), T=4)
    assert words_of(samples) == [(EOS,)] * 5
    assert samples.targets.shape == (5, 1)
    assert not samples.forced_eos.any()


def test_with_one_step_all_are_forced(make_policy: MakePolicy, encode: Encode) -> None:
    policy = make_policy()
    samples, _ = draw(policy, encode(policy, 5), T=1)
    assert words_of(samples) == [(EOS,)] * 5
    assert samples.forced_eos.all()
    assert (samples.inputs == BOS).all()


@pytest.mark.parametrize("uniform", [0.0, ALMOST_ONE])
def test_pad_and_bos_are_never_drawn(make_policy: MakePolicy, encode: Encode, uniform: float) -> None:
    policy = make_policy()
    with torch.no_grad():
        policy.output.bias[:FIRST_ACTION] = 30.0
    memory = encode(policy, 5)
    for samples in (sample(policy, memory, torch.full((5, 6), uniform)), draw(policy, memory.repeat(50))[0]):
        assert (samples.targets[samples.mask] >= FIRST_ACTION).all()


def test_samples_are_cut_and_padded(make_policy: MakePolicy, encode: Encode) -> None:
    policy = make_policy()
    with torch.no_grad():
        policy.output.bias[EOS] = 1.0
    memory, masks = encode(policy, 5), torch.ones(5, 30, policy.hidden_size)
    uniforms = torch.rand(5, 30)
    samples = sample(policy, memory, uniforms, dropout_mask=masks)
    longest = int(samples.lengths.max()) + 1
    assert 1 < longest < 30
    assert samples.dropout_mask is not None
    assert samples.dropout_mask.shape == (5, longest, policy.hidden_size)
    for targets, inputs, mask in zip(samples.targets, samples.inputs, samples.mask, strict=True):
        length = int(mask.sum())
        assert mask.tolist() == [True] * length + [False] * (longest - length)
        assert targets[length - 1] == EOS
        assert EOS not in targets[: length - 1]
        assert (targets[length:] == PAD).all()
        assert inputs.tolist() == [BOS, *targets[: length - 1].tolist(), *[PAD] * (longest - length)]


def test_finished_rows_are_no_longer_computed(
    make_policy: MakePolicy, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = make_policy()
    rows, step = [], policy.step

    def counted(memory: Memory, state: object, token: Tensor, mask: Tensor | None) -> object:
        rows.append(len(token))
        return step(memory, state, token, mask)  # type: ignore[arg-type]

    monkeypatch.setattr(policy, "step", counted)
    samples, _ = draw(policy, encode(policy, 5).repeat(10))
    assert sum(rows) == int((samples.mask & ~samples.forced_eos).sum())


def test_no_graph_is_built(make_policy: MakePolicy, encode: Encode) -> None:
    policy = make_policy()
    masks = torch.ones(5, 6, policy.hidden_size)
    samples = sample(policy, encode(policy, 5), torch.rand(5, 6), dropout_mask=masks)
    assert not any(getattr(samples, name).requires_grad for name in ("inputs", "targets", "dropout_mask"))


def test_inverse_cdf_literal() -> None:
    """Probabilities (0, 0, 1/2, 0, 1/4, 1/4, 0): the first word whose CDF exceeds u."""
    logits = torch.tensor([0.0, 0.0, 2.0, 0.0, 1.0, 1.0, 0.0]).log().clamp(min=-1e4) + 5
    uniforms = torch.tensor([0.0, 0.25, 0.4999, 0.5, 0.7499, 0.75, 0.9999, ALMOST_ONE])
    drawn, log_probs = inverse_cdf(logits.repeat(len(uniforms), 1), uniforms)
    assert drawn.tolist() == [2, 2, 2, 4, 4, 5, 5, 5]
    assert_close(log_probs.exp(), torch.tensor([0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.25]))


def test_inverse_cdf_scales_by_the_rows_own_total() -> None:
    logits = torch.tensor([[0.0, 1.0, 1.0], [0.0, 1.0, 1.0], [-800.0, -700.0, -700.0], [700.0, 600.0, 0.0]])
    assert inverse_cdf(logits, torch.tensor([0.15, 0.16, 0.6, 0.99]))[0].tolist() == [0, 1, 2, 0]


def test_inverse_cdf_never_draws_the_impossible() -> None:
    """In float32 u times the total rounds, but never up to the total: the last words stay out."""
    logits = 4 * torch.randn(20_000, 40)
    logits[:, -3:] = -1e4
    logits[:, :2] = -1e4
    for uniform in (0.0, ALMOST_ONE):
        drawn, _ = inverse_cdf(logits, torch.full((20_000,), uniform))
        assert drawn.min() >= 2
        assert drawn.max() < 37


def test_shift_right_literal() -> None:
    targets = torch.tensor([[4, 5, EOS], [4, EOS, PAD], [EOS, PAD, PAD]])
    expected = torch.tensor([[BOS, 4, 5], [BOS, 4, PAD], [BOS, PAD, PAD]])
    assert_close(shift_right(targets, targets != PAD), expected)


@pytest.mark.parametrize("V", [1, 3, 127, 128, 129, 300, 512])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inverse_cdf_is_the_running_sum(dtype: torch.dtype, V: int) -> None:
    """Compiled or not: the first word whose running sum of probabilities exceeds u."""
    generator = torch.Generator().manual_seed(V)
    logits = 3 * torch.randn(500, V, generator=generator, dtype=torch.float64)
    logits[:, torch.rand(V, generator=generator) < 0.3] = -torch.inf
    logits[:, V // 2] = 1.0
    uniforms = torch.rand(500, generator=generator)
    words, log_probs = inverse_cdf(logits.to(dtype), uniforms.to(dtype))
    log_pi = torch.log_softmax(logits, 1)
    running = log_pi.exp().cumsum(1)
    threshold = (uniforms * running[:, -1]).unsqueeze(1)
    expected = (running > threshold).int().argmax(1)
    clear = (running - threshold).abs().min(1).values > 1e-6  # no border within float32's rounding
    assert clear.sum() > 480
    assert torch.equal(words[clear], expected[clear])
    wanted = log_pi.gather(1, words.unsqueeze(1)).squeeze(1)
    assert_close(log_probs.double(), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inverse_cdf_at_the_borders_of_stretches(dtype: torch.dtype) -> None:
    """Whatever rounding does there: a word that is possible, at every border and next to it."""
    logits = torch.randn(1, 1000, generator=torch.Generator().manual_seed(1), dtype=dtype)
    logits[:, [0, 127, 128, 255, 256, 300, 999]] = -torch.inf
    running = torch.softmax(logits, 1).cumsum(1)[0]
    borders = running[127::128]
    uniforms = torch.cat((borders, borders + 1e-7, borders - 1e-7))
    uniforms = torch.cat((uniforms, torch.tensor([0.0, ALMOST_ONE], dtype=dtype)))
    words, log_probs = inverse_cdf(logits.expand(len(uniforms), -1), uniforms)
    assert log_probs.isfinite().all()
    assert ((running[words] - uniforms).abs() < 0.02).all()
    assert words[-2:].tolist() == [1, 998]
