"""Data inside a page: made harmless and visible first, then written so that nothing in it can end its element."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any

from harness.report.text import visible


def clean(value: Any) -> Any:
    """The same data with every text made visible; keys, too."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible(str(key)): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value


def as_json(data: Any) -> str:
    """Compact JSON for a script element: without `<`, so that no text can close it or open a comment."""
    text = json.dumps(clean(data), ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def packed(data: Any) -> str:
    """The same, compressed, as base64: for what is only unpacked when somebody looks at it."""
    return base64.b64encode(gzip.compress(as_json(data).encode(), compresslevel=6, mtime=0)).decode("ascii")


def unpacked(text: str) -> Any:
    """What `packed` made of some data."""
    return json.loads(gzip.decompress(base64.b64decode(text)))
