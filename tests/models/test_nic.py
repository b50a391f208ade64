import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from raysq.models import Captioner
from raysq.types import BOS, PAD, Memory

M, T, H, E, F, V = 3, 4, 5, 6, 7, 9
INPUTS = torch.tensor([[BOS, 5, 4, 8], [BOS, 6, PAD, PAD], [BOS, 7, 7, PAD]])
SOURCE = torch.randn(M, 1, F, generator=torch.Generator().manual_seed(3))
MEAN, DEVIATION = [0.1 * k for k in range(F)], [1.0 + 0.5 * k for k in range(F)]
MASK = torch.ones(M, 1, dtype=torch.bool)


def network() -> Captioner:
    net = Captioner(MEAN, DEVIATION, V, embedding_size=E, hidden_size=H)
    net.initialise(torch.Generator().manual_seed(1), 0.8)
    return net


def dropout_masks() -> Tensor:
    return (torch.rand(M, T, H, generator=torch.Generator().manual_seed(2)) > 0.3).double() / 0.7


def scan(net: Captioner, memory: Memory, masks: Tensor | None) -> Tensor:
    state, vectors = net.initial_state(memory), []
    for t in range(T):
        vector, state = net.step(memory, state, INPUTS[:, t], None if masks is None else masks[:, t])
        vectors.append(vector)
    return torch.stack(vectors, 1)


def test_the_image_is_the_first_input_and_words_follow(float64: None) -> None:
    """Vinyals et al. 2015, Eq. 10 to 12: x_{-1} = W f + b, x_t = E y_t; dropout on what the layer reads."""
    net, masks = network(), dropout_masks()
    cell = torch.nn.LSTMCell(E, H)
    for name, parameter in net.decoder.named_parameters():
        getattr(cell, name.removesuffix("_l0")).data = parameter.data
    standardised = (SOURCE[:, 0].double() - torch.tensor(MEAN)) / torch.tensor(DEVIATION)
    image = standardised @ net.image.weight.t() + net.image.bias
    hidden, state = cell(image, (torch.zeros(M, H), torch.zeros(M, H)))
    expected = []
    for t in range(T):
        hidden, state = cell(net.target_embedding.weight[INPUTS[:, t]], (hidden, state))
        expected.append(hidden * masks[:, t])
    memory = net.encode(SOURCE, MASK)
    assert_close(net.features(memory, INPUTS, masks), torch.stack(expected, 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("with_dropout", [False, True])
def test_features_are_a_scan_of_steps_with_the_same_gradient(float64: None, with_dropout: bool) -> None:
    net, factors = network(), torch.randn(M, T, H)
    masks = dropout_masks() if with_dropout else None
    wanted = [p for name, p in net.named_parameters() if not name.startswith("output")]
    found = []
    for forward in (
        lambda memory: net.features(memory, INPUTS, masks),
        lambda memory: scan(net, memory, masks),
    ):
        features = forward(net.encode(SOURCE, MASK))
        found.append((features, *torch.autograd.grad((factors * features).sum(), wanted)))
    for got, want in zip(*found, strict=True):
        assert_close(got, want, rtol=0, atol=1e-11)


def test_nothing_but_the_first_state_is_remembered(float64: None) -> None:
    """So that selecting and repeating rows is all that decoding has to do."""
    net = network()
    memory = net.encode(SOURCE, MASK)
    assert memory.states.shape == memory.keys.shape == (M, 0, H)
    twice = net.features(memory.repeat(2), INPUTS.repeat_interleave(2, 0))
    assert_close(twice[1::2], net.features(memory, INPUTS), rtol=0, atol=1e-12)
    picked = memory.select(torch.tensor([2, 0]))
    assert_close(
        net.features(picked, INPUTS[[2, 0]]), net.features(memory, INPUTS)[[2, 0]], rtol=0, atol=1e-12
    )


def test_images_differ_and_so_do_their_captions(float64: None) -> None:
    features = network().features(network().encode(SOURCE, MASK), INPUTS[:1].expand(M, T))
    assert (features[0] - features[1]).abs().max() > 1e-3
