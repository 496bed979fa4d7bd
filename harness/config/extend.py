"""`extends: other.yaml`: a matrix file on top of another one, as one document in which each part knows its file.

A name alone, as in `extends: demo`, is a matrix that comes with the project.

Key by key the file that extends wins; its lists come behind those of the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from harness.config.document import Document, read_document
from harness.config.shipped import find_matrix
from harness.errors import ConfigError, UsageError

KEY = "extends"
MERGED = ("defaults", "axes", "requires")
"""Mappings that are merged key by key."""
APPENDED = ("tags", "exclude", "include", "override", "known_issues")
"""Lists that are joined."""


def read_extended(path: Path, below: tuple[Path, ...] = ()) -> Document:
    """The document in a file, on top of the one that it extends. Raises ConfigError; UsageError as read_document."""
    document = read_document(path)
    name = document.data.get(KEY) if isinstance(document.data, dict) else None
    if not isinstance(name, str):  # none, or a mistake that validation names
        return document
    chain = (*below, path.resolve())
    try:
        base_path = find_matrix(Path(name), path.parent)
        if base_path.resolve() in chain:
            raise document.error((KEY,), f"{name} extends this file: they would never end")
        base = read_extended(base_path, chain)
    except ConfigError:
        raise
    except UsageError as error:
        raise document.error((KEY,), error.message, remedy=error.remedy) from None
    if not isinstance(base.data, dict) or not isinstance(base.root, yaml.MappingNode):
        raise document.error((KEY,), f"{name} is no matrix: it is not a mapping")
    return _on_top(base, document)


def _on_top(base: Document, own: Document) -> Document:
    assert isinstance(own.root, yaml.MappingNode)  # noqa: S101 - the caller found a key in it
    assert isinstance(base.root, yaml.MappingNode)  # noqa: S101 - checked by the caller
    data: dict[str, Any] = {key: value for key, value in base.data.items() if key != KEY}
    nodes = {key.value: (key, value) for key, value in base.root.value if key.value != KEY}
    for key, node in own.root.value:
        name, value = key.value, own.data[key.value]
        below = data.get(name)
        if name in MERGED and isinstance(value, dict) and isinstance(below, dict):
            data[name] = {**below, **value}
            node = _joined(nodes[name][1], node)  # noqa: PLW2901 - what stands for both
        elif name in APPENDED and isinstance(value, list) and isinstance(below, list):
            data[name] = [*below, *value]
            node = _joined(nodes[name][1], node)  # noqa: PLW2901 - what stands for both
        else:
            data[name] = value
        nodes[name] = (key, node)
    root = yaml.MappingNode(own.root.tag, list(nodes.values()), own.root.start_mark, own.root.end_mark)
    return Document(own.path, base.text + own.text, data, root)


def _joined(below: yaml.CollectionNode, above: yaml.CollectionNode) -> yaml.CollectionNode:
    """Both nodes' parts in one; of a key that stands in both, the lookup finds the last."""
    return type(above)(above.tag, [*below.value, *above.value], above.start_mark, above.end_mark)
