"""Getting into an SSH server: its banner, key exchange with a pinned host key, authentication."""

from __future__ import annotations

import base64
import contextlib
import itertools
import logging
import select
import socket
import threading
from contextlib import ExitStack
from pathlib import Path

import paramiko
from paramiko.pkey import UnknownKeyType

from harness.config.models import GuestTimeouts
from harness.deadlines import Deadline, wait_for
from harness.errors import TransportError, UsageError
from harness.guest.channel import POLL_S, blame, watch, words
from harness.guest.transport import Check
from harness.vm.phases import Phases

BANNER_TRY_S = 1.0
MOST_SILENT = 3  # servers drop connections when too many wait to log in
END_S = 5.0
NEVER_S = 3600.0  # for the library's own time limits: ours decide
REBUILD = "build or import the guest's image again"

# Which of these is taken changes a login by less than its noise, even in an emulated guest: its time goes into
# the server's processes (fork, exec, link), not into arithmetic. The last of each are for older servers.
KEX = ("curve25519-sha256@libssh.org", "ecdh-sha2-nistp256", "diffie-hellman-group14-sha256")
CIPHERS = ("aes128-ctr", "aes128-gcm@openssh.com", "aes256-ctr")
MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")
RSA = ("rsa-sha2-512", "rsa-sha2-256")

_log_numbers = itertools.count(1)


def await_banner(host: str, port: int, check: Check, seconds: float) -> socket.socket:
    """Connect until the server greets; its greeting stays unread in the connection. Raises DeadlineExceeded.

    QEMU's network accepts connections before the guest listens, so an accepted connection means nothing, and may lead
    nowhere: others are tried beside it. The oldest stays, since a Windows that is busy starting takes longer to greet
    than anybody should have to wait who is led nowhere.
    """
    silent: list[socket.socket] = []  # the oldest first

    def attempt(deadline: Deadline) -> socket.socket | None:
        check()
        try:
            connection = socket.create_connection((host, port), timeout=BANNER_TRY_S)
        except OSError as error:
            deadline.last_seen = f"{host}:{port}: {words(error)}"
        else:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(POLL_S)
            silent.append(connection)
        greeted = _first_to_greet(silent, deadline, check)
        if len(silent) > MOST_SILENT:
            silent.pop(1).close()
        return greeted

    try:
        return wait_for("SSH banner", seconds, attempt)
    finally:
        for connection in silent:
            connection.close()


def _first_to_greet(silent: list[socket.socket], deadline: Deadline, check: Check) -> socket.socket | None:
    """Take the first connection from the list whose server says who it is; None when none does before patience ends.

    Those that are closed, or lead to something else, are taken off the list, too.
    """
    patience = Deadline("banner", BANNER_TRY_S)
    while silent and not patience.expired() and not deadline.expired():
        check()
        ready = select.select(silent, [], [], POLL_S)[0]
        if not ready:
            deadline.last_seen = "connected, but the server says nothing"
        for connection in ready:
            silent.remove(connection)
            try:
                greeting = connection.recv(64, socket.MSG_PEEK)
            except OSError:
                greeting = b""
            if greeting.startswith(b"SSH-"):
                return connection
            connection.close()
            deadline.last_seen = (
                f"the server says {greeting!r}" if greeting else "connected, and closed again"
            )
    return None


def ask_host_key(port: int, check: Check, limits: GuestTimeouts) -> str:
    """The public key that the SSH server at this port of the loopback interface shows: "ssh-ed25519 AAAA…".

    Only for a port that leads to our own VM: nothing else says whether the key is right. Raises as `log_in`.
    """
    connection = await_banner("127.0.0.1", port, check, limits.banner_s)
    link = paramiko.Transport(connection)
    try:
        link.set_log_channel(log_to(None, closing := ExitStack()))
        with closing:
            _exchange_keys(link, check, limits.login_s)
            seen = link.get_remote_server_key()
            return f"{seen.get_name()} {seen.get_base64()}"
    finally:
        close_link(link, connection)


