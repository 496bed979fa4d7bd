"""The messages of the errors that the harness raises, read from its source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from harness import errors
from harness.paths import project_root

#: What stands for a value in a message.
GAP = "…"

#: Every class of the error tree by its name.
FAMILIES: dict[str, type[errors.HalpmcError]] = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.HalpmcError)
}


@dataclass(frozen=True)
class Raised:
    """One place that raises: `message` and `remedy` have an ellipsis for each value."""

    family: str
    message: str
    remedy: str
    place: str


def template(node: ast.expr | None) -> str:
    """The literal text of a message, with gaps. Of two alternatives of a gap nothing is known."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        text = "".join(
            GAP if isinstance(part, ast.FormattedValue) else template(part) for part in node.values
        )
        return text.replace(GAP * 2, GAP)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left) + template(node.right)
    return GAP


@cache
def texts() -> frozenset[str]:
    """Every text in the source of harness/, with gaps: messages are also handed on before they are raised."""
    return frozenset(
        template(node)
        for path in (project_root() / "harness").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp)
    )


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FAMILIES:
            yield node


@cache
def raised() -> tuple[Raised, ...]:
    """Every call of a class of the error tree in harness/, but for the tree itself."""
    found = []
    for path in sorted((project_root() / "harness").rglob("*.py")):
        if path.name == "errors.py":
            continue
        for call in _calls(ast.parse(path.read_text())):
            assert isinstance(call.func, ast.Name)
            remedy = next((word.value for word in call.keywords if word.arg == "remedy"), None)
            found.append(
                Raised(
                    call.func.id,
                    template(call.args[0]) if call.args else GAP,
                    template(remedy) if remedy is not None else "",
                    f"{path.relative_to(project_root())}:{call.lineno}",
                )
            )
    return tuple(found)
