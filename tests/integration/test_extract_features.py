"""Features by Ray's workers, and the command lines of extract_features.py and train_image_encoder.py."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raysq.cluster.extraction import EncodingWorker, _room, _shard, encoding_on_ray
from raysq.commandline import run_command
from raysq.config import Unfinished, UserError
from raysq.images.encoder import ImageEncoder
from raysq.images.extraction import Extraction, extract
from raysq.images.pictures import Pictures
from raysq.images.store import FeatureStore
from raysq.workplace import workplace
from tests.images.made import save_weights, write_images
from workflows import extract_features, train_image_encoder

ROOT = Path(__file__).parents[2]
NAMES = [f"{k:03d}.png" for k in range(150)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Images, weights of a small network, and annotations that fit neither wholly."""
    folder = tmp_path_factory.mktemp("features")
    write_images(folder / "images", NAMES)
    save_weights(folder / "tiny")
    images = [
        {"id": k, "file_name": name} for k, name in enumerate([*NAMES[:148], "missing.png", "mute.png"])
    ]
    captions = [{"id": k, "image_id": k, "caption": f"image {k}"} for k in range(149)]
    captions.append({"id": 999, "image_id": 777, "caption": "of nothing"})
    captions.append({"id": 1000, "image_id": 4, "caption": "..."})
    (folder / "annotations").mkdir()
    for split, some in (("train", slice(0, 140)), ("val", slice(140, 145)), ("test", slice(145, 150))):
        ids = {image["id"] for image in images[some]}
        mine = [one for one in captions if one["image_id"] in ids or (split, one["id"]) == ("train", 999)]
        content = {"images": images[some], "annotations": mine}
        (folder / "annotations" / f"captions_{split}.json").write_text(json.dumps(content))
    return folder


def command(place, *more):
    script = ROOT / "workflows" / "extract_features.py"
    options = ["--images", place / "images", "--weights", place / "tiny", "--quiet", "--num-workers", 0]
    return [sys.executable, *map(str, [script, *options, *more])]


def here(place, *more, module=extract_features, settings=extract_features.ExtractSettings, options=None):
    """Exit status of a command in this process."""
    options = options or ["--images", place / "images", "--weights", place / "tiny", "--num-workers", 0]
    argv = [str(one) for one in [*options, *more]]
    return run_command(settings, module.main, description="", argv=argv)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def on_ray(place, folder, num_workers):
    extraction = Extraction.of(Pictures.find(place / "images", place), None, 8, 4)
    weights = str(place / "tiny")
    record = ImageEncoder.load(weights).record
    with (
        workplace(folder, "the extraction") as hidden,
        encoding_on_ray(extraction, weights, None, record, num_workers, "cpu") as encode,
    ):
        return extract(extraction, record, hidden, folder, encode)


def test_one_worker_and_two_give_equal_features(place, tmp_path, ray_session):
    one = on_ray(place, tmp_path / "one", 1)
    on_ray(place, tmp_path / "two", 2)
    assert len(one.manifest.shards) == 5
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert here(place, "--batch-size", 8, "--output-dir", tmp_path / "here") == 0
    assert FeatureStore.load(tmp_path / "here").digest == one.digest


def test_what_the_cluster_lacks(place, tmp_path, ray_session):
    with pytest.raises(UserError, match="--num-workers 9: there are 4 CPUs: lower it"):
        on_ray(place, tmp_path / "out", 9)
    assert list(tmp_path.iterdir()) == []


def test_workers_with_other_weights_are_refused(place):
    record = ImageEncoder.load(str(place / "tiny")).record
    features = np.ones((2, 8), np.float32).tobytes()
    rest = {"names": ["a.png", "b.png"], "skipped": {}, "node": "there", "encoder": record.identity}
    row = {"number": 3, "features": features, "rest": json.dumps(rest)}
    shard = _shard(row, "tiny", record)
    assert (shard.number, shard.names, shard.features.tolist()) == (3, ("a.png", "b.png"), [[1] * 8] * 2)
    with pytest.raises(UserError, match="--weights tiny are others on there than here: give the same"):
        _shard(row | {"rest": json.dumps(rest | {"encoder": "another"})}, "tiny", record)


