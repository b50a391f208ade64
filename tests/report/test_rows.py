import gzip
import json
from pathlib import Path

import pytest

from raysq.config import UserError
from raysq.report.rows import Calibration, _file_names, read_rows, write_rows
from raysq.sweep.space import Arm, Axis, Range
from tests.report.made import DATA, REFERENCES, results, stage, trial

ARMS = (Arm("ERAC", "erac", {"erac.tau": 0.1}, (Axis("rate", Range(0.1, 1.0, log=True)),), seeds=(1, 2)),)


@pytest.fixture
def found():
    calibration = [Calibration(position=0, n=3, mean_q=1, mean_return=2, correlation=0, bins=[(1, 2, 3)])]
    erac = stage(
        scores=[(5, 1.5, 20, 30.25)], calibration=calibration, gradient_noise={"best": {"draws": 16}}
    )
    one = trial("ERAC", 1, 50.0, {"rate": "0.5"}, stages=[erac], hypotheses=["a b", "", "c d"])
    others = [trial("ERAC", 2, state="not run"), trial("ERAC", 3, state="unfinished")]
    return results([one, *others], ARMS, REFERENCES, baseline="ERAC")


def test_what_is_written_is_read_again(found, tmp_path):
    write_rows(tmp_path, [found])
    (read,) = read_rows(tmp_path)
    assert read.trials == found.trials[:1]
    assert read.trials[0].hypotheses == ["a b", "", "c d"]
    assert (read.space, read.task, read.references) == (found.space, "demo", REFERENCES)


def test_files_are_the_same_every_time(found, tmp_path):
    for name in ("one", "two"):
        write_rows(tmp_path / name, [found])
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).rglob("*.*")} for n in ("one", "two"))
    assert one == two
    assert set(one) == {
        "space.json",
        "erac-rate-0.5-seed-1.json",
        "erac-rate-0.5-seed-1.test.txt.gz",
        f"{DATA[:16]}.test.txt.gz",
    }


def test_rows_are_completed_and_replaced(found, tmp_path):
    write_rows(tmp_path, [found])
    later = [trial("ERAC", 1, 60.0, {"rate": "0.5"}), trial("ERAC", 2, 70.0, {"rate": "0.5"})]
    write_rows(tmp_path, [results(later, ARMS)])
    (read,) = read_rows(tmp_path)
    assert [(t.test["bleu"], t.hypotheses) for t in read.trials] == [(60.0, None), (70.0, None)]


def test_what_came_before_the_judged_stage():
    stages = [stage("mle"), stage("critic", ["mle"]), stage("erac", ["critic"])]
    stages.append(stage("continued_mle", ["mle"]))

    def before(final):
        return [s.name for s in trial("X", stages=stages, final=final).before()]

    assert before("erac") == ["mle", "critic"]
    assert before("continued_mle") == ["mle"]
    assert before("mle") == before("unknown") == []


def test_a_folder_without_rows(tmp_path):
    with pytest.raises(UserError, match="holds no rows: give --rows the folder rows/ of a report"):
        read_rows(tmp_path)


def test_damaged_rows_name_the_file(found, tmp_path):
    write_rows(tmp_path, [found])
    (text,) = tmp_path.rglob("erac*.gz")
    text.write_bytes(gzip.compress(b"a b\n")[:-4])
    with pytest.raises(UserError, match=r"seed-1\.test\.txt\.gz is damaged"):
        read_rows(tmp_path)
    text.unlink()
    (row,) = tmp_path.rglob("erac*.json")
    row.write_text('{"arm": "ERAC"}')
    with pytest.raises(UserError, match=r"seed-1\.json is damaged.*values: Field required"):
        read_rows(tmp_path)


def test_a_space_of_another_version(found, tmp_path):
    write_rows(tmp_path, [found])
    path = tmp_path / "small-demo" / "space.json"
    path.write_text(path.read_text().replace('"mode": "max"', '"mode": "upwards"'))
    with pytest.raises(UserError, match=r"is of another version of raysq \(mode"):
        read_rows(tmp_path)


def test_damage_inside_a_compressed_file(found, tmp_path):
    write_rows(tmp_path, [found])
    (text,) = tmp_path.rglob("erac*.gz")
    whole = gzip.compress(b"a b\n")
    text.write_bytes(whole[:10] + b"\xff" * 4 + whole[14:])
    with pytest.raises(
        UserError, match=r"seed-1\.test\.txt\.gz is damaged .*: remove it and make the rows again"
    ):
        read_rows(tmp_path)


def test_hypotheses_of_other_sentences_than_the_references(found, tmp_path):
    found.trials[0].hypotheses = ["a b", "c d"]
    write_rows(tmp_path, [found])
    with pytest.raises(
        UserError, match=r"seed-1\.test\.txt\.gz has 2 lines, .*references/d+\.test\.txt\.gz 3: "
    ):
        read_rows(tmp_path)


def names(folder):
    return sorted(path.name for path in (folder / "small-demo").glob("*.json") if path.name != "space.json")


