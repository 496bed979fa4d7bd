"""`halpmc shell` and `halpmc attach`: a cell's VM at one's desk."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from harness.commands import say
from harness.config.models import Kd
from harness.errors import HalpmcError


def shell(
    target: Annotated[
        str,
        typer.Argument(
            metavar="CELL_OR_GUEST",
            help="a cell's id with --matrix, the folder of a cell (runs/<run>/cells/<id>), or a guest",
        ),
    ],
    command: Annotated[
        list[str] | None, typer.Argument(help="command for the guest's shell, behind --; without it, a shell")
    ] = None,
    matrix: Annotated[Path | None, typer.Option(help="matrix file that has the cell")] = None,
    serial: Annotated[bool, typer.Option("--serial", help="the serial console instead of SSH")] = False,
    bare: Annotated[bool, typer.Option("--bare", help="the guest alone: no test driver, no client")] = False,
    put: Annotated[
        tuple[Path, str] | None, typer.Option(metavar="LOCAL GUEST", help="first copy a file into the guest")
    ] = None,
    get: Annotated[
        tuple[str, Path] | None, typer.Option(metavar="GUEST LOCAL", help="at last copy a file out of it")
    ] = None,
    vnc: Annotated[bool, typer.Option("--vnc", help="the guest's screen at a socket")] = False,
    gdb: Annotated[bool, typer.Option("--gdb", help="QEMU's stub for gdb at a socket")] = False,
    kd: Annotated[
        Kd | None, typer.Option(help="a port for Windows' kernel debugger (default: as the cell says)")
    ] = None,
) -> None:
    """Start a cell's VM as a run does, and hand over a shell in it. Whatever it did is gone when you leave.

    Exit code: the command's own; 255 when its connection broke; 2 and 3 as everywhere.
    """
    import shutil
    import tempfile

    from harness.runs.access import lines
    from harness.runs.shell import find_cell, guest_at_hand, with_kd
    from harness.vm.ports import Ports

    cell = find_cell(target, matrix)
    if kd is not None:
        cell = with_kd(cell, kd)
    signal.signal(signal.SIGHUP, _hang_up)
    folder = Path(tempfile.mkdtemp(prefix="halpmc-shell-"))
    keep = False
    try:
        with guest_at_hand(
            cell, folder, ports=Ports(monitor=True, vnc=vnc, gdb=gdb), bare=bare, say=say
        ) as at_hand:
            for line in lines(at_hand.ways):
                say(line)
            if put is not None:
                at_hand.put(*put)
            status = at_hand.serial(command or []) if serial else at_hand.ssh(command or [])
            if get is not None:
                at_hand.get(*get)
    except HalpmcError as error:
        keep = True
        error.evidence["logs"] = str(folder)
        raise
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    raise typer.Exit(status)


def attach(
    socket: Annotated[Path, typer.Argument(help="console.sock or monitor.sock in a running VM's folder")],
) -> None:
    """Connect this terminal to a running VM's serial console or monitor. Ctrl-] ends it."""
    from harness.guest.terminal import attach as hand_over
    from harness.guest.terminal import require_terminal
    from harness.vm.unix_port import connect

    require_terminal("attach", "run it in one")
    with connect(socket) as connection:
        say(f"connected to {socket}; Ctrl-] ends it")
        if not hand_over(connection):
            say("the other side has closed it")


def _hang_up(_number: int, _frame: FrameType | None) -> NoReturn:
    """The terminal is gone: the VM has to be ended in order all the same."""
    raise KeyboardInterrupt
