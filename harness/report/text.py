"""Text for people: guest-made text made harmless and visible, and figures in short form."""

from __future__ import annotations

import re
from pathlib import Path

from harness.errors import InfrastructureError

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, less tab and line feed
    "\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # no glyph, or reordering
    "\ud800-\udfff\ufffe\uffff]"  # no characters at all; XML does not take them
)


def visible(text: str) -> str:
    r"""The text with all that cannot be seen or would act on a terminal as an escape such as \x1b."""
    if text.isascii() and text.isprintable():
        return text  # almost all of them, and a page has a million
    return _UNSEEN.sub(lambda match: _escape(match[0]), text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """The same in one line: runs of white space become one space."""
    return visible(" ".join(text.split()))


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def seconds(value: float) -> str:
    """A duration: 0.21 s, 11.2 s, 3 min 20 s, 14 h 05 min."""
    if value < 1:
        return f"{value:.2f} s"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes >= 120:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s"


def count(number: int, noun: str) -> str:
    """A number with its noun: 1 cell, 18 cells."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def write_atomically(path: Path, text: str) -> None:
    """Write a whole file or leave the old one: no reader sees half of it. Raises InfrastructureError."""
    scratch = path.with_name(f".{path.name}.new")
    try:
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise InfrastructureError(
            f"{path} cannot be written: {error.strerror}",
            remedy="free some space, or make the run's folder writable",
        ) from None
