"""Windows paths as SFTP servers on Windows want them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.guest.sftp import sftp_path


@pytest.mark.parametrize(
    ("windows", "sftp"),
    [
        (r"C:\halpmc\pmctest.sys", "/C:/halpmc/pmctest.sys"),
        (r"c:\Program Files\x y.exe", "/C:/Program Files/x y.exe"),
        ("D:/mixed\\slashes//doubled", "/D:/mixed/slashes/doubled"),
        ("C:\\", "/C:"),
    ],
)
def test_paths(windows: str, sftp: str) -> None:
    assert sftp_path(windows) == sftp


@pytest.mark.parametrize(
    "path", ["", "x", r"\x", r"C:x", "/home/x", r"C:\a*b", "C:\\a\nb", r"\\server\share\x", "C:\\a:b"]
)
def test_what_is_no_path(path: str) -> None:
    with pytest.raises(UsageError, match="not an absolute Windows path"):
        sftp_path(path)


@given(st.lists(st.text("abc .$ü", min_size=1), min_size=1))
def test_every_part_survives(parts: list[str]) -> None:
    assert sftp_path("C:\\" + "\\".join(parts)).split("/") == ["", "C:", *parts]
