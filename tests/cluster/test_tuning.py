import pytest
import ray

from raysq.cluster.tuning import Resources
from raysq.config import UserError
from raysq.training.job import NumWorkers


def test_what_a_trial_reserves() -> None:
    """One that waits for learners of its own must leave them their CPUs."""
    assert Resources(2, 0.0).of_trial() == {"CPU": 2}
    assert Resources(1, 0.25).of_trial() == {"CPU": 1, "GPU": 0.25}
    assert Resources(1, 0.0, nested=NumWorkers(2, 1, 1)).of_trial() == {"CPU": 0, "memory": 2**20}


@pytest.mark.parametrize(
    ("resources", "at_a_time"),
    [
        (Resources(1, 0.0), 8),
        (Resources(3, 0.0), 2),
        (Resources(1, 0.5), 4),
        (Resources(1, 1.0, concurrent=1), 1),
        (Resources(1, 0.0, nested=NumWorkers(3, 1, 1)), 2),
        (Resources(1, 0.0, nested=NumWorkers(1, 4, 1, "reward"), places=4), 3),
        (Resources(1, 0.0, nested=NumWorkers(1, 13, 1, "reward"), places=13), 1),
    ],
)
def test_trials_at_a_time(monkeypatch: pytest.MonkeyPatch, resources: Resources, at_a_time: int) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": 2.0, "reward": 12.0})
    assert resources.most() == at_a_time


def test_a_trial_that_fits_nowhere_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tune would wait for it for ever."""
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0})
    with pytest.raises(UserError, match="--cpus-per-trial 9: there are 8 CPUs: lower it"):
        Resources(9, 0.0).most()
    with pytest.raises(UserError, match=r"--gpus-per-trial 0\.5: there are 0 GPUs: lower it"):
        Resources(1, 0.5).most()
