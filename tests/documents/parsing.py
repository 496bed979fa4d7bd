"""The real command line parser, asked up to the point before any work begins."""

from __future__ import annotations

import re
import shlex
from functools import cache
from typing import Any

import typer
from typer.core import TyperGroup

from harness.cli import app

#: What the parser raises: click's, or that of the click which newer versions of typer bring.
UsageError = typer.BadParameter.__mro__[1]

#: Words of the pages that stand for a value of a certain form, and such a value.
FORMS = {"FORMAT": "raw", "N": "1"}


@cache
def root() -> TyperGroup:
    """The whole `halpmc`, as its parser sees it."""
    command = typer.main.get_command(app)
    assert isinstance(command, TyperGroup)
    return command


@cache
def names() -> dict[str, Any]:
    """Every subcommand by its words ("run", "guest build"), with the parser's command."""

    def below(group: TyperGroup, prefix: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, command in group.commands.items():
            if isinstance(command, TyperGroup):
                found |= below(command, f"{prefix}{name} ")
            else:
                found[f"{prefix}{name}"] = command
        return found

    return below(root(), "")


def is_name(text: str) -> bool:
    """Whether a text is the bare name of a subcommand, or of a group of them: `halpmc guest import`."""
    words = text.removeprefix("halpmc ")
    return words != text and any(name == words or name.startswith(f"{words} ") for name in names())


def options(command: Any) -> set[str]:
    """Every spelling of every option."""
    return {spelling for option in command.params for spelling in (*option.opts, *option.secondary_opts)} | {
        "--help"
    }


def expand(command: str) -> str:
    """A command as it can be typed: optional parts are given, alternatives take the first, `<id>` becomes ID."""
    text = re.sub(r"\[(-[^\]]*)\]", r"\1", command)
    text = re.sub(r"<([^>]+)>", lambda found: found[1].upper(), text)
    text = re.sub(r"(?<=\w)(?:\.\.\.|…)(?=\s|$)", "", text)
    return re.sub(r"\b([A-Z]+)\|\S+", r"\1", text)


def bare(command: str) -> str:
    """The call in a line of shell: without what keeps its output (`x=$(…)`, `>file`) and the environment's folder."""
    kept = re.fullmatch(r"[a-z]+=\$\((.*)\)", command)
    return re.sub(r" \d?> ?\S+", "", kept[1] if kept else command).removeprefix(".venv/bin/")


def parse(command: str) -> None:
    """Have the parser take a `halpmc` command apart: subcommand, options, arguments, and the types of their values.

    Nothing is executed. What a shell would put in (`$(date -u +%Y%m%d)`) is taken for 1. Raises UsageError.
    """
    words = shlex.split(re.sub(r"\$\([^)]*\)", "1", expand(command)))
    words = [FORMS.get(word, word) for word in words]
    while "=" in words[0] and not words[0].startswith("-"):
        words.pop(0)
    assert words.pop(0) == "halpmc", command
    context: Any = None
    node: Any = root()
    name: Any = "halpmc"
    if words and words[0].startswith("-"):
        if words[0] not in options(node):
            raise typer.BadParameter(f"No such option: {words[0]}")
        return
    while isinstance(node, TyperGroup):
        context = node.context_class(node, info_name=name, parent=context)
        if not words:
            raise typer.BadParameter(f"a subcommand of {name} is missing")
        name, node, words = (*node.resolve_command(context, words),)
    node.make_context(name, list(words), parent=context)