def test_trials_that_differ_in_letters_that_files_do_not_have(tmp_path):
    axis = Axis("x", (-1.0, 1.0), ("erac.x",))
    trials = [trial("ERAC", 1, bleu, {"x": x}) for x, bleu in (("-1.0", 1.0), ("1.0", 2.0), ("1e-05", 3.0))]
    trials += [trial(arm, 1, bleu) for arm, bleu in (("ERAC τ", 4.0), ("RAML", 5.0), ("raml", 6.0))]
    made = results(trials, (Arm("ERAC", "erac", axes=(axis,)),))
    write_rows(tmp_path, [made])
    assert names(tmp_path) == [
        "erac-seed-1-8e67ebd3.json",
        "erac-x-1.0-seed-1-cd458165.json",
        "erac-x-1.0-seed-1.json",
        "erac-x-1e-05-seed-1.json",
        "raml-seed-1-a538d8ea.json",
        "raml-seed-1-c842e3ea.json",
    ]
    (read,) = read_rows(tmp_path)
    assert sorted(t.test["bleu"] for t in read.trials) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def test_a_smaller_report_leaves_no_rows_of_an_earlier_one(found, tmp_path):
    other = results([trial("MLE", 1, 5.0), trial("MLE", 2, 5.0)], name="other")
    larger = [trial("ERAC", s, 1.0, {"rate": "0.5"}, hypotheses=["a", "b", "c"]) for s in (1, 2)]
    assert write_rows(tmp_path, [results(larger, ARMS, REFERENCES), other]) == 0
    (tmp_path / "small-demo" / "erac-rate-0.5-seed-2.json").write_text("damaged")
    (tmp_path / "references" / "0123456789abcdef.test.txt.gz").touch()
    assert write_rows(tmp_path, [found]) == 3
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")) == [
        f"references/{DATA[:16]}.test.txt.gz",
        "small-demo/erac-rate-0.5-seed-1.json",
        "small-demo/erac-rate-0.5-seed-1.test.txt.gz",
        "small-demo/space.json",
    ]
    assert not (tmp_path / "other-demo").exists()


def test_kept_rows_are_completed_in_their_place(found, tmp_path):
    """And one that had another name is there once."""
    kept = results([trial("ERAC", 7, 1.0, {"rate": "0.5"}), trial("ERAC", 1, 1.0, {"rate": "0.5"})], ARMS)
    write_rows(tmp_path, [kept, results([trial("MLE", 1, 5.0)], name="other")])
    place = tmp_path / "small-demo"
    (place / "erac-rate-0.5-seed-1.json").rename(place / "erac-rate-0.5-seed-1-01234567.json")
    assert write_rows(tmp_path, [found], keep=True) == 1
    assert names(tmp_path) == ["erac-rate-0.5-seed-1.json", "erac-rate-0.5-seed-7.json"]
    assert [place.space.name for place in read_rows(tmp_path)] == ["other", "small"]


def test_the_latest_of_kept_rows_come_first(tmp_path):
    trials = [trial("MLE", seed, 1.0, started=started) for seed, started in ((1, 0), (2, 5), (3, 9))]
    write_rows(tmp_path, [results(trials)])
    (read,) = read_rows(tmp_path)
    assert [t.seed for t in read.trials] == [3, 2, 1]


def test_schedules_that_were_cut_short():
    def stages(critic, erac, stopped_by):
        return [
            stage("mle", updates=900, stopped_by="no improvement after 6 decays"),
            stage("critic", updates=critic, stopped_by=f"all of {critic} updates done"),
            stage("erac", updates=erac, stopped_by=stopped_by),
            stage("continued_mle", updates=erac, stopped_by=f"all of {erac} updates done", control=True),
        ]

    one = trial("ERAC", 1, stages=stages(2900, 1160, "all of 1160 updates done"))
    other = trial("ERAC", 2, stages=stages(1450, 1000, "no improvement after 6 decays"))
    diverged = stage("ac", updates=10, stopped_by="all of 10 updates done").model_copy(
        update={"state": "diverged"}
    )
    assert results([one]).schedule == "critic 2,900 updates, erac 1,160 updates"
    assert results([one, other]).schedule == "critic 1,450 to 2,900 updates, erac 1,160 updates"
    assert results([trial("AC", 1, stages=[stage("mle"), diverged])]).schedule == ""


def test_rows_that_are_kept_here():
    """Of earlier versions: names and contents stay valid."""
    kept = read_rows(Path("tests/benchmarks/results/sweeps"))
    assert {"comparison", "tau"} <= {results.space.name for results in kept}
    for part in kept:
        found = [path.stem for path in Path(part.place).glob("*.json") if path.name != "space.json"]
        assert found
        assert sorted(_file_names(part.trials).values()) == sorted(found)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "../../x"}, r"space\.json is damaged .*task: "),
        ({"data": "../../../etc/x"}, r"space\.json is damaged .*data: "),
        ({"space": {"name": "../x"}}, r"space\.json: tune space \.\./x: its name must fit a folder"),
        ({"space": {"arms": 3}}, r"the space in \S+space\.json is of another version .*arms: "),
        (
            {"space": {"seeds": [1, 1]}},
            r"space\.json: tune space small has 2 trials .*: give each once; then",
        ),
    ],
)
def test_rows_that_somebody_edited(tmp_path, changes, message):
    """What names folders stays within the report's."""
    write_rows(tmp_path, [results([trial("MLE", 1, 50.0)])])
    path = tmp_path / "small-demo" / "space.json"
    kept = json.loads(path.read_text())
    space = kept["space"] | changes.get("space", {})
    path.write_text(json.dumps({**kept, **changes, "space": space}))
    with pytest.raises(UserError, match=message):
        read_rows(tmp_path)


def test_hypotheses_that_fill_the_memory_are_refused(found, tmp_path, monkeypatch):
    write_rows(tmp_path, [found])
    bomb = gzip.compress(bytes(1_000_000))
    (tmp_path / "small-demo" / "erac-rate-0.5-seed-1.test.txt.gz").write_bytes(bomb)
    monkeypatch.setattr("raysq.report.rows.MAX_TEXT_BYTES", 999_999)
    with pytest.raises(UserError, match=r"test\.txt\.gz decompresses to more than 999,999 bytes: remove it"):
        read_rows(tmp_path)
