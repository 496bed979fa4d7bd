"""Text in Markdown, of which guests make some: it stays text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.report.text import one_line


def ids(cells: Sequence[str], few: int = 4) -> str:
    """Some ids as code, and how many more there are."""
    named = ", ".join(f"`{one_line(cell).replace('`', '').replace('|', '')}`" for cell in cells[:few])
    return named + (f" and {len(cells) - few} more" if len(cells) > few else "")


def escape(text: str) -> str:
    """Text as text: nothing in it makes a link, a picture, emphasis, a table or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>#|~!&])", r"\\\1", text)
