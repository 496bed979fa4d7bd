"""The command lines that README.md and docs/ have: in blocks of code, and as whole commands between backticks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.paths import project_root
from tests.documents.parsing import is_name

#: What a line of a block, or a text between backticks, begins with when it is a command. A page that needs another
#: program in a block beside these fails until it stands here.
PROGRAMS = (
    *(
        "halpmc",
        "mkdocs",
        "pytest",
        "python",
        "python3",
        "pip",
        "pipx",
        "uv",
        "bash",
        "sh",
        "for",
        "git",
        "cd",
        "cp",
        "export",
    ),
    *(
        "adduser",
        "sysctl",
        "sudo",
        "apt-get",
        "ssh",
        "systemctl",
        "podman",
        "docker",
        "curl",
        "dask",
        "bcdedit",
        "shutdown",
        "install",
        "journalctl",
        "gdb",
        "socat",
        "windbg",
        "qemu-system-x86_64",
    ),
)
SCRIPTS = r"ci/[a-z-]+"
BEGINS = re.compile(
    rf"(?:[A-Z_]+=\S* )*(?:[a-z]+=\$\()?(?:\.venv/bin/)?(?:{'|'.join(PROGRAMS)}|{SCRIPTS})(?= |$)"
)

#: Languages of fenced blocks that hold commands; other languages (yaml, python …) hold none.
SHELL = ("", "sh", "bash", "console")

_FENCE = re.compile(r" *```(\w*)")
_PROMPT = "$ "


@dataclass(frozen=True)
class Found:
    """One command of a page. `text` has no comment, and single spaces."""

    page: str
    line: int
    text: str


@dataclass(frozen=True)
class _Line:
    number: int
    text: str


def pages() -> list[Path]:
    """README.md, and every page below docs/."""
    return [project_root() / "README.md", *sorted((project_root() / "docs").rglob("*.md"))]


def page_name(page: Path) -> str:
    """Its path in the project."""
    return str(page.relative_to(project_root()))


def normalised(command: str) -> str:
    """Without the comment behind it, and with single spaces."""
    return " ".join(re.split(r"(?:^|\s)#\s", command, maxsplit=1)[0].split())


def blocks(text: str) -> tuple[list[list[_Line]], list[_Line]]:
    """Blocks of code that may hold commands, without their indent; and the lines of prose around all blocks.

    A line without text ends a block.
    """
    found: list[list[_Line]] = []
    prose: list[_Line] = []
    block: list[_Line] = []
    language: str | None = None
    before = ""
    for number, line in enumerate(text.splitlines(), 1):
        above, before = before, line.strip()
        fence = _FENCE.match(line)
        if language is None and fence:
            language = fence[1]
            _end(block, found)
        elif language is not None and fence:
            language = None
            _end(block, found)
        elif language is not None:
            if language in SHELL:
                block.append(_Line(number, line.rstrip()))
        elif line.startswith("    ") and (
            block or not above
        ):  # otherwise a paragraph's or a list's next line
            block.append(_Line(number, line[4:].rstrip()))
        else:
            _end(block, found)
            prose.append(_Line(number, line))
    _end(block, found)
    return found, prose


def _end(block: list[_Line], found: list[list[_Line]]) -> None:
    if block:
        found.append(list(block))
        block.clear()


def of_block(page: str, block: list[_Line]) -> list[Found]:
    """The commands of one block.

    Behind prompts (`$ `) other lines are what the command prints. Without prompts every line is a command, a comment,
    or the rest of the line above (which ends in a backslash, or the line is indented); ValueError for any other.
    A block that begins with `#!` is a script: one command, its lines divided by `; `.
    """
    if block[0].text.startswith("#!"):
        return [Found(page, block[0].number, "; ".join(normalised(line.text) for line in block[1:]))]
    prompts = any(line.text.startswith(_PROMPT) for line in block)
    if not prompts and not any(BEGINS.match(line.text) for line in block):
        return []
    commands: list[Found] = []
    goes_on = False
    for line in block:
        text = line.text.removeprefix(_PROMPT)
        whole = goes_on or (not prompts and line.text.startswith(" "))
        starts = line.text.startswith(_PROMPT) if prompts else bool(BEGINS.match(text))
        if starts and not BEGINS.match(text):
            raise ValueError(f"{page}:{line.number}: behind a prompt, and of no known program: {text}")
        if goes_on or (whole and commands):
            last = commands[-1]
            commands[-1] = Found(page, last.line, normalised(f"{last.text} {text.rstrip(chr(92))}"))
        elif starts:
            commands.append(Found(page, line.number, normalised(text.removesuffix("\\"))))
        elif not prompts and line.text and not line.text.startswith("#"):
            raise ValueError(f"{page}:{line.number}: among commands, and of no known program: {text}")
        goes_on = text.endswith("\\") and (starts or goes_on)
    return commands


def spans(prose: list[_Line]) -> list[tuple[int, str]]:
    """What stands between backticks, with its line."""
    text = "\n".join(line.text for line in prose)
    return [
        (prose[text.count("\n", 0, found.start())].number, " ".join(found[1].split()))
        for found in re.finditer(r"(?<!`)`([^`]+)`(?!`)", text)
    ]


def is_command(span: str) -> bool:
    """Whether it is a whole command: a program with arguments, or a script of ci/.

    `halpmc run` alone is a name; `git … in …` is what a program says.
    """
    begin = BEGINS.match(span)
    if begin is None or is_name(span) or span[begin.end() :].startswith(" …"):
        return False
    return begin[0].startswith("ci/") or len(span) > begin.end()


@cache
def all_commands() -> tuple[Found, ...]:
    """Every command of every page, in order."""
    found: list[Found] = []
    for page in pages():
        name = page_name(page)
        code, prose = blocks(page.read_text())
        for block in code:
            found += of_block(name, block)
        found += [Found(name, line, normalised(text)) for line, text in spans(prose) if is_command(text)]
    return tuple(found)
