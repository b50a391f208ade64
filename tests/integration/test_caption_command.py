"""workflows/caption.py on a small finished run: the run's own captions and scores again."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from raysq.commandline import run_command
from raysq.config import UserError
from raysq.data.prepare import PrepareSettings, prepare
from raysq.finished import DecodeSettings, FinishedStage
from raysq.images.annotations import CaptionText, read_annotations
from raysq.images.store import FeatureStore
from raysq.workflow import main as run_workflow
from tests.images.made import save_weights
from tests.integration.finished_run import entry
from workflows import extract_features
from workflows.caption import CaptionSettings, main
from workflows.mle import RECIPE

ROOT = Path(__file__).parents[2]
COLOURS = {"red": (230, 20, 20), "green": (20, 200, 20), "blue": (10, 10, 230), "white": (250, 250, 250)}
SIZES = {"train": 24, "val": 4, "test": 6}


def write_squares(place: Path) -> None:
    """Images of one colour, and what three people say of each, one of them a word that nobody else says."""
    (place / "images").mkdir()
    listed = []
    for split, size in SIZES.items():
        for k in range(size):
            colour, (r, g, b) = list(COLOURS.items())[k % 4]
            name = f"{split}{k:02}.png"
            Image.new("RGB", (20, 20), (r - k // 4, g, b)).save(place / "images" / name)
            said = (f"A {colour} square.", f"this is {colour}", f"{colour} {'zzz' if k == 1 else 'only'}")
            listed.append({"filename": name, "split": split, "sentences": [{"raw": text} for text in said]})
    (place / "dataset.json").write_text(json.dumps({"images": listed}))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Images, annotations, weights, features, prepared data and a run that was trained on them."""
    folder = tmp_path_factory.mktemp("captions")
    write_squares(folder)
    save_weights(folder / "weights")
    save_weights(folder / "others", seed=2)
    for name in ("weights", "others"):
        argv = ["--images", folder / "images", "--weights", folder / name, "--num-workers", 0]
        argv += ["--output-dir", folder / f"features-{name}"]
        assert run_with(extract_features.ExtractSettings, extract_features.main, argv) == 0
    prepared = PrepareSettings(
        task="captioning",
        input=str(folder / "dataset.json"),
        features=folder / "features-weights",
        output_dir=folder / "data",
        min_count=2,
        max_ratio=0,
    )
    text = CaptionText(read_annotations(folder / "dataset.json"))
    prepare(prepared, text, features=FeatureStore.load(folder / "features-weights"))
    settings = {
        "task": "captioning",
        "data-dir": folder / "data",
        "output-dir": folder / "run",
        "num-learners": 0,
        "threads-per-learner": 1,
        "quiet": "true",
        "network.hidden-size": 16,
        "network.embedding-size": 16,
        "network.dropout": 0,
        "decoding.beam-size": 2,
        "mle.optimizer": "adam",
        "mle.learning-rate": 0.02,
        "mle.batch-size": 12,
        "mle.max-updates": 100,
        "mle.evaluate-every": 50,
    }
    assert run_workflow(RECIPE, None, [f"--{name}={value}" for name, value in settings.items()]) == 0
    return folder


def run_with(settings, function, argv):
    return run_command(settings, function, description="", argv=list(map(str, argv)))


def options(place, *more, of=None):
    """Of the command on the test images."""
    of = of or ("--features", place / "features-weights")
    return ["--run", place / "run", "--images", place / "images", *of, *more]


def caption(place, *more, of=None):
    """Exit status of the command in this process."""
    return run_with(CaptionSettings, main, options(place, *more, of=of))


def on_test(place):
    return "--annotations", place / "dataset.json", "--split", "test"


def rows(folder):
    return [line.split("\t") for line in (folder / "captions.tsv").read_text().splitlines()]


