import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import ResNetForImageClassification

from raysq.config import UserError
from raysq.images.classifier import processor
from raysq.images.convnet import ConvNet, ConvNetConfig
from raysq.images.encoder import ImageEncoder
from tests.images.made import save_weights


@pytest.fixture
def weights(tmp_path):
    return save_weights(tmp_path / "tiny")


def edited(folder, name, **changes):
    path = f"{folder}/{name}"
    with open(path) as file:
        content = json.load(file)
    with open(path, "w") as file:
        json.dump(content | changes, file)


def noise(height, width):
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_features_are_the_pooled_output_in_eval_mode(weights):
    encoder = ImageEncoder.load(weights)
    assert (encoder.record.feature_size, encoder.record.weights) == (8, "tiny")
    image = noise(16, 16)
    pixels = encoder.pixels(image)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    assert pixels.transpose(1, 2, 0) == pytest.approx((np.asarray(image) / 255 - mean) / deviation, abs=1e-5)
    whole = ResNetForImageClassification.from_pretrained(weights).eval()
    last = whole.resnet(torch.from_numpy(np.stack([pixels, -pixels]))).last_hidden_state
    expected = last.mean((2, 3)).detach().numpy()
    features = encoder.features([pixels, -pixels])
    assert features == pytest.approx(expected, abs=1e-6)
    assert encoder.features([pixels, -pixels]).tobytes() == features.tobytes()


def test_the_shorter_side_is_scaled_and_the_middle_taken(weights):
    encoder = ImageEncoder.load(weights)
    striped = np.zeros((16, 48, 3), np.uint8)
    striped[:, 16:32] = 255
    assert (encoder.pixels(Image.fromarray(striped)) > 1.9).all()
    assert encoder.pixels(noise(100, 50)).shape == (3, 16, 16)


def test_image_size_replaces_the_folder_s(weights):
    encoder = ImageEncoder.load(weights, image_size=24)
    assert encoder.pixels(noise(100, 50)).shape == (3, 24, 24)
    assert encoder.record.preprocessing["size"] == {"shortest_edge": 24}
    edited(weights, "preprocessor_config.json", image_processor_type="ViTImageProcessor", size=30)
    encoder = ImageEncoder.load(weights, image_size=24)
    assert encoder.pixels(noise(100, 50)).shape == (3, 24, 24)


def test_what_changes_features_changes_the_identity(weights, tmp_path):
    before = ImageEncoder.load(weights).record
    shutil.copytree(weights, tmp_path / "copy")
    copy = ImageEncoder.load(str(tmp_path / "copy" / "model.safetensors")).record
    assert (copy.weights, copy.identity) == ("model.safetensors", before.identity)
    others = [ImageEncoder.load(weights, image_size=20).record.identity]
    others.append(ImageEncoder.load(save_weights(tmp_path / "other", seed=2)).record.identity)
    edited(weights, "preprocessor_config.json", do_pad=True, pad_size={"height": 20, "width": 20})
    others.append(ImageEncoder.load(weights).record.identity)
    edited(weights, "config.json", hidden_act="tanh")
    others.append(ImageEncoder.load(weights).record.identity)
    assert len({before.identity, *others}) == 5


def test_a_processor_of_another_kind_is_another_network(weights):
    """With equal settings: one scales the shorter side and crops by share, the other does not crop."""
    before = ImageEncoder.load(weights)
    edited(weights, "preprocessor_config.json", image_processor_type="BitImageProcessor")
    after = ImageEncoder.load(weights)
    assert before.record.preprocessing["image_processor_type"] == "ConvNextImageProcessor"
    assert after.record.preprocessing["image_processor_type"] == "BitImageProcessor"
    assert before.pixels(noise(40, 20)).shape != after.pixels(noise(40, 20)).shape
    assert before.record.identity != after.record.identity


def test_weights_in_half_precision_compute_in_single(weights, tmp_path):
    half = ResNetForImageClassification.from_pretrained(weights).half()
    half.save_pretrained(tmp_path / "half")
    shutil.copy(f"{weights}/preprocessor_config.json", tmp_path / "half")
    encoder, pixels = ImageEncoder.load(str(tmp_path / "half")), np.ones((3, 16, 16), np.float32)
    assert {tensor.dtype for tensor in encoder.network.parameters()} == {torch.float32}
    whole = half.float().eval().resnet(torch.from_numpy(pixels)[None]).pooler_output
    assert encoder.features([pixels])[0] == pytest.approx(whole.detach().numpy().flatten(), abs=1e-6)


