"""workflows/report.py on a small experiment in a real store; its numbers from raw texts by another way."""

import csv
import json
import math
import shutil
from collections import Counter

import numpy as np
import pytest

from raysq.commandline import run_command
from raysq.metrics import corpus_bleu
from raysq.report.formats import Table
from raysq.report.section import Section
from raysq.sweep.space import Arm, Space
from raysq.tracked import Tracked
from raysq.tracking import Tracker, default_uri
from tests.report.store import Store
from workflows.report import ReportSettings, main

EXPERIMENT = "report"
ARMS = {"MLE": 0.35, "ERAC": 0.25, "RAML": 0.45}
"""Share of words that are wrong."""
SEEDS = (1, 2, 3)


def report(*arguments):
    return run_command(ReportSettings, main, description="", argv=list(map(str, arguments)))


def hypotheses(references, share, seed):
    generator = np.random.default_rng([seed, int(100 * share)])
    return [
        " ".join(word if generator.random() > share else "wrong" for word in line.split())
        for line in references
    ]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """40 sentences of 4 to 11 words to test on."""
    from raysq.data.corpus import GeneratedText
    from raysq.data.prepare import PrepareSettings, prepare
    from raysq.data.shards import Corpus

    generator = np.random.default_rng(1)
    lines = [" ".join(generator.choice(list("abcdefgh"), generator.integers(4, 12))) for _ in range(40)]
    pairs = [(line, line) for line in lines]
    folder = tmp_path_factory.mktemp("reported") / "data"
    text = GeneratedText("reported", {"train": pairs, "dev": pairs[:5], "test": pairs})
    prepare(PrepareSettings(output_dir=folder, min_count=1, max_ratio=0), text)
    return Corpus.load(folder)


@pytest.fixture(scope="module")
def references(corpus):
    split = corpus.splits["test"]
    return [split.target_text(i) for i in range(len(split))]


@pytest.fixture(scope="module")
def experiment(corpus, references, tmp_path_factory):
    """A sweep over three arms and three seeds of which the last trial diverged, and its run."""
    folder = tmp_path_factory.mktemp("reported store")
    store = Store(Tracker(default_uri(folder), EXPERIMENT), EXPERIMENT, folder / "files")
    arms = tuple(Arm(label, "erac") for label in ARMS)
    space = Space("small", "A small space", arms, SEEDS, baseline="MLE", table="dai2018-table1")
    sweep = store.sweep(space, **{"raysq.data_dir": str(corpus.folder)})
    for label, share in ARMS.items():
        for seed in SEEDS:
            texts = hypotheses(references, share, seed)
            score = corpus_bleu(texts, [[line] for line in references]).bleu
            result = {"state": "finished", "updates": 20, "best_update": 20, "seconds": 60.0}
            result |= {"dev": {"bleu": score}, "test": {"bleu": score}}
            history = {
                k: {"dev/bleu": score - 20 + k, "seconds": 2.0 * k, "reward_calls": 0.0} for k in (10, 20)
            }
            name = label.lower()
            given = {"identity": f"{label}{seed}", "result": result, "hypotheses": texts}
            stage = store.stage(sweep, name, {}, history, **given)
            state = "diverged" if (label, seed) == ("RAML", 3) else "finished"
            store.trial(sweep, label, seed, name, {name: stage}, {}, corpus.digest, state)
    return store, sweep


@pytest.fixture(scope="module")
def output(experiment, tmp_path_factory):
    """The report from MLflow."""
    folder = tmp_path_factory.mktemp("report")
    store, _ = experiment
    uri = store.tracker.uri
    assert report("--experiment", EXPERIMENT, "--tracking-uri", uri, "--output-dir", folder, "--no-log") == 0
    return folder


def rows(path):
    with path.open(newline="") as file:
        return {row["algorithm"].rstrip("†"): row for row in csv.DictReader(file)}


def counts(hypothesis, reference):
    """Of one sentence: words, words of the reference, and matches and n-grams for n = 1 to 4."""
    words, gold = hypothesis.split(), reference.split()
    found = [len(words), len(gold)]
    for n in range(1, 5):
        ours = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
        theirs = Counter(tuple(gold[i : i + n]) for i in range(len(gold) - n + 1))
        found += [sum(min(count, theirs[gram]) for gram, count in ours.items()), sum(ours.values())]
    return found


