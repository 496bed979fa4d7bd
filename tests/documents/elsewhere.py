"""Whether a test that a row names exists, and has what the row's command says."""

from __future__ import annotations

import ast
import re
import shlex
from functools import cache
from pathlib import Path

from harness.paths import project_root
from tests.documents.parsing import bare, expand, names


@cache
def definitions(path: Path) -> dict[str, str]:
    """The source of each function, class and constant of a test module, and of what it imports from others."""
    found: dict[str, str] = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests."):
            module = project_root() / f"{(node.module or '').replace('.', '/')}.py"
            there = definitions(module) if module.exists() else {}
            found |= {item.name: there[item.name] for item in node.names if item.name in there}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = ast.unparse(node)
        elif isinstance(node, ast.Assign):
            found |= {ast.unparse(target): ast.unparse(node) for target in node.targets}
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            found[ast.unparse(node.target)] = ast.unparse(node)
    return found


def source_of(node: str) -> str:
    """The source of a test, and of every helper, fixture and constant that it uses. Raises LookupError."""
    file, _, test = node.partition("::")
    path = project_root() / file
    if not path.is_file():
        raise LookupError(f"there is no {file}")
    fixtures = path.with_name("conftest.py")
    known = (definitions(fixtures) if fixtures.exists() else {}) | definitions(path)
    if test not in known or not test.startswith("test_"):
        raise LookupError(f"there is no test {test} in {file}")
    used, todo = {test: known[test]}, [test]
    while todo:
        for name in re.findall(r"\b[A-Za-z_]\w+\b", used[todo.pop()]):
            if name in known and name not in used:
                used[name] = known[name]
                todo.append(name)
    return "\n".join(used.values())


def words_of(command: str) -> list[str]:
    """What a test that executes the command has to name: the script, or the subcommand and every option."""
    words = shlex.split(expand(bare(command)))
    if words[0].startswith("ci/"):
        return [words[0].removeprefix("ci/")]
    subcommand: list[str] = []
    if words[0] == "halpmc":
        name = max((name for name in names() if " ".join(words[1:]).startswith(name)), key=len, default="")
        subcommand = name.split()
    return [*subcommand, *(word.partition("=")[0] for word in words[1:] if word.startswith("-"))]


def missing_words(command: str, source: str) -> list[str]:
    """The words of a command that a source does not have."""
    return [
        word for word in words_of(command) if not re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", source)
    ]
