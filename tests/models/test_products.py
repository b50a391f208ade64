import pytest
import torch
from torch.testing import assert_close

from raysq.models import OutputLayer, products
from raysq.models.products import fill_product

n, H, V = 5, 3, 11


@pytest.mark.parametrize("columns", [1, 4, 11, 1024])
def test_parts_of_a_product_change_nothing(
    float64: None, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setattr(products, "COLUMNS", columns)
    features, weight, table = torch.randn(n, H), torch.randn(V, H), torch.full((n, V), torch.nan)
    fill_product(features, weight.t(), table)
    assert_close(table, features @ weight.t(), rtol=0, atol=1e-14)


def test_a_readout_is_the_output_layer_as_it_stands() -> None:
    layer = OutputLayer(H, V)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    readout, features = layer.readout(exact=True), torch.randn(n, H)
    expected = layer.logits(features).detach()
    assert_close(readout.logits(features), expected, rtol=0, atol=1e-5)
    assert (expected[:, :2] < -9e3).all()
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
    assert_close(readout.logits(features), expected, rtol=0, atol=1e-5)


def test_a_readout_in_bfloat16_rounds_before_the_bias() -> None:
    layer = OutputLayer(H, V, torch.bfloat16)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    features = torch.randn(n, H)
    got = layer.readout(exact=False).logits(features)
    product = (features.bfloat16() @ layer.weight.t().bfloat16()).float()
    assert got.dtype == torch.float32
    assert torch.equal(got, product + layer.policy_bias())
    assert_close(layer.readout(exact=True).logits(features), layer.logits(features).detach())