def bleu(sums):
    """Papineni et al. 2002, from summed counts."""
    length, gold, *grams = sums
    precisions = [grams[2 * k] / grams[2 * k + 1] for k in range(4)]
    if min(precisions) == 0:
        return 0.0
    penalty = min(1.0, math.exp(1 - gold / length))
    return 100 * penalty * math.exp(sum(map(math.log, precisions)) / 4)


@pytest.fixture(scope="module")
def raw(references):
    """[sentences, 10] counts by arm and seed."""
    return {
        (label, seed): np.array(
            [counts(h, r) for h, r in zip(hypotheses(references, share, seed), references, strict=True)]
        )
        for label, share in ARMS.items()
        for seed in SEEDS
    }


def test_means_and_spreads_from_raw_hypotheses(output, raw):
    table = rows(output / "small-demo" / "results.csv")
    for label, seeds in (("MLE", SEEDS), ("ERAC", SEEDS), ("RAML", SEEDS[:2])):
        scores = [bleu(raw[label, seed].sum(0)) for seed in seeds]
        mean = sum(scores) / len(scores)
        spread = math.sqrt(sum((score - mean) ** 2 for score in scores) / (len(scores) - 1))
        found = table[label]
        assert [float(found[key]) for key in ("mean", "sd", "min", "max")] == pytest.approx(
            [mean, spread, min(scores), max(scores)], rel=1e-5
        )
        assert found["n"] == str(len(seeds))
    assert (table["VAML"]["mean"], table["AC"]["mean"]) == ("not run", "not run")
    assert table["MLE"]["Dai et al. 2018: without input feeding (IWSLT 2014 de-en, test BLEU)"].startswith(
        "27.01"
    )


def test_gains_and_bootstrap_from_raw_hypotheses(output, raw):
    """The draws of numpy's generator with sacreBLEU's seed; everything else is counted again."""
    found = rows(output / "small-demo" / "significance.csv")["ERAC"]
    gains = [bleu(raw["ERAC", s].sum(0)) - bleu(raw["MLE", s].sum(0)) for s in SEEDS]
    mean = sum(gains) / 3
    half = 4.302652729749462 * math.sqrt(sum((gain - mean) ** 2 for gain in gains) / 2) / math.sqrt(3)
    assert float(found["mean gain of pairs"]) == pytest.approx(mean, rel=1e-5)
    assert found["95 % over seeds (t)"] == f"{mean - half:+.2f} .. {mean + half:+.2f}"
    assert float(found["p, signs flipped (exact)"]) == 0.25
    draws = np.random.default_rng(12345).choice(40, size=(1000, 40), replace=True)
    by_seed = {
        s: np.array([bleu(raw["ERAC", s][draw].sum(0)) - bleu(raw["MLE", s][draw].sum(0)) for draw in draws])
        for s in SEEDS
    }

    def p(differences, observed):
        away = np.abs(differences)
        return (1 + int(np.sum(away - away.mean() > abs(observed)))) / 1001

    drawn = sum(by_seed.values()) / 3
    assert float(found["p, paired bootstrap"]) == pytest.approx(p(drawn, mean), abs=1e-9)
    singles = [f"{p(by_seed[s], gains[s - 1]):.3f}" for s in SEEDS]
    assert found["the same by pair"] == ", ".join(singles)
    low, high = np.quantile(drawn, (0.025, 0.975))
    assert found["95 % over sentences"] == f"{low:+.2f} .. {high:+.2f}"


def test_what_diverged_is_said(output):
    text = (output / "report.md").read_text()
    assert "- 8 of 9 trials have finished, 1 diverged.\n" in text
    assert "| RAML† | " in text
    assert rows(output / "small-demo" / "results.csv")["RAML"]["not counted"] == "1 diverged"


def test_rows_make_the_same_report_again(output, tmp_path):
    assert report("--rows", output / "rows", "--output-dir", tmp_path) == 0
    compared = 0
    for path in sorted(output.rglob("*")):
        if path.is_file() and path.name not in ("report.html", "report.md"):  # which say when they were made
            assert (tmp_path / path.relative_to(output)).read_bytes() == path.read_bytes(), path
            compared += 1
    assert compared > 30


