import torch
from torch.nn.functional import batch_norm, conv2d, max_pool2d

from raysq.images.classifier import processor
from raysq.images.convnet import ConvNet, ConvNetConfig
from raysq.images.encoder import ImageEncoder


def network():
    torch.manual_seed(1)
    made = ConvNet(ConvNetConfig([4, 6], [1, 2], num_labels=3)).eval()
    for name, tensor in made.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.1 if "running_var" in name else torch.randn_like(tensor))
    return made


def test_stages_pooling_and_both_kinds_of_features():
    """Convolution, normalisation by the running statistics, ReLU; 2 x 2 maxima between the stages."""
    net, images = network(), torch.randn(2, 3, 8, 8)

    def convolved(hidden, stage, block):
        conv, norm, _ = net.stages[stage][block]
        out = conv2d(hidden, conv.weight, padding=1)
        return batch_norm(out, norm.running_mean, norm.running_var, norm.weight, norm.bias).relu()

    hidden = max_pool2d(convolved(images, 0, 0), 2)
    hidden = convolved(convolved(hidden, 1, 0), 1, 1)
    features = torch.cat((hidden.flatten(2).mean(2), hidden.flatten(2).max(2).values), 1)
    found = net(images)
    torch.testing.assert_close(found.pooler_output, features)
    torch.testing.assert_close(found.logits, features @ net.classifier.weight.T + net.classifier.bias)


def test_an_encoder_reads_what_was_saved(tmp_path):
    net = network()
    net.save_pretrained(tmp_path / "weights")
    processor(16).save_pretrained(tmp_path / "weights")
    encoder = ImageEncoder.load(str(tmp_path / "weights"))
    assert encoder.record.feature_size == 12
    assert encoder.record.architecture == {"channels": [4, 6], "blocks": [1, 2]}
    pixels = torch.randn(3, 3, 16, 16)
    features = encoder.features(list(pixels.numpy()))
    torch.testing.assert_close(torch.from_numpy(features), net(pixels).pooler_output.detach())
