import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.torch import save_file

from raysq.config import UserError
from raysq.images import classifier as module
from raysq.images.classifier import (
    LabelledImages,
    changed,
    dev_accuracy,
    normalised,
    processor,
    rate_factor,
    train_classifier,
)
from raysq.images.convnet import ConvNet, ConvNetConfig
from raysq.images.encoder import ImageEncoder
from raysq.images.settings import ClassifierSettings

SETTINGS = ClassifierSettings(
    image_size=16, channels=(8, 16), blocks=(1, 1), epochs=4, batch_size=16, shift=1, learning_rate=0.01
)
NAMES = ["dark", "light"]


def shades(count, seed, several=False):
    """Noisy images whose channels 0 and 1 are dark or light: the label; or one label for each channel."""
    generator = np.random.default_rng(seed)
    light = generator.integers(0, 2, (count, 2)) if several else np.eye(2)[generator.integers(0, 2, count)]
    pixels = generator.integers(0, 100, (count, 3, 16, 16))
    pixels[:, :2] += (100 * light[:, :, None, None]).astype(int)
    return LabelledImages(pixels.astype(np.uint8), light.astype(np.float32))


def run(folder, settings=SETTINGS, train=None, dev=None, on_epoch=lambda epoch: None):
    folder.mkdir(exist_ok=True)
    train, dev = train or shades(60, 1), dev or shades(40, 2)
    return train_classifier(settings, train, dev, NAMES, folder / "state", folder / "best", on_epoch)


@pytest.mark.parametrize("several", [False, True])
def test_what_is_in_images_is_learnt(several, tmp_path):
    progress = run(tmp_path / "a", train=shades(80, 1, several), dev=shades(60, 2, several))
    assert [epoch.epoch for epoch in progress.epochs] == [1, 2, 3, 4]
    assert progress.best.dev_accuracy > 0.9
    encoder = ImageEncoder.load(str(tmp_path / "a" / "best"))
    assert encoder.record.feature_size == 32