def test_rows_complete_what_the_experiment_does_not_have(output, experiment, tmp_path):
    """A trial that diverged there, and finished in a run whose rows were kept."""
    kept = tmp_path / "kept"
    (kept / "small-demo").mkdir(parents=True)
    names = ("space.json", "raml-seed-3.json", "raml-seed-3.test.txt.gz")
    for name in names:
        (kept / "small-demo" / name).write_bytes((output / "rows" / "small-demo" / name).read_bytes())
    row = kept / "small-demo" / "raml-seed-3.json"
    row.write_text(json.dumps({**json.loads(row.read_text()), "state": "finished", "test": {"bleu": 99.0}}))
    store, _ = experiment
    arguments = ("--experiment", EXPERIMENT, "--tracking-uri", store.tracker.uri, "--rows", kept, "--no-log")
    assert report(*arguments, "--output-dir", tmp_path / "report") == 0
    found = rows(tmp_path / "report" / "small-demo" / "results.csv")["RAML"]
    assert (found["n"], found["max"]) == ("3", "99.0")


def test_the_page_is_attached_to_the_sweep(experiment, tmp_path):
    store, sweep = experiment
    arguments = ("--experiment", EXPERIMENT, "--tracking-uri", store.tracker.uri, "--output-dir", tmp_path)
    tracked = Tracked(store.tracker.uri, EXPERIMENT)
    assert report(*arguments, "--no-log") == 0
    assert tracked.text(sweep, "report/report.html") is None
    assert report(*arguments) == 0
    assert tracked.text(sweep, "report/report.html") == (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("place", ["file", "file/below", "/proc"])
def test_an_output_folder_that_cannot_be_written(output, tmp_path, monkeypatch, capsys, place):
    """Told before figures are made."""
    monkeypatch.setattr("workflows.report.section_of", None)
    (tmp_path / "file").touch()
    assert report("--rows", output / "rows", "--output-dir", tmp_path / place) == 2
    error = capsys.readouterr().err
    assert f"--output-dir {tmp_path / place}: " in error
    assert error.endswith("give a folder that can be written\n")
    assert error.count("\n") == 1


def test_rows_of_an_earlier_report_do_not_stay(output, tmp_path, monkeypatch, capsys):
    """But those that are completed in their place do."""
    table = Table("results", "", [], [])
    monkeypatch.setattr(
        "workflows.report.section_of", lambda rows: Section(rows, None, ["said"], [table], [])
    )
    shutil.copytree(output / "rows", tmp_path / "rows")
    place = tmp_path / "rows" / "small-demo"
    (place / "mle-seed-1.json").rename(place / "mle-seed-9.json")
    stale = place / "mle-seed-9.json"
    stale.write_text(stale.read_text().replace('"seed": 1', '"seed": 9').replace('"mle"', '"other"'))
    other = {**json.loads(stale.read_text()), "data": "other"}  # left out of the report
    stale.write_text(json.dumps(other))
    assert report("--rows", tmp_path / "rows", "--output-dir", tmp_path) == 0
    assert stale.exists()
    capsys.readouterr()
    assert report("--rows", output / "rows", "--output-dir", tmp_path) == 0
    assert not stale.exists()
    assert f"removed: 1 rows of an earlier report in {tmp_path / 'rows'}" in capsys.readouterr().out


def test_mistakes_end_with_one_line(experiment, tmp_path, capsys):
    store, _ = experiment
    empty = Tracker(store.tracker.uri, "empty")
    for arguments, said in (
        ((), "--experiment or --rows must be given"),
        (("--rows", tmp_path / "no"), "holds no rows"),
        (("--experiment", "empty", "--tracking-uri", empty.uri), "has no sweep: python workflows/tune.py"),
        (("--experiment", "x", "--tracking-uri", empty.uri), "has no experiment 'x'"),
        (
            ("--rows", tmp_path, "--tracking-uri", empty.uri),
            "--tracking-uri has no effect without --experiment: leave it out",
        ),
        (("--rows", tmp_path, "--no-log"), "--no-log has no effect without --experiment"),
        (
            ("--experiment", "x", "--tracking-uri", "sqlite:////nowhere/mlflow.db"),
            "no tracking database /nowhere/mlflow.db: give the one that has the runs with --tracking-uri",
        ),
        (
            ("--experiment", EXPERIMENT, "--tracking-uri", empty.uri, "--data-dir", tmp_path),
            "no prepared data",
        ),
    ):
        assert report(*arguments, "--output-dir", tmp_path / "out") == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
