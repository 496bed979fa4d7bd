"""docs/architecture.md: every import follows the direction of its list, and stays out of what it must not know."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from harness.paths import project_root

PAGE = (project_root() / "docs" / "architecture.md").read_text()

#: Imports against the direction, and why they are right.
AGAINST = {
    (
        "contract",
        "harness.probe.models",
    ): "the form of the probe's answer is judged; that module imports only config",
}

#: What a part must not import, though its place in the list would allow it: parts, or modules.
UNKNOWN_TO = {
    "contract": ("harness.host", "harness.vm", "harness.guest", "harness.driver", "harness.probe.run"),
    "guest": ("harness.contract", "harness.probe", "harness.host"),
    "vm": ("harness.contract",),
    "report": ("harness.vm", "harness.guest", "harness.windows", "harness.probe.run"),
}
#: Of these parts, all that others may import: the whole list. `planned` is what the first record holds; `folder`
#: makes the folder of a run, which merged shards are.
ONLY = {
    ("report", "runs"): (
        "harness.runs.record",
        "harness.runs.record_file",
        "harness.runs.planned",
        "harness.runs.forecast",
        "harness.runs.folder",
    )
}


@dataclass(frozen=True)
class Import:
    """One import of a module of the project."""

    module: str
    imported: str
    line: int

    @property
    def parts(self) -> tuple[str, str]:
        return part(self.module), part(self.imported)


def part(module: str) -> str:
    """The part of `harness` that a module belongs to."""
    return module.split(".")[1]


def listed() -> list[str]:
    """The parts in the page's list, from top to bottom."""
    begin = PAGE.index("a part imports only from the parts above it in this list:")
    block = PAGE[begin:].split("\n\n")[1]
    return [
        name.rstrip("/").removesuffix(".py")
        for line in block.splitlines()
        for name in re.findall(r"(?<![\w/])\w+(?:\.py|/)(?= |$)", line)
    ]


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted((project_root() / "harness").rglob("*.py")):
        name = ".".join(path.relative_to(project_root()).with_suffix("").parts).removesuffix(".__init__")
        if name != "harness":
            yield name, path


@cache
def imports() -> tuple[Import, ...]:
    """Every import between parts: at the top of a module, in a function, or for the type checker."""
    found = []
    for module, path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.ImportFrom) and node.module == "harness":
                names = [f"harness.{item.name}" for item in node.names if not item.name.startswith("__")]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("harness."):
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [item.name for item in node.names if item.name.startswith("harness.")]
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: a relative import"
            found += [Import(module, name, getattr(node, "lineno", 0)) for name in names]
    return tuple(one for one in found if one.parts[0] != one.parts[1])


def under(module: str, folders: tuple[str, ...]) -> bool:
    return any(module == folder or module.startswith(f"{folder}.") for folder in folders)


def test_the_list_has_every_part_once() -> None:
    order = listed()
    assert len(order) == len(set(order))
    assert {part(module) for module, _ in modules()} == set(order)


def test_every_import_follows_the_direction() -> None:
    assert len(imports()) > 500
    order = listed()
    against = [
        f"{one.module}:{one.line} imports {one.imported}"
        for one in imports()
        if order.index(one.parts[1]) > order.index(one.parts[0])
        and (one.parts[0], one.imported) not in AGAINST
    ]
    assert against == []


@pytest.mark.parametrize("exception", AGAINST, ids=str)
def test_every_exception_is_used_and_goes_no_further(exception: tuple[str, str]) -> None:
    assert any((one.parts[0], one.imported) == exception for one in imports())
    assert {one.imported.split(".")[1] for one in imports() if one.module == exception[1]} <= {
        "config",
        "errors",
    }
    assert f"`{'/'.join(exception[1].split('.')[1:])}.py`" in PAGE


def test_no_part_knows_what_it_must_not() -> None:
    known = [
        f"{one.module}:{one.line} imports {one.imported}"
        for one in imports()
        if under(one.imported, UNKNOWN_TO.get(one.parts[0], ()))
        or (one.parts in ONLY and one.imported not in ONLY[one.parts])
    ]
    assert known == []


def test_no_file_that_is_named_is_gone() -> None:
    for name in re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py|[a-z_]+\.py)`", PAGE):
        roots = [project_root(), project_root() / "harness"]
        found = [root / name for root in roots if (root / name).exists()]
        assert found or list((project_root() / "harness").rglob(name)), name
