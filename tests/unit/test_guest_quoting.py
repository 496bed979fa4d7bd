"""Quoting as text: the rules' own examples, and what no command line carries. Round trips are made in a guest."""

from __future__ import annotations

import pytest

from harness.errors import UsageError
from harness.guest.quoting import argument, command_line, for_cmd


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("two words", '"two words"'),
        (r"C:\folder\file", r"C:\folder\file"),
        ("C:\\a folder\\", r'"C:\a folder\\"'),
        ('say "no"', r'"say \"no\""'),
        (r"a\\b c", r'"a\\b c"'),
        (r"a\"b", r'"a\\\"b"'),
    ],
)
def test_an_argument(text: str, quoted: str) -> None:
    assert argument(text) == quoted


def test_a_line_for_cmd() -> None:
    assert command_line("p.exe", "a b", "%PATH%") == 'p.exe "a b" %PATH%'
    assert for_cmd("p.exe", "a b", "%PATH%", "x|y") == 'p.exe ^"a b^" ^%PATH^% x^|y'


@pytest.mark.parametrize("text", ["a\nb", "a\r", "a\0b"])
def test_what_cmd_cannot_carry(text: str) -> None:
    with pytest.raises(UsageError):
        for_cmd("p.exe", text)
