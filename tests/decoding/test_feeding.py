from collections.abc import Callable

import pytest
import torch

from raysq.decoding import inverse_cdf, mixed_inputs
from raysq.decoding.sampling import shift_right
from raysq.models import Readout, Seq2Seq
from raysq.types import BOS, EOS, PAD, Memory

MakePolicy = Callable[..., Seq2Seq]
Encode = Callable[[Seq2Seq, int], Memory]
REFERENCES = torch.tensor([[4, 5, 4, 5, EOS], [5, EOS, PAD, PAD, PAD], [4, 4, EOS, PAD, PAD]])
MASK = REFERENCES != PAD


@pytest.mark.parametrize("with_dropout", [False, True])
@pytest.mark.parametrize("input_feeding", [False, True])
def test_draws_follow_what_was_read(
    make_policy: MakePolicy, encode: Encode, input_feeding: bool, with_dropout: bool
) -> None:
    """A teacher-forced pass over the inputs draws the same words, under the same masks."""
    policy, N = make_policy(input_feeding=input_feeding), 40
    memory = encode(policy, 3).repeat(N)
    references, mask = REFERENCES.repeat_interleave(N, 0), MASK.repeat_interleave(N, 0)
    uniforms, own = torch.rand(3 * N, 5), torch.rand(3 * N, 5) < 0.5
    masks = (torch.rand(3 * N, 5, policy.hidden_size) > 0.3) / 0.7 if with_dropout else None
    inputs = mixed_inputs(policy, memory, references, mask, own, uniforms, masks)
    logits = policy.output.logits(policy.features(memory, inputs, masks).flatten(0, 1))
    again = inverse_cdf(logits[:, :], uniforms.roll(-1, 1).flatten())[0].view(3 * N, 5)
    drawn = (own & mask)[:, 1:]
    assert torch.equal(inputs[:, 1:][drawn], again[:, :-1][drawn])
    plain = shift_right(references, mask)
    assert torch.equal(inputs[:, 1:][~drawn], plain[:, 1:][~drawn])
    assert (inputs[:, 0] == BOS).all()
    assert (inputs[:, 1:][drawn] == EOS).any()  # and the sequence goes on
    assert (inputs != plain).sum() > 30
    if with_dropout:
        assert not torch.equal(mixed_inputs(policy, memory, references, mask, own, uniforms), inputs)


def test_only_what_is_asked_for_is_computed(
    make_policy: MakePolicy, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = make_policy()
    memory, uniforms = encode(policy, 3), torch.rand(3, 5)
    steps, read = [], []
    step, logits = policy.step, Readout.logits
    monkeypatch.setattr(policy, "step", lambda *given: (steps.append(1), step(*given))[1])
    monkeypatch.setattr(Readout, "logits", lambda self, x: (read.append(len(x)), logits(self, x))[1])
    own = torch.zeros(3, 5, dtype=torch.bool)
    own[:, 0] = True  # bos
    own[1, 2:] = True  # padding
    nothing = mixed_inputs(policy, memory, REFERENCES, MASK, own, uniforms)
    assert torch.equal(nothing, shift_right(REFERENCES, MASK))
    assert not steps
    own[[0, 2, 2], [1, 1, 2]] = True
    mixed_inputs(policy, memory, REFERENCES, MASK, own, uniforms)
    assert len(steps) == 2
    assert read == [2, 1]
    assert own[1, 2:].all()  # the caller's own is untouched


def test_no_graph_is_built(make_policy: MakePolicy, encode: Encode) -> None:
    policy = make_policy()
    inputs = mixed_inputs(policy, encode(policy, 3), REFERENCES, MASK, MASK, torch.rand(3, 5))
    assert not inputs.requires_grad