def test_a_worker_s_user_error_is_the_command_s(place):
    """As where only the workers lack the weights."""
    extraction = Extraction.of(Pictures.find(place / "images", place), None, 8, 4)
    record = ImageEncoder.load(str(place / "tiny")).record
    rows = EncodingWorker(extraction, "nowhere", None, "cpu")({"number": np.array([3])})
    with pytest.raises(
        UserError, match=r"^--weights nowhere is no folder, .* check it \(said by a worker on "
    ):
        _shard({key: values[0] for key, values in rows.items()}, "nowhere", record)


def test_a_worker_s_other_failures_end_the_command_in_a_line(place, tmp_path, ray_session):
    extraction = Extraction.of(Pictures.find(place / "images", place), None, 8, 4)
    record = ImageEncoder.load(str(place / "tiny")).record

    def encode_what_is_not_there():
        with encoding_on_ray(
            replace(extraction, names=("x.png",)), str(place / "tiny"), None, record, 1, "cpu"
        ) as encode:
            list(encode([0]))

    with pytest.raises(
        Unfinished, match=r"^an encoding worker failed \(KeyError: 'x.png'\): mend that, then repeat"
    ):
        encode_what_is_not_there()


@pytest.mark.parametrize(
    ("device", "there", "expected"),
    [
        ("auto", {"CPU": 4.0}, ("cpu", 0.0)),
        ("auto", {"CPU": 4.0, "GPU": 1.0}, ("cuda", 0.33)),
        ("auto", {"CPU": 4.0, "GPU": 8.0}, ("cuda", 1.0)),
        ("cpu", {"CPU": 4.0, "GPU": 8.0}, ("cpu", 0.0)),
    ],
)
def test_three_workers_share_the_gpus(device, there, expected):
    assert _room(3, device, there) == expected


def test_gpus_that_are_not_there():
    with pytest.raises(UserError, match="--device cuda: there is no GPU"):
        _room(1, "cuda", {"CPU": 4.0})


def test_what_does_not_fit_is_named(place, tmp_path, capsys):
    options = ("--names-from", place / "annotations", "--output-dir", tmp_path / "out")
    assert here(place, *options) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[:-2] == [
        "image left out: missing.png (missing)",
        "image without caption: 148.png",
        "image without caption: 149.png",
        "annotated image without caption: mute.png",
        "annotation without image: caption 999 of image 777 in captions_train.json",
        "empty caption of image: 004.png",
    ]
    assert printed[-2].startswith("148 images, 8 features each, 1 shards, ")
    assert "written in" in printed[-1]
    assert here(place, *options) == 0
    assert "reused: same images, same network" in capsys.readouterr().out


@pytest.mark.faults
def test_killed_and_repeated_gives_the_same_files(place, tmp_path):
    write_images(tmp_path / "images", [f"{k:04d}.png" for k in range(2_000)], size=16)
    (tmp_path / "tiny").symlink_to(place / "tiny")
    run = command(tmp_path, "--batch-size", 2, "--output-dir", tmp_path / "killed")
    begun = subprocess.Popen(run)
    hidden = tmp_path / ".killed.partial"
    while not list(hidden.glob("features-*.json")):
        assert begun.poll() is None
        time.sleep(0.01)
    begun.send_signal(signal.SIGKILL)
    begun.wait()
    assert not (tmp_path / "killed").exists()
    before = {path: path.stat().st_mtime_ns for path in hidden.glob("features-*.json")}
    subprocess.run(run, check=True)
    assert not hidden.exists()
    subprocess.run(command(tmp_path, "--batch-size", 2, "--output-dir", tmp_path / "whole"), check=True)
    assert 0 < len(before) < 125
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


def test_a_finished_folder_is_not_mixed_with_another_s(place, tmp_path, capsys):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("x")
    assert here(place, "--output-dir", tmp_path / "taken") == 2
    assert "exists and holds no features" in capsys.readouterr().err
    assert here(place, "--output-dir", tmp_path / "out") == 0
    assert here(place, "--output-dir", tmp_path / "out", "--image-size", 20) == 2
    assert (
        "holds features of other images or of images that were written anew since, or by another network"
        in capsys.readouterr().err
    )
    path = next((tmp_path / "out").glob("*.npy"))
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    assert here(place, "--output-dir", tmp_path / "out") == 2
    assert "was changed: remove" in capsys.readouterr().err


