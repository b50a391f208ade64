import errno
from pathlib import Path

import pytest

from raysq.config import UserError
from raysq.disk import full_disk_told


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "No space left on device"),
        (errno.EDQUOT, "Disk quota exceeded"),
        (errno.EFBIG, "File too large"),
    ],
)
def test_full_disk(number, reason):
    with (
        pytest.raises(UserError, match=rf"^out/data cannot be written \({reason}\): make room, or name"),
        full_disk_told(Path("out/data")),
    ):
        raise OSError(number, "Detail: [errno]")


def test_other_errors_are_left_alone():
    with pytest.raises(PermissionError), full_disk_told(Path("out")):
        raise PermissionError(errno.EACCES, "no")


def test_a_copy_names_where_it_was_to_go():
    with pytest.raises(UserError, match=r"^there cannot be written"), full_disk_told(Path("out")):
        raise OSError(errno.ENOSPC, "full", "here", None, "there")
