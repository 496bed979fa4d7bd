"""The serial console: real shells on terminals of the host, scripted logins, and what escape codes become."""

from __future__ import annotations

import contextlib
import os
import pty
import socket
import subprocess
import threading
from collections.abc import Generator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config.models import ConsoleKind, SerialConsole
from harness.errors import DeadlineExceeded, GuestPanicked, TransportError, UsageError
from harness.guest.console import MAX_COMMAND, Console, ConsoleShell, PlainText
from harness.guest.loginshell import LoginShell
from harness.guest.serial import open_shell

STEP_S = 20.0
VARIABLE = "CONSOLE_PASSWORD"
SHELL = SerialConsole(kind=ConsoleKind.SHELL)
Ends = tuple[socket.socket, socket.socket]


def healthy() -> None:
    """A VM that is well."""


def relay(source: int, sink: int) -> None:
    try:
        while data := os.read(source, 4096):
            os.write(sink, data)
    except OSError:
        pass


@pytest.fixture(params=["dash", "bash"])
def console(request: pytest.FixtureRequest) -> Generator[socket.socket, None, None]:
    """A terminal with a real shell, behind a socket as QEMU has one. bash edits its line and colours its prompt."""
    ours, theirs = socket.socketpair()
    terminal, line = pty.openpty()
    shell = subprocess.Popen(
        ["setsid", "--ctty", request.param, "-i"],
        stdin=line,
        stdout=line,
        stderr=line,
        env={"PATH": os.environ["PATH"], "PS1": "\x1b[01;32mguest\x1b[0m# ", "TERM": "xterm", "HOME": "/"},
    )
    os.close(line)
    for ends in ((terminal, theirs.fileno()), (theirs.fileno(), terminal)):
        threading.Thread(target=relay, args=ends, daemon=True).start()
    yield ours
    shell.kill()
    shell.wait()
    theirs.shutdown(socket.SHUT_RDWR)
    ours.close()


def test_a_real_shell(console: socket.socket) -> None:
    shell = open_shell(SHELL, console, healthy, timeout_s=STEP_S)
    done = shell.run("echo one; echo two >&2; exit 42", timeout_s=STEP_S)
    assert (done.exit_code, done.stdout, done.stderr) == (42, "one\ntwo\n", "")
    assert shell.run("printf 'a\\n\\nb'", timeout_s=STEP_S).stdout == "a\n\nb"
    assert shell.run("true", timeout_s=STEP_S).stdout == ""
    assert shell.run("cat", timeout_s=STEP_S).exit_code == 0, "a command reads nothing of what is typed next"
    assert shell.run("echo \"it's", timeout_s=STEP_S).exit_code == 2, "a syntax error is the command's own"
    long = "x" * 3000
    assert shell.run(f"echo {long}", timeout_s=STEP_S).stdout == long + "\n"
    assert shell.run("seq 20000", timeout_s=STEP_S).stdout.split()[-1] == "20000"


def test_a_shell_that_is_busy(console: socket.socket) -> None:
    console.sendall(b"sleep 600\r")
    shell = open_shell(SHELL, console, healthy, timeout_s=STEP_S)
    assert shell.run("echo back", timeout_s=STEP_S).stdout == "back\n"


def test_what_looks_like_the_marks(console: socket.socket) -> None:
    """The answers of one command are not taken for those of the next, whatever it prints."""
    shell = open_shell(SHELL, console, healthy, timeout_s=STEP_S)
    said = "begin-00000000\nend-00000000:7\nlogin: # $ SAC>\n"
    done = shell.run(
        "printf 'begin-00000000\\nend-00000000:7\\nlogin: # $ SAC>\\n'; exit 3", timeout_s=STEP_S
    )
    assert (done.exit_code, done.stdout) == (3, said)


def test_a_command_that_does_not_end(console: socket.socket) -> None:
    shell = open_shell(SHELL, console, healthy, timeout_s=STEP_S)
    with pytest.raises(
        DeadlineExceeded, match=r"command 'echo so far; sleep 60' at the console.*last seen.*so far"
    ):
        shell.run("echo so far; sleep 60", timeout_s=1)


@pytest.mark.parametrize("command", ["one\ntwo", "a\x03b", "tab\there", "x" * (MAX_COMMAND + 1)])
def test_what_cannot_be_typed(command: str) -> None:
    ours, _ = socket.socketpair()
    with pytest.raises(UsageError, match="one printable line"):
        LoginShell(Console(ours, healthy)).run(command, timeout_s=1)


# -- logins, as a peer that follows a script --------------------------------------------------------


def follow(connection: socket.socket, script: list[tuple[bytes, bytes]]) -> None:
    """For each step wait until that was typed, then say this."""
    typed = b""
    for awaited, said in script:
        while awaited not in typed:
            if not (data := connection.recv(4096)):
                return
            typed += data
        typed = typed.partition(awaited)[2]
        connection.sendall(said)


