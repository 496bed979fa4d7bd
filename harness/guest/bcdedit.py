"""What `bcdedit /enum {current}` says: by the names of settings, which are the same in every language of Windows.

The words around them are not (headings, "identifier", Yes and No), so a value is only used where it is no word.
"""

from __future__ import annotations

import re

COMMAND = "bcdedit /enum {current}"
_ROW = re.compile(r"(\S+)\s+(\S.*)")
_RULE = re.compile(r"-{3,}\s*")


def settings(output: str) -> dict[str, str]:
    """The settings of the first boot entry in the output, by their lower-case names; empty when there is none.

    A setting of several lines keeps the first.
    """
    _, rule, body = output.replace("\r", "").partition("---")
    found: dict[str, str] = {}
    for line in body.splitlines()[1:] if rule else ():
        if _RULE.fullmatch(line) or not line.strip():
            if found:
                break
            continue
        row = _ROW.fullmatch(line)  # a line that is indented goes on with the value before
        if row:
            found.setdefault(row.group(1).lower(), row.group(2).strip())
    return found


def is_mentioned(output: str, name: str) -> bool | None:
    """Whether a setting that is off by default was ever set; None when the output is no boot entry.

    Boot entries always have a path and a system's folder.
    """
    found = settings(output)
    return name in found if "systemroot" in found or "path" in found else None