def test_an_archive_with_too_many_bad_images(place, tmp_path, capsys):
    with tarfile.open(tmp_path / "images.tar.gz", "w:gz") as tar:
        for name in NAMES[:50]:
            tar.add(place / "images" / name, name)
        tar.add(ROOT / "README.md", "broken.jpg")
    options = ["--images", tmp_path / "images.tar.gz", "--weights", place / "tiny", "--num-workers", 0]
    assert here(place, "--output-dir", tmp_path / "out", options=options) == 2
    assert "1 of 51 images cannot be used, more than 1%, as broken.jpg: no image" in capsys.readouterr().err
    assert os.listdir(tmp_path).count("out") == 0


def test_names_that_no_line_and_no_manifest_can_hold(place, tmp_path, capsys):
    write_images(tmp_path / "images", [f"{k:03d}.png" for k in range(150)], size=4)
    (tmp_path / "images" / "005.png").rename(tmp_path / "images" / "caf\udce9.png")
    names = [f"{k:03d}.png" for k in range(149)] + ["a\nb.png"]
    images = [
        {"filename": name, "split": ("train", "val", "test")[k % 3], "sentences": [{"raw": "it"}]}
        for k, name in enumerate(names)
        if k != 5
    ]
    (tmp_path / "dataset.json").write_text(json.dumps({"images": images}))
    options = ["--images", tmp_path / "images", "--weights", place / "tiny", "--num-workers", 0]
    assert here(place, "--output-dir", tmp_path / "all", options=options) == 0
    assert capsys.readouterr().out.startswith(
        "image left out: caf\\udce9.png (its name is no UTF-8: rename it)\n"
    )
    options += ["--names-from", tmp_path / "dataset.json"]
    assert here(place, "--output-dir", tmp_path / "some", options=options) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        "image left out: a\\nb.png (missing)",
        "image without caption: 149.png",
    ]


def test_an_encoder_is_trained_and_used(place, tmp_path, capsys):
    labels = [
        {"filename": name, "split": "val" if k % 5 == 0 else "train", "scene": "ab"[k % 2]}
        for k, name in enumerate(NAMES[:60])
    ]
    labels[7] = {"filename": "gone.png", "split": "train", "scene": "a"}
    (tmp_path / "labels.json").write_text(json.dumps({"images": labels}))
    small = ("--image-size", 16, "--channels", "4,8", "--blocks", "1,1", "--epochs", 2)
    options = ["--images", place / "images", "--labels", tmp_path / "labels.json", *small]
    training = {
        "module": train_image_encoder,
        "settings": train_image_encoder.TrainEncoderSettings,
        "options": options,
    }
    assert here(place, "--output-dir", tmp_path / "encoder", **training) == 0
    printed = capsys.readouterr().out
    assert "left out: gone.png (missing)" in printed
    assert "47 train, 12 dev, 0 unlabelled" in printed
    record = json.loads((tmp_path / "encoder" / "training.json").read_text())
    assert record["labels"] == ["a", "b"]
    assert record["best"]["dev_accuracy"] == max(epoch["dev_accuracy"] for epoch in record["epochs"])
    assert f"dev accuracy {record['best']['dev_accuracy']:.4f} after epoch" in printed
    assert here(place, "--output-dir", tmp_path / "encoder", **training) == 2
    assert "exists already" in capsys.readouterr().err
    deep = ("--channels", "4,4,4,4,4,4", "--blocks", "1,1,1,1,1,1", "--output-dir", tmp_path / "deep")
    assert here(place, *deep, **training) == 2
    assert "error: --image-size must be 32 or more with so many --channels" in capsys.readouterr().err
    options = ["--images", place / "images", "--weights", tmp_path / "encoder", "--num-workers", 0]
    assert here(place, "--output-dir", tmp_path / "out", options=options) == 0
    assert FeatureStore.load(tmp_path / "out").feature_size == 16
