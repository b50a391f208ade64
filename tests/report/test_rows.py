import gzip

import pytest

from raysq.config import UserError
from raysq.report.rows import Calibration, read_rows, write_rows
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
    return results([one, *others], ARMS, REFERENCES, baseline="MLE")


def test_what_is_written_is_read_again(found, tmp_path):
    write_rows(tmp_path, found)
    (read,) = read_rows(tmp_path)
    assert read.trials == found.trials[:1]
    assert read.trials[0].hypotheses == ["a b", "", "c d"]
    assert (read.space, read.task, read.references) == (found.space, "demo", REFERENCES)


def test_files_are_the_same_every_time(found, tmp_path):
    for name in ("one", "two"):
        write_rows(tmp_path / name, found)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).rglob("*.*")} for n in ("one", "two"))
    assert one == two
    assert set(one) == {
        "space.json",
        "erac-rate-0.5-seed-1.json",
        "erac-rate-0.5-seed-1.test.txt.gz",
        f"{DATA[:16]}.test.txt.gz",
    }


def test_rows_are_completed_and_replaced(found, tmp_path):
    write_rows(tmp_path, found)
    later = [trial("ERAC", 1, 60.0, {"rate": "0.5"}), trial("ERAC", 2, 70.0, {"rate": "0.5"})]
    write_rows(tmp_path, results(later, ARMS))
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
    write_rows(tmp_path, found)
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
    write_rows(tmp_path, found)
    path = tmp_path / "small-demo" / "space.json"
    path.write_text(path.read_text().replace('"mode": "max"', '"mode": "upwards"'))
    with pytest.raises(UserError, match=r"is of another version of raysq \(mode"):
        read_rows(tmp_path)
