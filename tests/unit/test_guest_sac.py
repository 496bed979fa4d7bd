"""A command prompt through SAC, against a peer that follows published sessions. No real Windows has been asked."""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator

import pytest

from harness.config.models import ConsoleKind, SerialConsole
from harness.deadlines import wait_for
from harness.errors import DeadlineExceeded, TransportError
from harness.guest.console import ConsoleShell
from harness.guest.sac import unwrap
from harness.guest.serial import open_shell
from tests.unit.sac_peer import SacPeer

STEP_S = 20.0
VARIABLE = "CONSOLE_PASSWORD"
Start = Callable[..., tuple[SacPeer, Callable[..., ConsoleShell]]]
SETTINGS = SerialConsole(kind=ConsoleKind.SAC, password_variable=VARIABLE)
LONG = "net user Administrator a-password-that-is-so-long-that-the-line-is-broken-on-the-screen"
COMMANDS: dict[str, tuple[str, int | None]] = {
    "dir": (" Volume in drive C\r\n\r\n 2 files: 10 bytes\r\n", 0),
    "fails": ("", -1073741515),
    "leaves the level": ("", None),
    "no end": ("no line end", 3),
    "wide": ("x" * 80 + "\r\n" + "x" * 80 + "\r\n" + "x" * 40 + "\r\nnext\r\n", 0),
    LONG: ("done\r\n", 0),
    "type sac.txt": ("SAC> is a prompt\r\nC:\\Windows>\r\n", 0),
}


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSOLE_PASSWORD", "secret")


@pytest.fixture
def sac() -> Generator[Start, None, None]:
    """A peer with these habits, and the way to it."""
    ours, theirs = socket.socketpair()

    def start(**habits: object) -> tuple[SacPeer, Callable[..., ConsoleShell]]:
        peer = SacPeer(theirs, COMMANDS, **habits)  # type: ignore[arg-type]

        def connect(timeout_s: float = STEP_S, settings: SerialConsole = SETTINGS) -> ConsoleShell:
            return open_shell(settings, ours, lambda: None, timeout_s=timeout_s)

        return peer.start(), connect

    yield start
    theirs.close()
    ours.close()


def run_all(shell: ConsoleShell) -> None:
    results = {command: shell.run(command, timeout_s=STEP_S) for command in COMMANDS}
    assert {command: done.exit_code for command, done in results.items()} == {
        "dir": 0,
        "fails": 0xC0000135,
        "leaves the level": 0,
        "no end": 3,
        "wide": 0,
        LONG: 0,
        "type sac.txt": 0,
    }
    assert results["dir"].stdout == " Volume in drive C\n\n 2 files: 10 bytes\n"
    assert results["fails"].stdout == ""
    assert results["no end"].stdout == "no line end"
    assert results["wide"].stdout == "x" * 200 + "\nnext\n"
    assert results[LONG].stdout == "done\n"
    assert results["type sac.txt"].stdout == "SAC> is a prompt\nC:\\Windows>\n"
    assert shell.run("unknown", timeout_s=STEP_S).exit_code == 9009


@pytest.mark.parametrize(
    "habits",
    [
        {},
        {"piece": 1},
        {"piece": 7},
        {"noise": "\x1b[1;37;44m"},
        {"noise": "\x1b[0m", "piece": 3},
        {"left_in_channel": True},
        {"late_service": True},
        {"old_channel_closes": True},
        {"questions": ("Benutzername: ", "Domäne: ", "Kennwort: "), "piece": 1},
    ],
    ids=str,
)
def test_commands(sac: Start, habits: dict[str, object]) -> None:
    peer, connect = sac(**habits)
    shell = connect()
    run_all(shell)
    assert "Administrator//secret" in peer.log
    assert [line for line in peer.log if line in COMMANDS] == list(COMMANDS), "each was run once"
    shell.close()
    wait_for("the end", STEP_S, lambda _: True if "end" in peer.log else None)
    assert "exit" in peer.log, "the channel was closed"


def test_domain_and_user(sac: Start) -> None:
    peer, connect = sac()
    connect(settings=SETTINGS.model_copy(update={"user": "me", "domain": "CORP"}))
    assert "me/CORP/secret" in peer.log


def test_no_sac_prompt(sac: Start) -> None:
    _, connect = sac(deaf=True)
    with pytest.raises(DeadlineExceeded, match=r"SAC prompt: no answer .* — switch EMS on in the guest"):
        connect(timeout_s=0.5)


def test_the_login_is_refused(sac: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSOLE_PASSWORD", "wrong")
    _, connect = sac()
    with pytest.raises(TransportError, match="SAC login of Administrator: Windows refused it") as caught:
        connect()
    assert "Unable to authenticate" in caught.value.evidence["console"]


def test_command_prompts_are_disabled(sac: Start) -> None:
    _, connect = sac(disabled=True)
    with pytest.raises(
        TransportError, match=r"SAC channel: Windows makes no command prompt — .*DisableCmdSessions"
    ):
        connect()


def test_the_channel_is_closed_under_a_command(
    sac: Start,
) -> None:
    _, connect = sac()
    shell = connect()
    with pytest.raises(TransportError, match="command 'leave' at the console: the channel was closed"):
        shell.run("leave", timeout_s=STEP_S)


def test_a_command_that_does_not_end(sac: Start) -> None:
    _, connect = sac()
    shell = connect()
    with pytest.raises(DeadlineExceeded, match=r"command 'hang' at the console: no answer .*so far"):
        shell.run("hang", timeout_s=0.5)


def test_the_guest_ends(sac: Start) -> None:
    peer, connect = sac()
    shell = connect()
    peer.connection.shutdown(socket.SHUT_RDWR)
    with pytest.raises(TransportError, match="command 'dir' at the console: the console was closed"):
        shell.run("dir", timeout_s=STEP_S)


def test_broken_lines_are_joined() -> None:
    assert unwrap("a" * 10 + "\n" + "b" * 3 + "\nc\n", 10) == "a" * 10 + "b" * 3 + "\nc\n"
    assert unwrap("short\n" + "a" * 9 + "\n", 10) == "short\n" + "a" * 9 + "\n"
