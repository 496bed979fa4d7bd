"""`halpmc shell` as a person uses it, at a terminal (a pty): a real guest, a clone as a run has it.

Needs `halpmc guest build embedded`. The first test may have to make the guest's saved state.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pexpect
import pytest

from harness.vm.unix_port import connect
from tests.system.conftest import HALPMC
from tests.system.terminal import ANSWER_S, at_terminal, end, found, no_process_left

READY_S = 300
#: What the guest's cmd.exe shows when it waits for a command.
PROMPT = r"[A-Z]:\\[^\r\n]*>"
WINE_SAYS = "Microsoft Windows 10.0"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where the command makes its folder."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


def gone(home: Path) -> None:
    """Wait for the end of the VM: nothing is left in its folder."""
    no_process_left(home)
    assert not list(home.iterdir())


def terminal(home: Path, *words: str) -> AbstractContextManager[pexpect.spawn[str]]:
    return at_terminal([*HALPMC, *words], {"TMPDIR": str(home)}, timeout_s=READY_S)


def path_of(child: pexpect.spawn[str], name: str) -> Path:
    """The socket of that name in the text that the command printed next."""
    return Path(found(child, rf"(/\S+/{name})"))


def test_a_shell_at_a_terminal(home: Path) -> None:
    """Also with the host's own sftp from another terminal, and the monitor by `halpmc attach`."""
    with terminal(home, "shell", "embedded") as child:
        sftp = found(child, r"sftp (-F \S+) guest").split()
        monitor = path_of(child, r"monitor\.sock")
        child.expect(PROMPT)
        child.sendline("ver")
        child.expect_exact(WINE_SAYS, timeout=ANSWER_S)
        child.expect(PROMPT)
        (home.parent / "a file").write_text("from the host")
        batch = f'put "{home.parent}/a file" "/C:/windows/temp/it.txt"\n'
        done = subprocess.run(
            ["sftp", "-b", "-", *sftp, "guest"],
            input=batch,
            text=True,
            capture_output=True,
            timeout=ANSWER_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        child.sendline(r"type C:\windows\temp\it.txt")
        child.expect_exact("from the host", timeout=ANSWER_S)
        with terminal(home, "attach", str(monitor)) as attached:
            attached.expect_exact("(qemu) ", timeout=ANSWER_S)
            attached.send("info status\r")
            attached.expect_exact("VM status: running", timeout=ANSWER_S)
            attached.send("\x1d")
            assert end(attached) == 0
        child.expect(PROMPT)
        child.sendline("exit 7")
        assert end(child) == 7
    gone(home)


def run(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HALPMC, *words],
        env=os.environ | {"TMPDIR": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=READY_S,
        check=False,
    )


def test_a_command_with_files_in_a_cell_of_a_matrix(home: Path, write_matrix: Callable[[str], Path]) -> None:
    """The reference HAL is set as the cell says, and the test driver runs."""
    matrix = write_matrix(
        "include:\n  - {id: mine, guest: embedded, pmu: on, accel: tcg, generation: exclusive}\n"
    )
    (home.parent / "in.txt").write_text("there and back")
    out = home.parent / "out.txt"
    command = r"sc query pmctest0 & copy C:\in.txt C:\out.txt & exit 300"
    files = ["--put", str(home.parent / "in.txt"), r"C:\in.txt", "--get", r"C:\out.txt", str(out)]
    done = run(home, "shell", "mine", "--matrix", str(matrix), *files, "--", command)
    assert done.returncode == 300 % 256, done.stdout + done.stderr
    assert out.read_text() == "there and back"
    gone(home)


def gdb_packet(connection: socket.socket, data: str) -> str:
    """Send a packet of GDB's remote protocol; the next packet that comes."""
    connection.sendall(f"${data}#{sum(data.encode()) & 0xFF:02x}".encode())
    text = ""
    while (found := re.search(r"\$(?!T)([^#]*)#[0-9a-f]{2}", text)) is None:  # T: why the guest stopped
        said = connection.recv(4096)
        assert said, "the stub has closed the connection"
        text += said.decode("latin-1")
    connection.sendall(b"+")
    return found[1]


def test_ports_for_debuggers_and_ctrl_c(home: Path) -> None:
    """gdb's stub, the screen and the kernel debugger's serial port answer; Ctrl-C leaves nothing."""
    with terminal(home, "shell", "embedded", "--gdb", "--vnc", "--kd", "serial", "--serial") as child:
        screen = path_of(child, r"vnc\.sock")
        gdb = path_of(child, r"gdb\.sock")
        child.expect_exact("bcdedit /dbgsettings serial debugport:3 baudrate:115200")
        kd = path_of(child, r"kd\.sock")
        child.expect_exact("Wine's, which has no such debugger")
        child.expect_exact("Ctrl-] ends it")
        for path in (screen, gdb, kd):
            assert path.stat().st_mode & 0o777 == 0o600
        with connect(screen) as connection:
            connection.settimeout(ANSWER_S)
            assert connection.recv(12).startswith(b"RFB 003.")
        with connect(kd) as cable:
            cable.settimeout(ANSWER_S)
            child.send("\r")
            child.expect(r"[#$] ")
            child.send("echo knock >/dev/ttyS2\r")
            came = b""
            while b"knock" not in came:
                piece = cable.recv(100)
                assert piece, came
                came += piece
        with connect(gdb) as connection:
            connection.settimeout(ANSWER_S)
            assert "PacketSize=" in gdb_packet(connection, "qSupported:multiprocess+")
            registers = gdb_packet(connection, "g")
            assert len(registers) >= 2 * 8 * 17, "16 general registers and rip, at least"
            assert gdb_packet(connection, "D;1") == "OK"  # the guest goes on
        child.send("echo it goes $((40 + 2))\r")
        child.expect_exact("it goes 42", timeout=ANSWER_S)
        child.kill(signal.SIGINT)
        assert end(child) == 130
    gone(home)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_while_a_command_runs(number: signal.Signals, home: Path) -> None:
    process = subprocess.Popen(
        [*HALPMC, "shell", "embedded", "--", "echo up & ping -n 600 127.0.0.1"],
        env=os.environ | {"TMPDIR": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "up"
        process.send_signal(number)
        assert process.wait(ANSWER_S) == 130
    finally:
        process.kill()
    gone(home)


def test_a_guest_that_restarts_is_logged_in_to_again(home: Path) -> None:
    with terminal(home, "shell", "embedded", "--bare") as child:
        child.expect(PROMPT)
        child.sendline(r"echo b>Z:\proc\sysrq-trigger")
        child.expect_exact("the guest restarted; logging in again")
        child.expect(PROMPT)
        child.sendline("exit 3")
        assert end(child) == 3
    gone(home)


def test_a_guest_that_crashes_ends_the_shell(home: Path) -> None:
    """The terminal is given back, and the logs are kept."""
    with terminal(home, "shell", "embedded", "--bare") as child:
        child.expect(PROMPT)
        child.sendline(r"echo c>Z:\proc\sysrq-trigger")
        child.expect_exact("the guest's kernel panicked")
        assert end(child) == 3
    (kept,) = home.iterdir()
    assert "sysrq" in (kept / "serial.log").read_text(errors="replace")


def test_the_serial_console_takes_a_command(home: Path) -> None:
    done = run(home, "shell", "embedded", "--serial", "--", "uname -s; exit 5")
    assert (done.returncode, done.stdout) == (5, "Linux\n"), done.stderr
    gone(home)