def test_continuing_equals_never_having_stopped(tmp_path):
    whole = run(tmp_path / "whole")

    def stop(epoch):
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", on_epoch=stop)
    rest = []
    parts = run(tmp_path / "parts", on_epoch=lambda epoch: rest.append(epoch.epoch))
    assert rest == [3, 4]
    assert [(e.loss, e.dev_accuracy) for e in parts.epochs] == [
        (e.loss, e.dev_accuracy) for e in whole.epochs
    ]
    weights = [(tmp_path / name / "best" / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]


def test_the_network_of_the_best_epoch_is_kept(tmp_path):
    dev = shades(40, 2)
    upside_down = LabelledImages(dev.pixels, 1 - dev.labels)  # the more is learnt, the worse
    early = []

    def note(epoch):
        early.append((epoch.dev_accuracy, (tmp_path / "a" / "best" / "model.safetensors").read_bytes()))

    progress = run(tmp_path / "a", dev=upside_down, on_epoch=note)
    kept = (tmp_path / "a" / "best" / "model.safetensors").read_bytes()
    assert progress.best.epoch < 4
    assert progress.best.dev_accuracy == max(accuracy for accuracy, _ in early)
    assert kept == early[progress.best.epoch - 1][1]


def test_judging_teaches_nothing():
    network = ConvNet(ConvNetConfig([4], [1], num_labels=2))
    network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    dev = shades(20, 1)
    together = dev_accuracy(network, dev, True)
    each = [LabelledImages(dev.pixels[i : i + 1], dev.labels[i : i + 1]) for i in range(20)]
    apart = [dev_accuracy(network, one, True) for one in each]
    assert together == pytest.approx(sum(apart) / 20)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_another_run_s_state_or_a_damaged_one_is_refused(tmp_path):
    settings = SETTINGS.model_copy(update={"epochs": 1})
    run(tmp_path / "a", settings)
    with pytest.raises(UserError, match=r"state is of a run with other settings or images"):
        run(tmp_path / "a", SETTINGS)
    with pytest.raises(UserError, match=r"state is of a run with other settings or images"):
        run(tmp_path / "a", settings, train=shades(60, 3))
    (tmp_path / "a" / "state").write_bytes(b"short")
    with pytest.raises(UserError, match=r"state is damaged .*: remove"):
        run(tmp_path / "a", settings)


def test_settings_that_do_not_fit():
    with pytest.raises(ValidationError, match="`blocks` must have as many numbers as `channels`"):
        ClassifierSettings(channels=(8, 16), blocks=(1,))
    deep = {"channels": (4,) * 6, "blocks": (1,) * 6}
    with pytest.raises(ValidationError, match="`image_size` must be 32 or more with so many `channels`"):
        ClassifierSettings(image_size=31, **deep)
    assert ClassifierSettings(image_size=32, **deep).image_size == 32


def test_one_image_is_not_enough(tmp_path):
    with pytest.raises(UserError, match="one image is not enough"):
        run(tmp_path / "a", train=shades(1, 1))


def test_a_training_that_diverges_ends_at_once_and_can_be_repeated_with_a_lower_rate(tmp_path, monkeypatch):
    asked = []

    def factor(done):
        """Weights leave the range of numbers in the second epoch's first update, the fifth of 16."""
        asked.append(done)
        return 1e38 if done >= 0.25 else 1.0

    monkeypatch.setattr(module, "rate_factor", factor)
    with pytest.raises(UserError, match=r"diverged in epoch 2 \(loss nan\): lower --learning-rate"):
        run(tmp_path / "a")
    assert len(asked) == 5
    monkeypatch.undo()
    lower = SETTINGS.model_copy(update={"learning_rate": 0.005})
    assert len(run(tmp_path / "a", lower).epochs) == 4


def test_the_rate_rises_and_falls():
    assert rate_factor(0.0) == pytest.approx(0.0196, abs=1e-4)
    assert rate_factor(0.05) == 1
    assert rate_factor(0.525) == pytest.approx(0.5)
    assert rate_factor(1.0) == pytest.approx(0.0)


def test_images_are_moved_turned_and_mirrored():
    image = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4).repeat(3, axis=1)
    many = image.repeat(400, axis=0)

    def kinds(shift, symmetries):
        made = changed(many, shift, symmetries, np.random.default_rng(1))
        assert (made[:, 0] == made[:, 2]).all()
        return {one[0].tobytes() for one in made}

    inner = image[0, 0]
    assert kinds(0, "none") == {inner.tobytes()}
    assert kinds(0, "mirror") == {inner.tobytes(), inner[:, ::-1].tobytes()}
    assert kinds(0, "all") == {
        np.rot90(side, k).tobytes() for side in (inner, inner[:, ::-1]) for k in range(4)
    }
    down = np.concatenate([inner[:1], inner[:3]])
    assert len(kinds(1, "none")) == 9
    assert down.tobytes() in kinds(1, "none")


def test_training_sees_images_as_the_saved_processor_makes_them():
    pixels = np.random.default_rng(1).integers(0, 256, (1, 3, 16, 16), dtype=np.uint8)
    made = processor(16)(images=pixels[0].transpose(1, 2, 0), return_tensors="pt")["pixel_values"]
    assert torch.allclose(normalised(pixels), made, atol=1e-6)


@pytest.mark.parametrize("change", ["shape", "name", "epochs", "no metadata"])
def test_a_state_that_does_not_fit(tmp_path, change):
    """Whole files, which another program may have written."""
    state = tmp_path / "state.safetensors"
    pixels = np.zeros((4, 3, 16, 16), np.uint8)
    images = LabelledImages(pixels, np.eye(2, dtype=np.float32)[[0, 1, 0, 1]])
    chosen = ClassifierSettings(image_size=16, channels=(2,), blocks=(1,), epochs=1, batch_size=2)
    train_classifier(chosen, images, images, ["a", "b"], state, tmp_path / "best")
    with safe_open(state, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if change == "shape":
        tensors["optimizer.0.exp_avg"] = tensors["optimizer.0.exp_avg"][..., :1]
    elif change == "name":
        tensors["network.x"] = tensors.pop(next(name for name in tensors if name.startswith("network.")))
    elif change == "epochs":
        metadata["epochs"] = '[["a", 1, 1, 1]]'
    save_file(
        {name: t.contiguous() for name, t in tensors.items()},
        state,
        metadata if change != "no metadata" else None,
    )
    with pytest.raises(UserError, match=r"state\.safetensors is damaged \(.+\): remove"):
        train_classifier(chosen, images, images, ["a", "b"], state, tmp_path / "best")
