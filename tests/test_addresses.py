from pathlib import Path

import pytest
from pydantic import ValidationError

from raysq.addresses import Place, address_of, moved, placed, working_copies, written
from raysq.config import Config, UserError, flatten


@pytest.fixture(autouse=True)
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYSQ_CACHE", str(tmp_path / "copies"))
    return tmp_path / "copies"


class Settings(Config):
    """Of a command."""

    where: Place | None = None
    """Either."""
    many: tuple[Place, ...] = ()
    """Either."""
    file: Path | None = None
    """A path."""


@pytest.mark.parametrize(
    ("typed", "copy"),
    [
        ("s3://bucket/runs/a", "s3/bucket/runs/a"),
        ("s3://bucket/runs/a/", "s3/bucket/runs/a"),
        ("gs://bucket/ü b", "gs/bucket/ü b"),
        ("memory://x/y", "memory/x/y"),
    ],
)
def test_an_address_has_one_working_copy_which_spells_it(typed: str, copy: str, copies: Path) -> None:
    assert placed(typed) == copies / copy
    assert address_of(placed(typed)) == typed.rstrip("/")
    assert address_of(placed(typed) / "result.json") == f"{typed.rstrip('/')}/result.json"


def test_a_path_is_a_place_of_its_own(tmp_path: Path, copies: Path) -> None:
    assert placed("runs/a") == Path("runs/a")
    assert address_of(tmp_path) is None
    assert address_of(copies) is None


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("s3://key:secret@bucket/runs", "no user, password or query"),
        ("s3://bucket/runs?X-Amz-Signature=secret", "no user, password or query"),
        ("file:///runs", "as a path"),
        ("https://host/runs", "which https:// is not"),
        ("s4://bucket/runs", "which s4:// is not"),
        ("s3://bucket", "a folder in a bucket"),
        ("s3://bucket/../runs", "no name begins with ."),
        ("s3://bucket//runs", "a folder in a bucket"),
        ("simplecache::s3://bucket/runs", "one URL"),
    ],
)
def test_what_is_no_address_to_write_to_is_refused_without_its_secrets(typed: str, said: str) -> None:
    with pytest.raises(ValueError, match="must") as refused:
        placed(typed)
    assert said in str(refused.value)
    assert "secret" not in str(refused.value)


def test_what_leaves_the_process_has_the_address(copies: Path) -> None:
    folder = copies / "s3" / "bucket" / "runs"
    assert written(folder) == "s3://bucket/runs"
    assert written(f"from {folder / 'a'} to {folder}, not {copies}") == (
        f"from s3://bucket/runs/a to s3://bucket/runs, not {copies}"
    )
    assert str(UserError(f"{folder} is damaged")) == "s3://bucket/runs is damaged"
    assert written(Path("/runs/a")) == "/runs/a"


def test_settings_take_addresses_and_write_them_down(copies: Path) -> None:
    settings = Settings.model_validate({"where": "s3://bucket/runs", "many": ["s3://bucket/a", "b"]})
    assert settings.where == copies / "s3/bucket/runs"
    assert settings.many == (copies / "s3/bucket/a", Path("b"))
    assert flatten(settings) == {"where": "s3://bucket/runs", "many": "s3://bucket/a,b", "file": None}
    assert Settings.model_validate_json(settings.model_dump_json()) == settings
    assert settings.model_dump(mode="json")["where"] == "s3://bucket/runs"
    assert Settings(where=Path("runs")).model_dump(mode="json")["where"] == "runs"


def test_a_setting_that_takes_no_address_says_so() -> None:
    with pytest.raises(ValidationError, match="must be a path on this machine"):
        Settings.model_validate({"file": "s3://bucket/file"})


def test_a_folder_of_another_machine_is_found_here(copies: Path) -> None:
    theirs = Path("/home/other/copies")
    assert moved(theirs / "s3/bucket/a", theirs) == copies / "s3/bucket/a"
    assert moved(Path("/data"), theirs) == Path("/data")
    assert working_copies() == copies