def answer(connection: socket.socket, prompt: bytes) -> None:
    """The probe's answer, and the prompt again."""
    typed = b""
    while b"halpmc- " not in typed or not typed.endswith(b"\r"):
        if not (data := connection.recv(4096)):
            return
        typed += data
    mark = typed.rpartition(b"halpmc- ")[2].strip()
    connection.sendall(typed + b"\nhalpmc-" + mark + b"\r\n" + prompt)


@pytest.fixture
def ends() -> Generator[Ends, None, None]:
    ours, guest = socket.socketpair()
    with ours, guest:
        yield ours, guest


def login(ends: Ends, script: list[tuple[bytes, bytes]], *, user: str | None = "root") -> ConsoleShell:
    ours, guest = ends

    def play() -> None:
        with contextlib.suppress(OSError):  # the test may be over
            follow(guest, script)
            answer(guest, b"root@guest:~# ")

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    settings = SerialConsole(kind=ConsoleKind.SHELL, user=user, password_variable=VARIABLE)
    return open_shell(settings, ours, healthy, timeout_s=STEP_S)


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSOLE_PASSWORD", "secret")


ASKS_USER = (b"\r", b"\r\nguest login: ")
ASKS_PASSWORD = (b"root\r", b"root\r\nPassword: ")


def test_a_login(ends: Ends) -> None:
    login(ends, [ASKS_USER, ASKS_PASSWORD, (b"secret\r", b"\r\nLast login: today\r\nroot@guest:~# ")])


def test_a_login_without_password(ends: Ends) -> None:
    login(ends, [ASKS_USER, (b"root\r", b"root\r\n# ")])


def test_a_login_that_is_refused(ends: Ends) -> None:
    refused = (b"secret\r", b"\r\n\r\nLogin incorrect\r\nguest login: ")
    with pytest.raises(TransportError, match="console login of root: the guest refused it") as caught:
        login(ends, [ASKS_USER, ASKS_PASSWORD, refused])
    assert "Login incorrect" in caught.value.evidence["console"]


def test_a_login_that_nobody_expects(ends: Ends) -> None:
    with pytest.raises(TransportError, match="console login: the guest asks for a user"):
        login(ends, [ASKS_USER], user=None)


def test_a_login_that_hangs(ends: Ends) -> None:
    ours, guest = ends
    threading.Thread(target=follow, args=(guest, [ASKS_USER, ASKS_PASSWORD]), daemon=True).start()
    settings = SerialConsole(kind=ConsoleKind.SHELL, user="root")
    with pytest.raises(
        DeadlineExceeded, match=r"console login of root: no answer .* last seen: .*Password: "
    ):
        open_shell(settings, ours, healthy, timeout_s=1)


def test_the_password_is_not_set(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONSOLE_PASSWORD")
    with pytest.raises(UsageError, match="CONSOLE_PASSWORD is not set"):
        login(ends, [])


def test_nobody_answers(ends: Ends) -> None:
    ends[1].sendall(b"[    1.0] booting\r\n")
    with pytest.raises(DeadlineExceeded, match=r"console prompt: no answer within .* last seen: .*booting"):
        open_shell(SHELL, ends[0], healthy, timeout_s=0.5)


def test_the_console_is_closed(ends: Ends) -> None:
    ends[1].close()
    with pytest.raises(TransportError, match="console prompt: the console was closed"):
        open_shell(SHELL, ends[0], healthy, timeout_s=STEP_S)


def test_the_vm_is_asked_while_waiting(ends: Ends) -> None:
    def dead() -> None:
        raise GuestPanicked("the guest's kernel died")

    with pytest.raises(GuestPanicked):
        open_shell(SHELL, ends[0], dead, timeout_s=STEP_S)


# -- escape codes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        ("a\x1b[1;31mb\x1b[0mc", "abc"),
        ("\x1b]0;a title\x07x\x1b]2;other\x1b\\y", "xy"),
        ("\x1b[?2004h$ \x1b(B\x1b=", "$ "),
        ("one\x1b[5;1Htwo\x1b[5;20H!", "one\r\ntwo!"),
        ("\x1b[H\x1b[2Jtop", "\r\ntop"),
        ("bell\x07 null\x00 back\x08", "bell null back"),
        ("tab\tstays\r\n", "tab\tstays\r\n"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_plain_text(raw: str, plain: str, size: int) -> None:
    stream = PlainText()
    assert "".join(stream.feed(raw[at : at + size]) for at in range(0, len(raw), size)) == plain


@given(st.text(), st.lists(st.integers(1, 20)))
def test_however_a_stream_is_cut(text: str, cuts: list[int]) -> None:
    """What comes in pieces is what comes at once; nothing that is no control character is ever lost for good."""
    pieces, rest = [], text + "\x1b[0m."
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    whole, cut_up = PlainText(), PlainText()
    assert "".join(map(cut_up.feed, [*pieces, rest])) == whole.feed(text + "\x1b[0m.")