def test_a_network_of_many_stages_needs_larger_images(tmp_path):
    ConvNet(ConvNetConfig([2] * 6, [1] * 6)).save_pretrained(tmp_path / "deep")
    processor(32).save_pretrained(tmp_path / "deep")
    assert ImageEncoder.load(str(tmp_path / "deep"), 32).features([np.ones((3, 32, 32), "f")]).shape == (1, 4)
    with pytest.raises(UserError, match="--image-size 31: these weights need 32 pixels or more"):
        ImageEncoder.load(str(tmp_path / "deep"), 31)


def test_weights_that_are_incomplete_or_no_resnet_s(weights):
    path = f"{weights}/model.safetensors"
    tensors = load_file(path)
    head = {name: tensor for name, tensor in tensors.items() if name.startswith("classifier")}
    save_file({k: v for k, v in tensors.items() if k not in head}, path, {"format": "pt"})
    ImageEncoder.load(weights)
    first = min(set(tensors) - set(head))
    save_file({name: tensor for name, tensor in tensors.items() if name != first}, path, {"format": "pt"})
    with pytest.raises(UserError, match=rf"1 tensors are missing .*, as {first.removeprefix('resnet.')}"):
        ImageEncoder.load(weights)
    with open(path, "r+b") as file:
        file.truncate(100)
    with pytest.raises(UserError, match=r"tiny: model\.safetensors cannot be read \(.*\): fetch"):
        ImageEncoder.load(weights)
    save_file(tensors, path, {"format": "pt"})
    edited(weights, "config.json", model_type="vit")
    with pytest.raises(UserError, match="is a vit, not resnet or raysq-convnet"):
        ImageEncoder.load(weights)


def test_places_without_weights(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty lacks config.json"):
        ImageEncoder.load(str(tmp_path / "empty"))
    with pytest.raises(UserError, match="is no folder, and no hub's OWNER/NAME"):
        ImageEncoder.load(str(tmp_path / "nowhere"))


def test_images_must_come_out_in_one_size(weights):
    encoder = ImageEncoder.load(weights)
    with pytest.raises(UserError, match="images of several sizes"):
        encoder.features([np.zeros((3, 8, 8), np.float32), np.zeros((3, 8, 9), np.float32)])


def test_a_hub_s_weights_come_from_its_cache(weights, tmp_path, monkeypatch):
    """What the hub's client downloads lies in its cache as here; without a network it is taken from there."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"made/tiny is no folder here, and the hub does not give it"):
        ImageEncoder.load("made/tiny")
    commit = "0" * 40
    model = tmp_path / "hub" / "models--made--tiny"
    shutil.copytree(weights, model / "snapshots" / commit)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(commit)
    record = ImageEncoder.load("made/tiny").record
    assert record.weights == "made/tiny"
    assert record.identity == ImageEncoder.load(weights).record.identity


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("preprocessor_config.json", {"size": {"shortest_edge": 8000}}, r"image sides of \[8000\] pixels"),
        ("preprocessor_config.json", {"image_std": [1, 1]}, "std must have 3 elements"),
        ("preprocessor_config.json", {"rescale_factor": float("nan")}, "infinite pixels"),
        ("preprocessor_config.json", {"image_processor_type": "x"}, "."),
        ("config.json", {"depths": {}}, "."),
    ],
)
def test_settings_that_let_no_image_through_are_found_before_the_first(weights, name, changes, message):
    edited(weights, name, **changes)
    with pytest.raises(
        UserError, match=rf"tiny: {name} cannot be read \(.*{message}.*\): fetch or make them"
    ):
        ImageEncoder.load(weights)


def test_weights_that_are_no_numbers(weights):
    path = f"{weights}/model.safetensors"
    tensors = load_file(path)
    tensors["resnet.embedder.embedder.convolution.weight"].fill_(float("nan"))
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read \(a black image has infinite"):
        ImageEncoder.load(weights)


def test_no_code_of_a_folder_is_run(weights, tmp_path):
    (tmp_path / "tiny" / "mine.py").write_text("open('ran', 'w')\n")
    edited(
        weights,
        "preprocessor_config.json",
        image_processor_type="Mine",
        auto_map={"AutoImageProcessor": "mine.Mine"},
    )
    with pytest.raises(UserError, match=r"preprocessor_config\.json cannot be read \(.*trust_remote_code"):
        ImageEncoder.load(weights)
