"""Arguments on Windows' command lines: there is one string, and every program splits it by itself. Pure.

Source: Microsoft's "Parsing C command-line arguments", and its page on cmd: which characters it treats specially.
"""

from __future__ import annotations

from harness.errors import UsageError

#: What cmd.exe sees before the program does; ^ takes that from the character behind it.
SPECIAL_IN_CMD = frozenset('()%!^"<>&|')


def argument(text: str) -> str:
    """One argument as a C program's run-time library reads it. Raises UsageError for what no command line can carry."""
    if "\0" in text:
        raise UsageError("a command line cannot carry a zero character")
    if text and not any(character in ' \t\n\v"' for character in text):
        return text
    out, backslashes = ['"'], 0
    for character in text:
        if character == "\\":
            backslashes += 1
            continue
        out.append("\\" * (2 * backslashes + 1 if character == '"' else backslashes) + character)
        backslashes = 0
    return "".join([*out, "\\" * (2 * backslashes), '"'])


def command_line(*words: str) -> str:
    """A command line for CreateProcess: the program, and its arguments as they shall arrive."""
    return " ".join(argument(word) for word in words)


def for_cmd(*words: str) -> str:
    """The same for a shell that is cmd.exe, as over SSH. Raises UsageError for line ends, which it takes as its own."""
    line = command_line(*words)
    if "\n" in line or "\r" in line:
        raise UsageError("cmd.exe cannot carry a line end in an argument", remedy="put the text into a file")
    return "".join(f"^{character}" if character in SPECIAL_IN_CMD else character for character in line)
