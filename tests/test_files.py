import errno
import json
import math
import os

import pytest

from raysq.config import UserError
from raysq.files import parse_json, regular, replace_json, write_lines


def test_replace_json_keeps_the_old_file_when_the_value_cannot_be_written(tmp_path):
    path = tmp_path / "state.json"
    replace_json(path, {"offset": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        replace_json(path, {"offset": math.nan})
    assert json.loads(path.read_text()) == {"offset": 1}
    replace_json(path, {"offset": 2})
    assert json.loads(path.read_text()) == {"offset": 2}
    assert list(tmp_path.iterdir()) == [path]


def test_lines_are_written_in_order_and_replaced_whole(tmp_path):
    path = tmp_path / "hypotheses" / "test.txt"
    write_lines(path, ["ein", "", "Hund \u2028 ö"])
    assert path.read_bytes() == "ein\n\nHund \u2028 ö\n".encode()
    write_lines(path, iter(["x"]))
    assert path.read_text() == "x\n"


def test_a_full_disk_names_the_file_and_keeps_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    replace_json(path, 1)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=rf"^{path} cannot be written \(No space left on device\): "):
        replace_json(path, 2)
    assert json.loads(path.read_text()) == 1


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        regular(tmp_path / "pipe")
    assert regular(tmp_path / "nothing") == tmp_path / "nothing"


def test_json_nested_without_end_is_no_json():
    assert parse_json('{"a": [1, null]}') == {"a": [1, None]}
    for text in ("[" * 100_000, "[1", ""):
        with pytest.raises(ValueError, match=r"nested too deeply|delimiter|value"):
            parse_json(text)
