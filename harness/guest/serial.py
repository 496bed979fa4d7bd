"""The second way into a guest: its serial console, which works without network, sshd or firewall."""

from __future__ import annotations

import os
import socket

from harness.config.models import ConsoleKind, SerialConsole
from harness.errors import UsageError
from harness.guest.console import Console, ConsoleShell
from harness.guest.loginshell import LoginShell
from harness.guest.sac import SacShell
from harness.guest.transport import Check


def open_shell(
    settings: SerialConsole, connection: socket.socket, check: Check, *, timeout_s: float
) -> ConsoleShell:
    """A command line at the console behind `connection` (see Vm.ends), which it owns from now on.

    Raises UsageError (no password), TransportError and DeadlineExceeded with the step, and what `check` raises.
    """
    console = Console(connection, check)
    try:
        password = _password(settings)
        if settings.kind is ConsoleKind.SHELL:
            return LoginShell.open(console, user=settings.user, password=password, timeout_s=timeout_s)
        return SacShell.open(
            console,
            user=settings.user or "Administrator",
            domain=settings.domain,
            password=password,
            timeout_s=timeout_s,
            columns=settings.columns,
        )
    except BaseException:
        console.close()
        raise


def _password(settings: SerialConsole) -> str:
    if settings.password_variable is None:
        return ""
    password = os.environ.get(settings.password_variable)
    if password is None:
        raise UsageError(
            f"no password for the guest's console: {settings.password_variable} is not set",
            remedy="set this environment variable",
        )
    return password