def test_the_captions_and_scores_of_the_run_to_the_last_digit_without_ray(place, tmp_path):
    """The real command line, where Ray and MLflow cannot be imported."""
    for package in ("ray", "mlflow"):
        (tmp_path / "without" / package).mkdir(parents=True)
        (tmp_path / "without" / package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    script = ROOT / "workflows" / "caption.py"
    command = [sys.executable, script, *options(place, *on_test(place)), "--output-dir=out"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'without'}:{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, command)), env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    hypotheses = (place / "run" / "hypotheses" / "mle.test.txt").read_text().splitlines()
    assert len(set(hypotheses)) > 2
    found = rows(tmp_path / "out")
    assert [row[:2] for row in found] == [[f"test{k:02}.png", text] for k, text in enumerate(hypotheses)]
    assert all(float(row[2]) < 0 for row in found)
    assert found[1][3:] == ["a green square", "this is green", "green zzz"]
    scores, test = json.loads((tmp_path / "out" / "scores.json").read_text()), entry(place / "run")["test"]
    assert (scores["captioned"], scores["scored"], scores["left_out"]) == (6, 6, {})
    for name in ("bleu", "bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider", "signature"):
        assert scores[name] == test[name], name
    printed = done.stdout.splitlines()
    assert printed[1] == f"test00.png: {hypotheses[0]}"
    assert f"CIDEr {test['cider']:.2f}" in printed[7]
    page = (tmp_path / "out" / "contact_sheet.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 6
    assert page.count("<li>") == 18
    assert "green zzz" in page


def test_images_give_what_their_features_give(place, tmp_path):
    of = "--weights", place / "weights"
    assert caption(place, *on_test(place), "--output-dir", tmp_path / "images", of=of) == 0
    assert caption(place, *on_test(place), "--output-dir", tmp_path / "features") == 0
    pairs = list(zip(rows(tmp_path / "images"), rows(tmp_path / "features"), strict=True))
    assert len(pairs) == 6
    for one, other in pairs:
        assert one[:2] == other[:2]
        assert float(one[2]) == pytest.approx(float(other[2]), abs=2e-4)


def test_an_archive_with_images_that_cannot_be_used(place, tmp_path, capsys):
    """A damaged one, one of a strange name, one without reference; no annotations, no scores."""
    images = tmp_path / "images"
    images.mkdir()
    shutil.copy(place / "images" / "test02.png", images / "b\n[red]é.png")
    (images / "broken.png").write_bytes((place / "images" / "test01.png").read_bytes()[:40])
    shutil.copy(place / "images" / "test00.png", images / "test00.png")
    with tarfile.open(tmp_path / "images.tar.gz", "w:gz") as tar:
        tar.add(images, "images")
    argv = ["--run", place / "run", "--images", tmp_path / "images.tar.gz", "--weights", place / "weights"]
    argv += ["--output-dir", tmp_path / "out"]
    assert run_with(CaptionSettings, main, argv) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].startswith("image left out: broken.png (no image that can be decoded (")
    (strange, first, _), (plain, second, _) = rows(tmp_path / "out")
    assert (strange, plain) == ("b\\n[red]é.png", "test00.png")
    assert printed[2] == f"{strange}: {first}"
    assert ("blue" in first, "red" in second) == (True, True)
    assert run_with(CaptionSettings, main, [*argv, "--annotations", place / "dataset.json"]) == 0
    assert "of 1 images with references" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["captioned"] == 2
    assert run_with(CaptionSettings, main, argv) == 0
    assert not (tmp_path / "out" / "scores.json").exists()


def test_images_without_features_or_damaged_since(place, tmp_path, capsys):
    shutil.copytree(place / "images", tmp_path / "images")
    shutil.copy(place / "images" / "test00.png", tmp_path / "images" / "new.png")
    (tmp_path / "images" / "test00.png").write_bytes(b"no longer an image")
    argv = [
        "--run",
        place / "run",
        "--images",
        tmp_path / "images",
        "--names",
        "test01.png,test00.png,new.png",
    ]
    argv += ["--features", place / "features-weights", "--output-dir", tmp_path / "out"]
    assert run_with(CaptionSettings, main, argv) == 0
    printed = capsys.readouterr().out
    assert f"image left out: new.png ({place / 'features-weights'} has no features of it)" in printed
    assert "image not on the sheet: test00.png (no image that can be decoded" in printed
    assert [row[0] for row in rows(tmp_path / "out")] == ["test00.png", "test01.png"]
    page = (tmp_path / "out" / "contact_sheet.html").read_text()
    assert page.count("<figure>") == 1


def test_how_many_by_name_and_on_the_sheet(place, capsys):
    assert caption(place, "--num", 3, "--sheet-size", 2) == 0
    assert [row[0] for row in rows(place / "run" / "captions")] == ["test00.png", "test01.png", "test02.png"]
    assert "2 of 3 images" in (place / "run" / "captions" / "contact_sheet.html").read_text()
    assert caption(place, "--beam-size", 1, "--unknown", "drop") == 0
    assert "and 14 more" in capsys.readouterr().out
    assert len(rows(place / "run" / "captions")) == 34


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--names", "a.png"], "--names a.png: "),
        (["--unknown", "copy"], "--unknown copy: an image has no words to copy: give keep or drop"),
        (["--split", "test"], "--annotations must be given with --split"),
        (["--weights", "w"], "--weights or else --features must be given"),
        (["--output-dir", "/dev/null/out"], "--output-dir /dev/null/out: Not a directory: make room"),
    ],
)
def test_mistakes_are_one_line(more, said, place, capsys):
    assert caption(place, *more) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("kind", ["--weights", "--features"])
def test_features_by_another_network_are_refused(kind, place, capsys):
    """Named as the run's preparation names it."""
    other = place / ("others" if kind == "--weights" else "features-others")
    known = FeatureStore.load(place / "features-weights").encoder_digest[:12]
    given = FeatureStore.load(place / "features-others").encoder_digest[:12]
    assert caption(place, of=(kind, other)) == 2
    assert (
        f"{kind} {other}: stage mle was trained with features of encoder weights ({known}), which is "
        f"not this one ({given}): give --weights and --image-size as its features were extracted with "
        "(by an earlier version: extract, prepare and train again)"
    ) in capsys.readouterr().err
    assert caption(place, "--image-size", 24, of=("--weights", place / "weights")) == 2


def test_annotations_of_other_images_are_refused(place, tmp_path, capsys):
    text = (place / "dataset.json").read_text().replace(".png", ".jpg")
    (tmp_path / "dataset.json").write_text(text)
    assert caption(place, "--annotations", tmp_path / "dataset.json") == 2
    assert "names none of the images" in capsys.readouterr().err


def test_it_is_no_run_for_text(place):
    settings = DecodeSettings(run=place / "run")
    with pytest.raises(UserError, match=r"stage mle in .* reads images: use python workflows/caption\.py"):
        FinishedStage.open(settings.run).translator(settings)
