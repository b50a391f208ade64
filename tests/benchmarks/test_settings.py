import os

import pytest

from raysq.commandline import parse
from raysq.config import UserError
from tests.benchmarks.settings import BenchmarkSettings


def read(*argv: str) -> BenchmarkSettings:
    return parse(BenchmarkSettings, ["--output-dir=out", *argv], prog="", description="")


def test_defaults_are_all_suites_but_the_long_one():
    assert read().suite == ("updates", "rewards", "decoding", "ray", "scaling")
    assert read().vocabulary is None


def test_several_values_are_joined_by_commas():
    settings = read("--suite", "rewards,decoding", "--vocabulary", "1000,8000", "--hidden", "512")
    assert (settings.suite, settings.vocabulary, settings.hidden) == (
        ("rewards", "decoding"),
        (1000, 8000),
        (512,),
    )


@pytest.mark.parametrize("suite", ["speed", "rewards,speed", ""])
def test_an_unknown_suite_is_said_with_those_there_are(suite):
    with pytest.raises(UserError, match="must be updates, sizes, rewards, decoding, ray or scaling"):
        read(f"--suite={suite}")


@pytest.mark.parametrize(
    "argument", ["--vocabulary=0", "--repeats=0", "--threads=-1", "--length=3", "--device=tpu"]
)
def test_settings_are_checked(argument):
    with pytest.raises(UserError, match=argument.partition("=")[0]):
        read(argument)


def test_threads_by_default_are_all_cores_but_one():
    assert read("--threads=3").num_threads == 3
    assert read().num_threads == max(1, len(os.sched_getaffinity(0)) - 1)
