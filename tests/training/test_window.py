import math

from raysq.training.window import Window, add, averages


def test_means_and_rates_over_two_updates() -> None:
    window: Window = {}
    add(window, {"nll": (30.0, 10.0), "q": (1.0, 0.0), "tokens": (10.0, 1.0), "waited": (0.1, 2.0)})
    add(window, {"nll": (10.0, 10.0), "q": (2.0, 0.0), "tokens": (20.0, 1.0), "waited": (0.3, 2.0)})
    add(window, {"seconds": (1.5, 1.0)})
    add(window, {"seconds": (0.5, 1.0)})
    found = averages(window)
    assert math.isnan(found.pop("train/q"))
    assert found == {
        "train/nll": 2.0,
        "train/tokens_per_second": 15.0,
        "train/updates_per_second": 1.0,
        "train/reward_wait_share": 0.1,  # of each of two learners: 0.2 s in 2 s
    }
