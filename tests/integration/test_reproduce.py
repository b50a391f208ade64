"""What `make reproduce` compares; it is itself the test that two trainings are the same."""

import json

import torch

from raysq.training import checkpoint
from tests.integration import reproduce
from tests.integration.reproduce import differing, digests, main


def made(run, weight=1.0, text="a dog"):
    """A finished run of one stage."""
    checkpoint.save(run / "mle" / "checkpoints", 10, {"policy.w": torch.tensor([weight])}, {}, best=True)
    checkpoint.save(run / "mle" / "checkpoints", 20, {"policy.w": torch.tensor([9.0])}, {})
    (run / "hypotheses").mkdir()
    (run / "hypotheses" / "mle.test.txt").write_text(f"{text}\n")
    (run / "result.json").write_text(json.dumps({"stages": [{"name": "mle", "folder": str(run / "mle")}]}))
    return digests(run)


def test_the_same_parameters_and_hypotheses_have_the_same_digests(tmp_path):
    first, second = made(tmp_path / "a"), made(tmp_path / "b")
    assert list(first) == ["mle, update 10, parameters", "hypotheses/mle.test.txt"]
    assert differing(first, second) == []


def test_the_last_bit_counts(tmp_path):
    first = made(tmp_path / "a")
    nearly = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0)).item()
    assert differing(first, made(tmp_path / "b", weight=nearly)) == ["mle, update 10, parameters"]
    assert differing(first, made(tmp_path / "c", text="a cat")) == ["hypotheses/mle.test.txt"]
    assert differing(first, {}) == list(first)


def test_status_and_verdict(tmp_path, monkeypatch, capsys):
    trained = iter([{"a": "0" * 64, "b": "1" * 64}] * 2 + [{"a": "0" * 64}, {"a": "2" * 64}])
    monkeypatch.setattr(reproduce, "train", lambda place, options: next(trained))
    assert main(["--place", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith("reproduced: 2 digests are the same twice\n")
    assert main(["--place", str(tmp_path)]) == 1
    assert capsys.readouterr().out == (f"{'0' * 16}  {'2' * 16}  a\nNOT REPRODUCED: 1 of 1 differ, as a\n")