def _exchange_keys(link: paramiko.Transport, check: Check, limit_s: float) -> None:
    link.banner_timeout = link.handshake_timeout = link.auth_timeout = link.channel_timeout = NEVER_S
    options = link.get_security_options()
    options.kex, options.ciphers, options.digests = KEX, CIPHERS, MACS
    done = threading.Event()
    link.start_client(event=done)
    watch(done, Deadline("SSH key exchange", limit_s), check)
    if not link.is_active():
        blame(check, TransportError(f"SSH key exchange: {words(link.get_exception())}"))


def log_in(
    link: paramiko.Transport,
    user: str,
    key: paramiko.PKey,
    pinned: paramiko.PKey,
    *,
    check: Check,
    limit_s: float,
) -> dict[str, float]:
    """Exchange keys, compare the host's, authenticate, each within the limit.

    Returns the seconds of "kex" and "auth". Raises TransportError, DeadlineExceeded, and what `check` raises.
    """
    phases = Phases()
    options = link.get_security_options()
    options.key_types = RSA if pinned.get_name() == "ssh-rsa" else (pinned.get_name(),)
    with phases("kex"):
        _exchange_keys(link, check, limit_s)
    seen = link.get_remote_server_key()
    if seen != pinned:
        raise TransportError(
            f"SSH host key: {seen.get_name()} {seen.fingerprint} instead of {pinned.fingerprint}",
            remedy="another server answers on this port, or image and manifest do not belong together",
        )
    with phases("auth"):
        step = f"SSH authentication of {user}"
        done = threading.Event()
        link.auth_publickey(user, key, event=done)
        watch(done, Deadline(step, limit_s), check)
        if not link.is_authenticated():
            remedy = "the guest may not know the image's key: see the SSH server's log in the guest"
            error = link.get_exception()
            why = words(error) if error else "the server refuses the key"
            blame(check, TransportError(f"{step}: {why}", remedy=remedy))
    return phases.seconds


def close_link(link: paramiko.Transport, connection: socket.socket) -> None:
    """End the library's thread and the connection. Idempotent."""
    with contextlib.suppress(OSError):  # not connected any more
        connection.shutdown(socket.SHUT_RDWR)  # wakes the library's reading thread at once
    link.close()
    connection.close()
    if link.is_alive():  # the library does not wait for its thread once its connection is closed
        link.join(END_S)


def load_key(path: Path) -> paramiko.PKey:
    """The private key to log in with. Raises UsageError."""
    try:
        return paramiko.PKey.from_path(path)
    except (OSError, ValueError, paramiko.SSHException, UnknownKeyType) as error:
        raise UsageError(f"SSH key {path}: {words(error)}", remedy=REBUILD) from None


def parse_host_key(line: str) -> paramiko.PKey:
    """A public key from its text ("ssh-ed25519 AAAA… comment"). Raises UsageError."""
    try:
        kind, encoded, *_ = line.split()
        return paramiko.PKey.from_type_string(kind, base64.b64decode(encoded, validate=True))
    except (ValueError, IndexError, paramiko.SSHException, UnknownKeyType) as error:
        raise UsageError(f"SSH host key {line[:40]!r}: {words(error)}", remedy=REBUILD) from None


def log_to(path: Path | None, closing: ExitStack) -> str:
    """Name of a logger of its own for one connection: to `path` only, or to nowhere, until `closing`."""
    name = f"halpmc.ssh.{next(_log_numbers)}"
    logger = logging.getLogger(name)
    logger.propagate = False
    logger.setLevel(logging.DEBUG if path else logging.CRITICAL)
    handler = logging.FileHandler(path, encoding="utf-8") if path else logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    closing.callback(handler.close)
    closing.callback(logger.removeHandler, handler)
    return name
