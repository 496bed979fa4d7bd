"""This process's terminal, connected to a socket until the user says so: a serial console, or QEMU's monitor."""

from __future__ import annotations

import os
import select
import socket
import sys
import termios
import tty

from harness.errors import TransportError, UsageError
from harness.guest.channel import POLL_S
from harness.guest.transport import Check

#: Ctrl-], as telnet has it.
ESCAPE = b"\x1d"
CHUNK = 4096


def require_terminal(what: str, remedy: str) -> None:
    """Raise UsageError unless a person sits at stdin."""
    if not sys.stdin.isatty():
        raise UsageError(f"{what} needs a terminal, and stdin is none", remedy=remedy)


def attach(connection: socket.socket, check: Check = lambda: None) -> bool:
    """Hand the terminal over, raw: every key goes to the other side, and Ctrl-] ends it.

    True when the user ended it, False when the other side did. Raises TransportError, and what `check` raises.
    """
    keyboard, screen = sys.stdin.fileno(), sys.stdout.fileno()
    before = termios.tcgetattr(keyboard)
    tty.setraw(keyboard)
    try:
        return _pump(connection, keyboard, screen, check)
    except OSError as error:
        raise TransportError(f"the connection broke: {error.strerror}") from None
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _pump(connection: socket.socket, keyboard: int, screen: int, check: Check) -> bool:
    while True:
        ready, _, _ = select.select([connection.fileno(), keyboard], [], [], POLL_S)
        if connection.fileno() in ready:
            said = connection.recv(CHUNK)
            if not said:
                return False
            while said:
                said = said[os.write(screen, said) :]
        if keyboard in ready:
            typed = os.read(keyboard, CHUNK)
            keys, escape, _ = typed.partition(ESCAPE)
            connection.sendall(keys)
            if escape or not typed:
                return True
        check()
