"""run.sh: the script with which a human starts the same machine as the harness."""

from __future__ import annotations

import shlex
from pathlib import Path

from harness.errors import EXIT_USAGE
from harness.vm.command_line import CONSOLE_BY_HAND, TPM_BY_HAND, Control, argv
from harness.vm.machine import Machine

DEFAULT_HUMAN_PORT = 2222
_PORT_MARK = "\0"  # cannot occur in an argument, so it marks where the script puts its own port


def run_script(machine: Machine, *, user: str = "Administrator", key: Path | None = None) -> str:
    """A POSIX shell script that starts the same machine by hand, with QEMU's monitor on the terminal.

    It differs from what the harness starts only in how it is driven: the CPUs start at once, the SSH port is
    the first argument, the serial log and the console's socket are new files beside the script, writes to the
    disk go to a temporary file of QEMU's own, a TPM has its state in a folder beside the script.
    """
    control = Control(
        ("-monitor", "stdio"),
        ssh_port=_PORT_MARK,
        serial_log=Path("serial-by-hand.log") if machine.serial_log else None,
    )
    program, *arguments = argv(machine, control)
    tpm = f"""mkdir -p {TPM_BY_HAND}
swtpm socket --tpm2 --daemon --terminate \\
    --tpmstate dir="$PWD/{TPM_BY_HAND}" --ctrl type=unixio,path={TPM_BY_HAND}/socket
"""
    talk = f"""echo 'console: socat -,raw,echo=0,escape=0x1d' "UNIX-CONNECT:$PWD/{CONSOLE_BY_HAND}" >&2
"""
    identity = ["-i", str(key)] if key else []
    login = " ".join(map(_quote, ["ssh", *identity, "-p", _PORT_MARK, f"{user}@127.0.0.1"]))
    return f"""#!/bin/sh
# Starts this cell's virtual machine by hand. Usage: run.sh [SSH_PORT]   ("quit" ends it)
set -eu
port=${{1:-{DEFAULT_HUMAN_PORT}}}
case $port in *[!0-9]*) echo "usage: run.sh [SSH_PORT]" >&2; exit {EXIT_USAGE};; esac
cd "$(dirname "$0")"
echo {shlex.quote("log in with:")} {login} >&2
{talk if machine.console else ""}{tpm if machine.tpm else ""}exec {program} \\
{_lines(arguments)}
"""


def _quote(argument: str) -> str:
    """`argument` for a POSIX shell, with the script's port where the mark is."""
    return '"$port"'.join(shlex.quote(part) if part else "" for part in argument.split(_PORT_MARK)) or "''"


def _lines(arguments: list[str]) -> str:
    """Arguments as continued lines, an option and its value on one."""
    lines: list[str] = []
    for argument in map(_quote, arguments):
        if lines and not argument.startswith("-"):
            lines[-1] += f" {argument}"
        else:
            lines.append(f"    {argument}")
    return " \\\n".join(lines)
