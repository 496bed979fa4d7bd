"""A YAML file as plain data that still knows the line and column of everything in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from harness.config.suggest import did_you_mean
from harness.errors import ConfigError, UsageError

Location = tuple[str | int, ...]
"""The way from the top of a document to a value: keys of mappings and indexes of lists."""

_PLAIN_TAGS = ("null", "bool", "int", "float", "str", "seq", "map")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader for plain data: no dates, sets or binary; keys are text, and none stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[str, yaml.Mark] = {}
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if not isinstance(key, yaml.ScalarNode):
                raise ConstructorError(None, None, "a key must be plain text", key.start_mark)
            if key.tag != "tag:yaml.org,2002:str":
                raise ConstructorError(
                    None, None, f"the key {key.value!r} is not text; put it in quotes", key.start_mark
                )
            if key.value in seen:
                raise ConstructorError(
                    None,
                    None,
                    f"duplicate key {key.value!r}: also in line {seen[key.value].line + 1}",
                    key.start_mark,
                )
            seen[key.value] = key.start_mark
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError) as error:  # PyYAML lets these through for texts such as "!!int x"
            tag = node.tag.rpartition(":")[2]
            raise ConstructorError(
                None, None, f"{node.value!r} does not fit its tag !!{tag}", node.start_mark
            ) from error


_Loader.yaml_constructors = {
    **{
        f"tag:yaml.org,2002:{tag}": yaml.SafeLoader.yaml_constructors[f"tag:yaml.org,2002:{tag}"]
        for tag in _PLAIN_TAGS
    },
    None: yaml.SafeLoader.yaml_constructors[None],
}
# Without the resolver of timestamps, 2024-01-31 is the text that it looks like.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True)
class Document:
    """A parsed YAML file: its data (dict, list and scalars), and where each part of it stands."""

    path: Path
    text: str
    data: Any
    root: yaml.Node

    @property
    def sha256(self) -> str:
        """Hash of the file's bytes, 64 hexadecimal digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def position(self, location: Location, *, key: bool = False) -> tuple[int, int]:
        """Line and column, from 1, of the value at `location` (of its key with `key`).

        A location that leads out of the document gives the deepest part of the way that exists.
        """
        mark = self._mark(location, key)
        return mark.line + 1, mark.column + 1

    def error(self, location: Location, message: str, *, remedy: str = "", key: bool = False) -> ConfigError:
        """The error to raise about the value (or the key) at `location`, in the file where that stands."""
        mark = self._mark(location, key)
        return ConfigError(
            message, path=Path(mark.name), line=mark.line + 1, column=mark.column + 1, remedy=remedy
        )

    def place(self, location: Location) -> str:
        """Where the value at `location` stands, in words; the file is named when it is another one than `path`."""
        mark = self._mark(location, False)
        other = "" if mark.name == str(self.path) else f" of {mark.name}"
        return f"line {mark.line + 1}, column {mark.column + 1}{other}"

    def _mark(self, location: Location, key: bool) -> yaml.Mark:
        node, mark = self.root, self.root.start_mark
        for depth, step in enumerate(location):
            child = _child(node, step)
            if child is None:
                break
            name, node = child
            mark = name.start_mark if key and depth == len(location) - 1 else node.start_mark
        return mark


def _child(node: yaml.Node, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """The key node and the value node that `step` leads to; of a list's item, the item twice."""
    if isinstance(node, yaml.MappingNode):
        for name, value in reversed(node.value):  # a mapping's own keys come last, behind merged ones
            if name.value == step:
                return name, value
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    return None


def read_document(path: Path) -> Document:
    """Read and parse a YAML file. ConfigError names file, line and column of whatever is wrong with it."""
    text = _read_text(path)
    try:
        loader = _Loader(text)
        loader.name = str(path)  # every mark then knows its file
        root = loader.get_single_node()
        if root is None:
            raise ConfigError("the file is empty", path=path, line=1)
        _refuse_cycles(root)
        data = loader.construct_document(root)
    except yaml.reader.ReaderError as error:
        line, column = _line_column(text, error.position)
        raise ConfigError(
            f"the character U+{ord(text[error.position]):04X} is not allowed in YAML",
            path=path,
            line=line,
            column=column,
        ) from error
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(path, error) from error
    except RecursionError as error:
        raise ConfigError("nested too deeply", path=path, line=1) from error
    return Document(path, text, data, root)


def _read_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file", remedy=_similar_files(path)) from None
    except IsADirectoryError:
        raise UsageError(f"{path}: this is a folder, not a YAML file") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line, column = _line_column(raw[: error.start].decode("utf-8"), error.start)
        raise ConfigError(
            f"not UTF-8: byte 0x{raw[error.start]:02x}",
            path=path,
            line=line,
            column=column,
            remedy="save the file as UTF-8",
        ) from error


def _line_column(text: str, index: int) -> tuple[int, int]:
    before = text[:index]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _syntax_error(path: Path, error: yaml.MarkedYAMLError) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    message = error.problem or error.context or "not YAML"
    if isinstance(error, ConstructorError):
        message = message.replace("tag:yaml.org,2002:", "!!")
    else:
        began = f" {error.context}" if error.context and error.problem else ""
        since = error.context_mark
        began += f" that began in line {since.line + 1}" if began and since and since.line + 1 != line else ""
        message = f"YAML syntax: {message}{began}"
    return ConfigError(message, path=path, line=line, column=column)


def _refuse_cycles(root: yaml.Node) -> None:
    """Raise ConstructorError for an alias inside its own anchor: such data has no end."""
    open_nodes: set[int] = set()
    done: set[int] = set()

    def visit(node: yaml.Node) -> None:
        if id(node) in done:
            return
        if id(node) in open_nodes:
            raise ConstructorError(None, None, "an alias stands inside its own anchor", node.start_mark)
        open_nodes.add(id(node))
        for child in _children(node):
            visit(child)
        open_nodes.discard(id(node))
        done.add(id(node))

    visit(root)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield name
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _similar_files(path: Path) -> str:
    siblings = [p.name for p in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
    return did_you_mean(path.name, siblings, plural=f"YAML files in {path.parent}") if siblings else ""
