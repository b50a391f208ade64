from pathlib import Path

import pytest

from raysq.cluster.ready import Outcome
from raysq.config import UserError
from raysq.sweep.graph import Graph
from raysq.sweep.outcomes import Outcomes
from raysq.sweep.plans import Trials, planned
from raysq.sweep.settings import TuneSettings
from raysq.sweep.space import Arm, Space
from workflows.tune import recipe_named

SPACE = Space("small", "Small", (Arm("MLE", "mle"), Arm("AC", "ac")), seeds=(1,))


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    trials = Trials(SPACE, TuneSettings(space="small"), recipe_named).all()
    return planned(trials, tmp_path / "stages", "data", "version")


def test_divergences_last_and_what_starts_from_them_is_not_run(graph: Graph, tmp_path: Path) -> None:
    mle = next(folder for folder, node in graph.nodes.items() if node.stage.spec.name == "mle")
    known = Outcomes(tmp_path, graph, "none")
    assert known.ended == {}
    known.note(mle, Outcome("diverged", "a loss of nan"))
    again = Outcomes(tmp_path, graph, "none").ended
    assert again[mle] == Outcome("diverged", "a loss of nan")
    assert {o.reason for folder, o in again.items() if folder != mle} == {"mle diverged"}
    known.note(mle, Outcome("failed", "out of memory"))
    assert Outcomes(tmp_path, graph, "none").ended == {}


@pytest.mark.parametrize("content", ["[]", '{"mle": ["lost", ""]}', '{"mle": ["diverged"]}', "[" * 100_000])
def test_a_damaged_file_is_named(graph: Graph, tmp_path: Path, content: str) -> None:
    (tmp_path / "outcomes.json").write_text(content)
    with pytest.raises(UserError, match=r"outcomes\.json is damaged .*: remove it and repeat the command"):
        Outcomes(tmp_path, graph, "none")
